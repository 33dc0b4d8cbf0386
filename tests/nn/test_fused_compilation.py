"""Every fused kernel compiles for a GPU, which needs none; the interpreter forgives more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from layer_samples import maps, trained

from ssn_prune import freeze_selected
from ssn_prune.nn.fused import plan as plans
from ssn_prune.nn.fused.layout import mapping_tiles, reducing_tiles
from ssn_prune.nn.ssn import SSN2d
from ssn_prune.nn.switch_norm import SwitchNorm2d
from ssn_prune.normalizer import Normalizer

triton = pytest.importorskip("triton", reason="Triton comes with torch on Linux only")

EAGER = ["plane_moments", "pool", "normalize", "gradient_sums", "pool_gradients", "input_gradient"]
TRACED = [*EAGER[:2], "plane_constants", *EAGER[3:5], "gradient_constants"]
TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float64: "*fp64",
    torch.int64: "*i64",
}


class Compiler:
    """Compiles what would be launched."""

    def __init__(self) -> None:
        self.kernels: list[Any] = []

    def launcher(self, kernel: Any, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **options: Any) -> None:
            assert all(size >= 1 for size in grid)
            warps = options.pop("num_warps", 4)
            given = dict(zip(kernel.arg_names, args, strict=False)) | options
            assert set(given) == set(kernel.arg_names)
            signature, constants, attributes = {}, {}, {}
            for index, (name, value) in enumerate(given.items()):
                if isinstance(value, torch.Tensor):
                    signature[name] = TYPES[value.dtype]
                    attributes[(index,)] = [["tt.divisibility", 16]]
                elif isinstance(value, float) and name not in options:
                    signature[name] = "fp32"
                elif value is None or name in options or value == 1:
                    signature[name], constants[name] = "constexpr", value
                else:
                    signature[name] = "i32"
                    if value % 16 == 0:
                        attributes[(index,)] = [["tt.divisibility", 16]]
            source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
            target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
            options_ = {"num_warps": warps}
            self.kernels.append(triton.compile(source, target=target, options=options_))

        return launch

    def names(self) -> list[str]:
        return [kernel.metadata.name for kernel in self.kernels]

    def vector_loads(self, name: str) -> int:
        ptx = next(k.asm["ptx"] for k in self.kernels if k.metadata.name == name)
        return len(re.findall(r"ld\.global[^;]*v4|cp\.async\.cg", ptx))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiler:
    """Launches compile instead, for a GPU with 132 multiprocessors."""
    found = Compiler()
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launcher = lambda kernel, grid: found.launcher(kernel, grid)  # noqa: E731 - becomes a method
    monkeypatch.setattr(triton.runtime.jit.JITFunction, "__getitem__", launcher)
    monkeypatch.setattr("ssn_prune.nn.plane_norm.runs_fused", lambda _: True)
    for tiles in (reducing_tiles, mapping_tiles):

        def wide(sizes: Any, tiles: Any = tiles, **options: Any) -> Any:
            return tiles(sizes, **{**options, "multiprocessors": 132})

        monkeypatch.setattr(plans, tiles.__name__, wide)
    plans._plan.cache_clear()
    yield found
    plans._plan.cache_clear()


def step(layer: torch.nn.Module, x: torch.Tensor) -> None:
    x = x.requires_grad_()
    layer(x).backward(torch.ones_like(x))


def test_a_training_step_is_six_launches_with_wide_loads(compiler: Compiler) -> None:
    x = maps((64, 64, 56, 56), "channels_last").bfloat16()
    step(trained(SSN2d, 64).float(), x)
    assert compiler.names() == EAGER
    for name in ("plane_moments", "normalize", "gradient_sums", "input_gradient"):
        assert compiler.vector_loads(name) >= 2, name


@pytest.mark.parametrize(
    "options",
    [{"momentum": None, "affine": False}, {"correction": 2, "groups": 2}, {"correction": 1}],
    ids=str,
)
def test_every_option_compiles(compiler: Compiler, options: dict[str, Any]) -> None:
    kind = SwitchNorm2d if "groups" in options else SSN2d
    step(trained(kind, 24, **options).float(), maps((4, 24, 7, 7)).float())
    assert compiler.names() == EAGER


def test_a_pair_compiles(compiler: Compiler) -> None:
    layer = trained(SSN2d, 24)
    layer.fix(Normalizer.LN, Normalizer.IN)
    step(freeze_selected(torch.nn.Sequential(layer)).model.float(), maps((4, 24, 7, 7)).float())
    assert compiler.names() == EAGER


def test_what_a_compiler_launches_compiles(compiler: Compiler) -> None:
    from ssn_prune.nn.fused.operators import gradients, statistics

    layer = trained(SSN2d, 24).float()
    x = maps((4, 24, 7, 7)).float()
    gates = (layer.mean_weight.detach(), layer.var_weight.detach())
    frozen = (layer.radius, layer.mean_fixed, layer.var_fixed, layer.frozen_ratios)
    running = (layer.running_mean, layer.running_var, layer.num_batches_tracked, 0.1)
    weight = layer.weight.detach()
    settings = (1e-5, [0, 1, 2], 0, 1)
    _, moments, pooled = statistics(x, weight, *gates, *frozen, *running, "sparsestmax", *settings)
    gradients(x, x, weight, *gates, moments, pooled, *settings)
    assert compiler.names() == TRACED


def test_the_layers_import_neither_kernels_nor_compiler() -> None:
    heavy = "{'ssn_prune.nn.fused.kernels', 'torch._dynamo'}"
    code = f"import sys, ssn_prune.nn.ssn; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
