"""All layers against the formula in float64: values, gradients and running statistics."""

import random

import pytest
import torch
from layer_reference import SETS, assert_agree, expected, measured
from layer_samples import EXACT, LAYERS, maps, trained
from torch import nn

from ssn_prune.nn import planes
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.normalizer import Normalizer

SINGLE = 8 * 2.0**-24  # the same for float32 maps whose mean is about one deviation
# Planes of fewer and of more than SMALL_PLANE positions are computed in different operators.
SHAPES = {
    1: [(6, 5), (4, 5, 7), (4, 3, 80)],
    2: [(4, 5, 3, 3), (2, 3, 9, 8), (6, 4, 1, 1)],
    3: [(4, 3, 2, 3, 2), (2, 3, 5, 4, 4)],
}
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "expanded")
GRADIENTS = ("random", "sum", "mean", "strided")


def cases(repeats):
    """Every layer, shape, set and mode, with the other options drawn at random."""
    draw = random.Random(0)
    for dim, shapes in SHAPES.items():
        for layer_class in LAYERS[dim]:
            for shape in shapes:
                for offered in SETS:
                    for training in (True, False) * repeats:
                        single = len(shape) == 2 or shape[2:] == (1, 1)
                        yield (
                            layer_class,
                            shape,
                            training,
                            draw.choice(LAYOUTS),
                            draw.choice(GRADIENTS),
                            {
                                "normalizers": offered,
                                "shared_gate": draw.random() < 0.3,
                                "affine": draw.random() < 0.7,
                                "track_running_stats": draw.random() < 0.7,
                                "momentum": draw.choice((None, 0.1, 0.6)),
                                "correction": 0 if single else draw.randrange(2),
                                "groups": draw.choice((1, 2)) if training else 1,
                                "frozen": draw.random() < 0.3,
                                "eps": draw.choice((1e-5, 1e-3)),
                                "radius": draw.choice((0.0, 0.25, 0.5, 0.6)),
                            },
                        )


def test_both_code_paths_are_among_the_shapes():
    positions = {torch.Size(s[2:]).numel() for shapes in SHAPES.values() for s in shapes}
    assert min(positions) == 1
    assert max(positions) > planes.SMALL_PLANE > sorted(positions)[-3]


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_values_gradients_and_statistics_follow_the_formula(dim, kind):
    checked = 0
    for case in cases(3):
        layer_class, shape, training, layout, gradient, options = case
        if dim not in (len(shape) - 2, 1 if len(shape) == 2 else 0):
            continue
        layer = trained(layer_class, shape[1], **options).train(training)
        x = maps(shape, layout)
        if kind == "float32":
            layer, x = layer.float(), x.float()
        try:
            for _ in range(2):  # the second pass continues the running statistics
                wanted = expected(layer, x, gradient)
                bound, terms = (EXACT, 1) if kind == "float64" else (SINGLE, x.numel() / shape[1])
                assert_agree(measured(layer, x, gradient), wanted, bound, terms)
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
        if layer.num_batches_tracked is not None:
            assert int(layer.num_batches_tracked) == (2 if training else 0)
        checked += 1
    assert checked >= 90


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 3, 9, 9)])
def test_the_comparison_sees_small_mistakes(shape):
    layer, x = trained(SSN2d, 3, correction=0), maps(shape)
    wanted = expected(layer, x)
    wrong = trained(SSN2d, 3, correction=1)
    with pytest.raises(AssertionError, match="output"):
        assert_agree(measured(wrong, x), wanted, EXACT)
    with torch.no_grad():
        layer.mean_weight[0] += 1e-9
    with pytest.raises(AssertionError, match="of its scale"):
        assert_agree(measured(layer, x), wanted, EXACT)


TORCH_LAYERS = {
    1: (nn.BatchNorm1d, nn.InstanceNorm1d),
    2: (nn.BatchNorm2d, nn.InstanceNorm2d),
    3: (nn.BatchNorm3d, nn.InstanceNorm3d),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("shape", "choice"),
    [
        (shape, choice)
        for shape in [(6, 5), (4, 5, 7), (4, 3, 80), (4, 5, 3, 3), (2, 3, 9, 8), (2, 3, 5, 4, 4)]
        for choice in Normalizer
        if len(shape) > 2 or choice is not Normalizer.IN  # torch has no such one over one position
    ],
)
def test_one_hot_gates_are_torch_s_modules(shape, choice, training):
    dim, channels = max(len(shape) - 2, 1), shape[1]
    batch_norm, instance_norm = TORCH_LAYERS[dim]
    torch_layer = {
        Normalizer.IN: lambda: instance_norm(channels, affine=True),
        Normalizer.LN: lambda: nn.GroupNorm(1, channels),
        Normalizer.BN: lambda: batch_norm(channels),
    }[choice]().double()
    layer = trained(LAYERS[dim][0], channels, momentum=0.1)
    layer.fix(choice, choice)
    torch_layer.load_state_dict(layer.state_dict(), strict=False)
    for module in (layer, torch_layer):
        module.train(training)
    x = maps(shape)
    wanted = measured(torch_layer, x)
    found = measured(layer, x)
    if choice is Normalizer.BN and training:
        # torch keeps the unbiased batch variance, this layer the one it normalizes with.
        count = x.numel() / channels
        old = trained(LAYERS[dim][0], channels).running_var
        new = (wanted["running_var"] - 0.9 * old) * (count - 1) / count
        wanted["running_var"] = 0.9 * old + new
    assert_agree({name: found[name] for name in wanted}, wanted, EXACT)


@pytest.mark.parametrize("size", [3, 9])
def test_groups_are_workers_with_parts_of_the_batch(size):
    together, alone = trained(SSN2d, 3, groups=2), trained(SSN2d, 3)
    x = maps((6, 3, size, size))
    y = together(x)
    other = trained(SSN2d, 3)
    parts = torch.cat((alone(x[:3]), other(x[3:])))
    torch.testing.assert_close(y, parts, rtol=0, atol=EXACT)
    assert (y - trained(SSN2d, 3)(x)).abs().max() > 1e-3
    for name in ("running_mean", "running_var"):
        average = (getattr(alone, name) + getattr(other, name)) / 2
        torch.testing.assert_close(getattr(together, name), average, rtol=EXACT, atol=0)


@pytest.mark.parametrize("batch", [2, 3])
def test_groups_play_no_part_in_evaluation(batch):
    layer, plain = trained(SSN2d, 3, groups=2).eval(), trained(SSN2d, 3).eval()
    x = maps((batch, 3, 4, 4))
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=EXACT)


def test_a_batch_that_cannot_be_split_is_refused_in_training():
    with pytest.raises(ValueError, match="a batch of 3 cannot be split into 2 equal groups"):
        trained(SSN2d, 3, groups=2)(maps((3, 3, 4, 4)))


class Subclass(torch.Tensor):
    """Not recognised as a plain tensor: takes the operators of other devices."""


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"correction": 1}, {"shared_gate": True}, {"groups": 2}])
def test_the_path_of_other_devices_follows_the_formula(options, training):
    layer = trained(SSN2d, 3, **options).train(training)
    x = maps((4, 3, 9, 9)).as_subclass(Subclass)
    wanted = expected(layer, maps((4, 3, 9, 9)))
    found = {name: value.as_subclass(torch.Tensor) for name, value in measured(layer, x).items()}
    assert_agree(found, wanted, EXACT)
