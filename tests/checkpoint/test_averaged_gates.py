"""Averages (EMA) over the weights and buffers of a network whose gates have frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_checks import run_cli
from helpers import tiny_network
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssn_prune import RadiusSchedule, SSN2d, prune, select
from ssn_prune.errors import UnconvergedGatesError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def averaged(decay: float, updates: int, *, buffers: bool) -> tuple[nn.Module, nn.Module]:
    """A network that froze its gates in ten steps, and its average."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), SSN2d(4))
    with torch.no_grad():
        net[1].mean_weight.copy_(torch.tensor([0.5, 0.3, 0.2]))
        net[1].var_weight.copy_(torch.tensor([0.2, 0.3, 0.5]))
    ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=buffers)
    ema.update_parameters(net)
    schedule = RadiusSchedule(net, total_steps=10)
    for index in range(updates):
        if index < 10:
            schedule.step()
        ema.update_parameters(net)
    return net.eval(), ema.module.eval()


@pytest.mark.parametrize(("decay", "updates"), [(0.9, 60), (0.99, 400), (0.99, 3000)])
def test_the_refusal_names_the_average_and_the_option_that_helps(
    decay: float, updates: int
) -> None:
    trained, mean = averaged(decay, updates, buffers=True)
    with pytest.raises(UnconvergedGatesError) as caught:
        prune(mean, X)
    assert "average (EMA)" in str(caught.value.hint)
    assert "`on_unconverged='argmax'`" in str(caught.value.hint)
    rounded = prune(mean, X, on_unconverged="argmax")
    assert rounded.report.rounded is not None
    assert rounded.report.rounded.max_error / rounded.report.rounded.scale < 0.1
    pairs = [str(layer.pair) for layer in rounded.plan.layers]
    assert pairs == [str(layer.pair) for layer in prune(trained, X).plan.layers] == ["IN/BN"]


def test_an_average_over_parameters_only_keeps_frozen_gates() -> None:
    _, mean = averaged(0.99, 3000, buffers=False)
    assert [str(layer.pair) for layer in prune(mean, X).plan.layers] == ["IN/BN"]


def test_a_flagged_gate_that_was_averaged_is_named() -> None:
    trained, _ = averaged(0.9, 20, buffers=True)
    state = trained.state_dict()
    state["1.mean_weight"] = state["1.mean_weight"] * 0.999 + 0.0003
    with pytest.raises(UnconvergedGatesError) as caught:
        select(state).require_converged()
    assert "average (EMA)" in str(caught.value.hint)


def test_gates_on_their_way_are_no_average() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), SSN2d(4)).eval()
    with torch.no_grad():
        net[1].mean_weight.copy_(torch.tensor([2.0, 0.3, -0.2]))
        net[1].var_weight.copy_(torch.tensor([0.2, 0.3, 0.7]))
    for _ in range(9):
        RadiusSchedule(net, total_steps=10).step()
    with pytest.raises(UnconvergedGatesError) as caught:
        prune(net, X)
    assert "EMA" not in str(caught.value.hint)


def mixed_with_initial(share: float) -> dict[str, Tensor]:
    """What tools make that average every tensor in float, flags included."""
    last, first = tiny_network().state_dict(), tiny_network(1).state_dict()
    for key, value in first.items():
        if key.endswith("_fixed"):
            value.zero_()
    return {
        key: (1 - share) * value.double() + share * first[key].double()
        if not key.endswith("_extra_state")
        else value
        for key, value in last.items()
    }


@pytest.mark.parametrize("share", [0.3, 1e-3])
def test_fractions_of_flags_are_no_flags(share: float, tmp_path: Path) -> None:
    """A file and the network that loads it agree on what is frozen."""
    state = mixed_with_initial(share)
    loaded = tiny_network()
    loaded.double().load_state_dict(state)
    ours, file = select(loaded), select(state)
    for found, expected in zip(file.layers, ours.layers, strict=True):
        assert found.mean.ratios == pytest.approx(expected.mean.ratios, abs=1e-6)
        assert found.var.ratios == pytest.approx(expected.var.ratios, abs=1e-6)
    torch.save(state, tmp_path / "ema.pth")
    shown = run_cli("inspect", str(tmp_path / "ema.pth"))
    assert shown.exit_code == 0
