"""Layers that are compiled, exported or traced compute what they compute eagerly."""

import pytest
import torch
from layer_reference import assert_agree, expected, measured
from layer_samples import EXACT, maps, trained
from torch.fx.experimental.proxy_tensor import make_fx

from ssn_prune.nn.ssn import SSN1d, SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm3d
from ssn_prune.normalizer import Normalizer

SHAPES = {"1d": (4, 3, 5), "2d": (4, 3, 3, 3), "3d": (4, 3, 2, 3, 2)}


def compiled(layer, backend="aot_eager"):
    torch.compiler.reset()
    layer.forward = torch.compile(layer.forward, backend=backend, fullgraph=True)
    return layer


@pytest.mark.parametrize(
    ("layer_class", "training", "backend", "options"),
    [
        (SSN2d, True, "aot_eager", {"shared_gate": True, "groups": 2, "momentum": None}),
        (SSN1d, False, "eager", {"frozen": True, "correction": 1}),
        (SwitchNorm3d, True, "eager", {"normalizers": ("LN", "BN"), "affine": False}),
    ],
)
def test_compiled_layers_follow_the_formula(layer_class, training, backend, options):
    layer = compiled(trained(layer_class, 3, **options).train(training), backend)
    x = maps(SHAPES[layer_class.__name__[-2:]])
    for _ in range(2):  # the second pass continues the running statistics
        wanted = expected(layer, x)
        assert_agree(measured(layer, x), wanted, EXACT)


def test_a_compiled_layer_ignores_undefined_variances_that_are_not_selected():
    layer = trained(SSN2d, 3, correction=1).eval()
    layer.fix(Normalizer.IN, Normalizer.BN)
    x = maps((4, 3, 1, 1))
    wanted = expected(layer, x)
    assert_agree(measured(compiled(layer, "eager"), x), wanted, EXACT)


@pytest.mark.parametrize("pair", [("IN", "BN"), ("LN", "IN")], ids="/".join)
def test_frozen_layers_can_be_exported_for_any_batch_and_size(pair):
    layer = trained(SSN2d, 3).eval()
    layer.fix(*(Normalizer[name] for name in pair))
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    example = maps((4, 3, 5, 6))
    program = torch.export.export(layer, (example,), dynamic_shapes=(sizes,))
    for x in (example, maps((2, 3, 7, 9))):
        torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=EXACT)


def test_make_fx_does_not_bake_the_example_in():
    layer, x = trained(SSN2d, 3).eval(), maps((2, 3, 4, 4))
    traced = make_fx(layer)(x)
    other = maps((2, 3, 4, 4), seed=1) * 3
    torch.testing.assert_close(traced(other), layer(other), rtol=0, atol=EXACT)
