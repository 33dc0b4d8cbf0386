"""SSN in PyTorch Lightning: a callback that does what a training loop would do.

    pip install pytorch-lightning

    trainer = pytorch_lightning.Trainer(callbacks=[SparseNormalizers()])

The callback grows the radius, clips the gradients of the gates, averages the running statistics of
several processes before validation, and resumes from Lightning's checkpoints. It cannot choose the
parameter groups: ``configure_optimizers`` does that, as in ``Digits`` here.

    python examples/lightning_callback.py

This trains for a few steps and converts the result.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ssn_prune import (
    RadiusSchedule,
    SSN2d,
    average_running_statistics,
    clip_gate_gradients,
    export_onnx,
    param_groups,
    prune,
    random_batches,
    verify,
)
from ssn_prune.demo.digits import load_digits


class SparseNormalizers(Callback):
    """Trains the gates of a network with SSN layers until each is one-hot.

    Args:
        share: The part of all steps after which every gate is one-hot. The rest trains the weights.

    Attributes:
        schedule: None until the training starts.
    """

    def __init__(self, share: float = 0.8) -> None:
        self.share = share
        self.schedule: RadiusSchedule | None = None
        self._steps_seen = 0
        self._saved: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the schedule; a checkpoint's weights and optimizers are loaded by now."""
        steps = trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ValueError("the schedule needs an end: give the Trainer max_epochs or max_steps")
        self.schedule = RadiusSchedule(pl_module, total_steps=max(1, int(self.share * steps)))
        if self._saved is not None:
            self.schedule.load_state_dict(self._saved)
        self._steps_seen = trainer.global_step

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Gradients are whole and unscaled here, also with accumulation and mixed precision."""
        clip_gate_gradients(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_batch: object
    ) -> None:
        """A step of the optimizer is a step of the schedule; a batch need not be one."""
        assert self.schedule is not None
        for _ in range(trainer.global_step - self._steps_seen):
            self.schedule.step()
        self._steps_seen = trainer.global_step
        pl_module.log("radius", self.schedule.radius())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Each process has running statistics of its own."""
        if trainer.world_size > 1:
            average_running_statistics(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of Lightning keeps."""
        return {} if self.schedule is None else self.schedule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning calls it before the training starts."""
        self._saved = state_dict or None


class Digits(LightningModule):
    """A small network for the digits that come with the package, (N, 1, 16, 16) to 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1, bias=False), SSN2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), SSN2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Gates have a tenth of the learning rate, and no weight decay."""
        return torch.optim.SGD(param_groups(self, lr=0.1), momentum=0.9, weight_decay=1e-4)


def main() -> None:
    """Train, convert, verify."""
    torch.manual_seed(0)
    digits = load_digits()
    data = TensorDataset(digits.train_images[:512], digits.train_labels[:512])
    module, normalizers = Digits(), SparseNormalizers()
    trainer = Trainer(
        max_epochs=2,
        callbacks=[normalizers],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data, batch_size=16, shuffle=True))
    print(normalizers.schedule)

    batches = random_batches([(1, 16, 16)], (1, 2, 3))
    pruned = prune(module.network.eval(), batches[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.onnx"
        export_onnx(pruned.model, batches[1], path)
        print(f"verified: {verify(pruned, path, batches).passed}")


if __name__ == "__main__":
    main()
