"""Examples for Lightning, timm's training parts and Model Explorer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from cli_checks import run_cli
from onnx import TensorProto, helper
from training_samples import example

pytestmark = [
    pytest.mark.usefixtures("importable_examples"),
    # Lightning: loaders without workers, no logger, and torch's names of an earlier year.
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]


@pytest.fixture
def trained(monkeypatch):
    # Lightning sets it for good on import, and every later process would open a driver's library.
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    lightning = example("lightning_callback")

    def trained(batches, *more, resume=None, **options):
        torch.manual_seed(0)
        module, normalizers = lightning.Digits(), lightning.SparseNormalizers(share=0.5)
        images, labels = torch.randn(32, 1, 16, 16), torch.arange(32) % 10
        data = lightning.TensorDataset(images, labels)
        trainer = lightning.Trainer(
            max_epochs=options.pop("epochs", 1),
            callbacks=[normalizers, *more],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        loader = lightning.DataLoader(data, batch_size=32 // batches)
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        return trainer, module, normalizers.schedule

    return trained


def test_lightning_trains_until_every_gate_is_one_hot(trained):
    trainer, module, schedule = trained(8)
    assert (schedule.steps_done, schedule.total_steps, schedule.frozen) == (8, 4, True)
    assert all(layer.frozen for layer in module.network if hasattr(layer, "frozen"))
    rates = [(group["name"], group["lr"]) for group in trainer.optimizers[0].param_groups]
    assert rates == [("weights", 0.1), ("gates", pytest.approx(0.01))]


def test_a_step_of_lightning_is_one_of_the_optimizer(trained):
    _, _, schedule = trained(8, accumulate_grad_batches=4, epochs=2)
    assert (schedule.steps_done, schedule.total_steps) == (4, 2)


def test_lightning_goes_on_where_it_was_saved(trained, tmp_path):
    saved = tmp_path / "last.ckpt"

    class SavesTheFirstEpoch(example("lightning_callback").Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(saved)

    _, whole, schedule = trained(4, SavesTheFirstEpoch(), epochs=3)
    state = torch.load(saved, weights_only=True)["callbacks"]["SparseNormalizers"]
    assert (state["steps_done"], state["total_steps"]) == (4, 6)
    _, resumed, again = trained(4, resume=saved, epochs=3)
    assert again.state_dict() == schedule.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_gradients_of_gates_are_clipped_in_lightning(trained, monkeypatch):
    clipped = []
    monkeypatch.setattr(example("lightning_callback"), "clip_gate_gradients", clipped.append)
    trained(4, accumulate_grad_batches=2)
    assert len(clipped) == 2


@pytest.fixture(scope="module")
def converted(importable_examples, tmp_path_factory) -> Path:
    """The network of timm's recipe."""
    folder = tmp_path_factory.mktemp("timm")
    example("timm_recipe").main(folder / "checkpoint.pth")
    files = (str(folder / "checkpoint.pth"), "-o", str(folder / "model.onnx"))
    result = run_cli("convert", *files, "--input-size", "64", "--static-batch", "1")
    assert result.exit_code == 0, result.stderr
    return folder / "model.onnx"


def test_timms_parts_train_a_network_that_converts(converted):
    recipe = example("timm_recipe")
    assert converted.exists()
    torch.manual_seed(0)
    model = recipe.convert_to_ssn(recipe.timm.create_model("test_resnet", num_classes=4)).model
    rates = {group["name"]: group for group in recipe.optimizer_of(model).param_groups}
    assert rates["gates"]["lr"] == pytest.approx(0.002)
    assert rates["gates"]["weight_decay"] == 0
    assert rates["weights"]["weight_decay"] == 1e-4


def test_every_node_has_an_error_and_a_time(converted, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["model_explorer.py", str(converted), "--runs", "3"])
    example("model_explorer").main()
    names = {node.name for node in onnx.load(converted).graph.node}
    for kind, largest in (("error", 1e-4), ("time", 1e6)):
        data = json.loads(converted.with_suffix(f".{kind}.json").read_text())
        values = {name: result["value"] for name, result in data["results"].items()}
        assert values.keys() <= names
        assert len(values) > 0.8 * len(names)
        assert 0 <= min(values.values()) <= max(values.values()) < largest
        assert data["name"] == kind
        assert [stop["stop"] for stop in data["gradient"]] == [0, 1]


def test_a_node_that_loses_digits_is_the_one_that_is_named():
    """x + 1e6 - 1e6 keeps one digit of x."""
    far = helper.make_tensor("far", TensorProto.FLOAT, [1], [1e6])
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "relu"),
        helper.make_node("Add", ["a", "far"], ["b"], "add"),
        helper.make_node("Sub", ["b", "far"], ["y"], "subtract"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 8]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [far])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    explorer = example("model_explorer")
    inputs = explorer.random_inputs(model, 4, 64)
    assert inputs["x"].shape == (4, 8)
    errors = explorer.errors(model, inputs)
    assert errors["relu"] == 0
    assert errors["add"] < 1e-7
    assert errors["subtract"] > 1e-3
    assert explorer.times(model, inputs, 2).keys() == {"relu", "add", "subtract"}
    assert np.isfinite(list(explorer.times(model, inputs, 2).values())).all()
