"""How the optimizer treats the gates, by the recipe of the reference training code.

Gates have a group of their own: a tenth of the learning rate, no weight decay, and a gradient that
is clipped to norm 1.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ssn_prune.nn.switchable import SwitchableNorm


def gate_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The mean and variance gates of all switchable layers, each parameter once.

    Args:
        model: Any network.

    Returns:
        The gates in the network's order; empty if it has no switchable layer.
    """
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, SwitchableNorm):
            for gate in (module.mean_weight, module.var_weight):
                found.setdefault(id(gate), gate)
    return list(found.values())


def param_groups(
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float | None = None,
    gate_lr_ratio: float = 0.1,
    norm_weight_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for any optimizer of torch, with the gates in one of their own.

    Args:
        model: A network with switchable layers.
        lr: Learning rate of the weights.
        weight_decay: Weight decay of the weights; None leaves it to the optimizer's own argument.
            The reference uses 1e-4. Gates have none either way.
        gate_lr_ratio: The gates' learning rate is this times ``lr``.
        norm_weight_decay: Weight decay of all parameters with at most one axis (biases, scales of
            norms), which then get a group of their own; None treats them like the weights, as the
            reference does.

    Returns:
        The groups ``"weights"``, ``"norms"`` (only with ``norm_weight_decay``) and ``"gates"``;
        empty ones are left out. They set what is given here and leave the rest to the optimizer.
        Parameters that need no gradient are in none.
    """
    gates = gate_parameters(model)
    gate_ids = {id(gate) for gate in gates}
    others = [p for p in model.parameters() if id(p) not in gate_ids and p.requires_grad]
    groups: list[dict[str, Any]] = []
    if norm_weight_decay is not None:
        norms = [p for p in others if p.dim() <= 1]
        others = [p for p in others if p.dim() > 1]
        groups.append(
            {"name": "norms", "params": norms, "lr": lr, "weight_decay": norm_weight_decay}
        )
    weights: dict[str, Any] = {"name": "weights", "params": others, "lr": lr}
    if weight_decay is not None:
        weights["weight_decay"] = weight_decay
    groups.insert(0, weights)
    groups.append(
        {
            "name": "gates",
            "params": [gate for gate in gates if gate.requires_grad],
            "lr": lr * gate_lr_ratio,
            "weight_decay": 0.0,
        }
    )
    return [group for group in groups if group["params"]]


def clip_gate_gradients(model: nn.Module, max_norm: float = 1.0) -> Tensor:
    """Clip the joint norm of the gates' gradients, in place; call it before the optimizer's step.

    Args:
        model: A network with switchable layers.
        max_norm: The largest norm allowed.

    Returns:
        The norm before clipping, a scalar on the gates' device.
    """
    norm: Tensor = nn.utils.clip_grad_norm_(gate_parameters(model), max_norm)
    return norm
