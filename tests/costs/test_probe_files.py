"""Probes compute what their surroundings say, folded and taken apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from placed_networks import Residual, Uncapturable
from torch import nn

from ssn_prune.costs.places import find_layers
from ssn_prune.costs.probe_files import export_probes, part_of
from ssn_prune.costs.probes import Probe, ProbeNetwork
from ssn_prune.nn.ssn import SSN1d, SSN3d
from ssn_prune.normalizer import Normalizer, NormalizerPair

BN = NormalizerPair(Normalizer.BN, Normalizer.BN)
IN_BN = NormalizerPair(Normalizer.IN, Normalizer.BN)
LN = NormalizerPair(Normalizer.LN, Normalizer.LN)


def probes_of(model, *shape, pairs=(BN, IN_BN, LN)):
    layers = find_layers(model.eval(), (torch.randn(1, *shape),))
    return [
        Probe(place, pair)
        for layer in layers
        for place in layer.places
        for pair in pairs
        if pair in layer.measured
    ]


@pytest.fixture(scope="module")
def probes():
    vectors = nn.Sequential(nn.Linear(4, 8), SSN1d(8), nn.ReLU(), nn.Linear(8, 2))
    volumes = nn.Sequential(
        nn.Conv3d(2, 6, 3), SSN3d(6, affine=False), nn.SiLU(), nn.Conv3d(6, 2, 1)
    )
    transposed = nn.Sequential(
        nn.ConvTranspose1d(2, 6, 3, stride=2, output_padding=1), SSN1d(6), nn.Conv1d(6, 4, 3)
    )
    found = probes_of(Residual(), 3, 16, 16)
    found += probes_of(Uncapturable(), 3, 12) + probes_of(vectors, 4)
    found += probes_of(volumes, 2, 5, 4, 6) + probes_of(transposed, 2, 7)
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def files(probes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probes")
    return export_probes(probes, folder, target="portable", static=False)


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_file_gives_what_the_probe_gives(probes, files):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ProbeNetwork(probes).eval()
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(2, *shape[1:], generator=generator) for shape in network.input_shapes]
    with torch.no_grad():
        expected = network.double()(*(x.double() for x in inputs))
    for path, value, wired in zip(files, expected, network.wired, strict=True):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = [inputs[index].numpy() for index in wired]
        shapes = {entry.name: tuple(entry.shape[1:]) for entry in session.get_inputs()}
        feed = {name: next(x for x in given if x.shape[1:] == s) for name, s in shapes.items()}
        (found,) = session.run(None, feed)
        assert found.shape == tuple(value.shape)
        np.testing.assert_allclose(found, value.numpy(), rtol=1e-4, atol=1e-4)


def test_a_layer_is_the_normalizer_of_its_pair(probes):
    """Against the formula, written out in float64."""
    for probe in probes:
        module = ProbeNetwork([probe]).eval().double().branches[0]
        x = torch.randn(2, *probe.place.surroundings.shape[1:]).double()
        with torch.no_grad():
            found = module.layer(x).numpy()
        values, rest = x.numpy(), tuple(range(2, x.dim()))
        axes = {"IN": rest, "LN": (1, *rest)}
        column = (1, -1, *[1] * len(rest))

        def statistic(kind, measure, running, values=values, axes=axes, column=column):
            if kind.name == "BN":
                return running.numpy().reshape(column)
            return measure(values, axis=axes[kind.name], keepdims=True)

        layer, correction = module.layer, probe.place.correction
        if correction:
            continue
        mean = statistic(probe.pair.mean, np.mean, layer.running_mean)
        var = statistic(probe.pair.var, np.var, layer.running_var)
        expected = (values - mean) / np.sqrt(var + layer.eps)
        if layer.weight is not None:
            weight, bias = (t.detach().numpy().reshape(column) for t in (layer.weight, layer.bias))
            expected = expected * weight + bias
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_bn_after_a_convolution_leaves_nothing_and_activations_stay(probes, files):
    kinds = {
        probe: operators(path)
        for probe, path in zip(probes, files, strict=True)
        if probe.pair == BN and probe.place.foldable and len(probe.place.surroundings.shape) == 4
    }
    for probe, found in kinds.items():
        assert "Conv" in found
        assert "BatchNormalization" not in found, probe
    assert any("MaxPool" in found for found in kinds.values())
    assert any("Add" in found for found in kinds.values())


def test_bn_without_a_convolution_stays(probes, files):
    kept = [
        operators(path)
        for probe, path in zip(probes, files, strict=True)
        if probe.pair == BN and not probe.place.foldable
    ]
    assert kept
    assert all("BatchNormalization" in found for found in kept)


def test_a_probe_has_no_nodes_of_others(probes, files):
    for probe, path in zip(probes, files, strict=True):
        found = operators(path)
        assert found.count("MaxPool") == sum(
            "max_pool" in entry.operator for entry in probe.place.surroundings.tail
        )
        assert (len(found) < 12) or probe.pair != BN


def test_the_random_state_of_the_process_is_left_alone(probes, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    export_probes(probes[:1], tmp_path, target="portable", static=True)
    assert torch.equal(before, torch.get_rng_state())


def test_a_part_of_a_model_is_what_an_output_needs():
    float32 = onnx.TensorProto.FLOAT
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Relu", ["x"], ["a"]),
            onnx.helper.make_node("Add", ["a", "w"], ["first"]),
            onnx.helper.make_node("Neg", ["y"], ["second"]),
        ],
        "both",
        [info("x", float32, [2]), info("y", float32, [2])],
        [info("first", float32, [2]), info("second", float32, [2])],
        [onnx.numpy_helper.from_array(np.ones(2, np.float32), "w")],
    )
    model = onnx.helper.make_model(graph)
    part = part_of(model, "second")
    onnx.checker.check_model(part, full_check=True)
    assert [node.op_type for node in part.graph.node] == ["Neg"]
    assert [value.name for value in part.graph.input] == ["y"]
    assert not part.graph.initializer
    assert [node.op_type for node in part_of(model, "first").graph.node] == ["Relu", "Add"]
