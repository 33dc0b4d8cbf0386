"""Why a network cannot be exported; the option that the error names works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssn_prune import ExportOptions, export_onnx
from ssn_prune.errors import ExportError

X = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0))
Body = Callable[[Tensor], Tensor]


class Around(nn.Module):
    def __init__(self, body: Body) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.body = nn.Conv2d(4, 4, 3), body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.conv(x))


def refused(body: Body, path: Path, dynamic: str = "batch") -> ExportError:
    with pytest.raises(ExportError) as caught:
        export_onnx(Around(body), X, path, options=ExportOptions(dynamic=dynamic))
    assert not path.exists()
    assert "\x1b" not in str(caught.value)
    return caught.value


def works(body: Body, path: Path, dynamic: str) -> bool:
    return export_onnx(Around(body), X, path, options=ExportOptions(dynamic=dynamic)).nodes > 0


BATCH: dict[str, tuple[Body, str]] = {
    "more than four": (lambda y: y * (2 if y.shape[0] > 4 else 1), r"x\.shape\[0\] <= 4"),
    "two conditions": (lambda y: y * (2 if 2 <= y.shape[0] < 7 else 1), r"x\.shape\[0\] < 7"),
    "a multiple": (lambda y: y + 1 if y.shape[0] % 2 == 0 else y, r"x\.shape\[0\] % 2"),
    "a literal size": (lambda y: y.view(2, -1, 4), r"x\.shape\[0\] == 2"),
}


@pytest.mark.parametrize("name", BATCH)
def test_a_condition_on_the_batch_is_named_with_the_option_that_works(
    name: str, tmp_path: Path
) -> None:
    body, condition = BATCH[name]
    error = refused(body, tmp_path / "m.onnx")
    assert "depends on the batch size" in error.problem
    assert re.search(condition, error.found)
    assert "`static_batch=2`" in error.hint
    assert '`dynamic="none"`' in error.hint
    assert works(body, tmp_path / "m.onnx", "none")


POOLING: dict[str, Body] = {
    "average": lambda y: functional.adaptive_avg_pool2d(y, 2),
    "maximum": lambda y: functional.adaptive_max_pool2d(y, (2, 5)),
    "rows": lambda y: functional.adaptive_avg_pool2d(y, (3, 1)),
    "1-d": lambda y: functional.adaptive_avg_pool1d(y.flatten(2), 4),
}


@pytest.mark.parametrize("name", POOLING)
def test_pooling_to_several_positions_needs_a_fixed_size(name: str, tmp_path: Path) -> None:
    error = refused(POOLING[name], tmp_path / "m.onnx", "spatial")
    assert re.search(
        r"adaptive_\w+_pool\dd to .* cannot be exported with dynamic sizes", str(error)
    )
    assert '`dynamic="batch"`' in error.hint
    assert "report" not in str(error)
    assert works(POOLING[name], tmp_path / "m.onnx", "batch")


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pooling_to_one_position_is_exported_with_open_sizes(kind: str, tmp_path: Path) -> None:
    pool = getattr(functional, f"adaptive_{kind}_pool2d")
    assert works(lambda y: pool(y, 1), tmp_path / "m.onnx", "spatial")


def test_a_branch_on_values_is_not_blamed_on_the_sizes(tmp_path: Path) -> None:
    error = refused(lambda y: y if y.sum() > 0 else -y, tmp_path / "m.onnx")
    assert "dynamic=" not in error.hint
    assert "static_batch" not in error.hint
    assert "branch on values" in error.hint


def test_code_that_reads_gates_is_told_that_it_does_not_run(tmp_path: Path) -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) * self.norm.mean_weight.sum()

    with pytest.raises(ExportError, match="does not run") as caught:
        export_onnx(Reading(), X, tmp_path / "m.onnx")
    assert "mean_weight" in caught.value.found
    assert "gates" in caught.value.hint


def test_an_operator_that_has_no_translation_is_named(tmp_path: Path) -> None:
    error = refused(lambda y: torch.linalg.svd(y)[1], tmp_path / "m.onnx")
    assert "_linalg_svd" in error.found
    assert "dynamic=" not in error.hint
