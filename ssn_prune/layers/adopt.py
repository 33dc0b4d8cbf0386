"""Recognise the authors' layers, whatever their class is called, and take them over.

A layer is an SSN or SN layer if it carries their tensors: ``mean_weight`` and ``var_weight`` of 2
or 3 entries, ``weight`` and ``bias`` of shape (1, C, 1, 1), and running statistics if and only if
the gates have 3 entries. Flags or a radius make it SSN. ``eps`` and ``momentum`` are read from the
instance; the authors' momentum is the share that is *kept*, so torch's is 1 - momentum.
"""

from __future__ import annotations

from torch import Tensor, nn

from ssn_prune.errors import UnsupportedLayerError
from ssn_prune.layers.copying import copy_model, replace_module
from ssn_prune.layers.switchable import SSN2d, SwitchableNorm2d, SwitchNorm2d

_SSN_ONLY = ("mean_fixed", "var_fixed", "radius", "rad")


def adopt_layers(model: nn.Module) -> nn.Module:
    """Replace every layer of the authors' kind by ours; values are taken over bit by bit.

    Args:
        model: Any network; not changed.

    Returns:
        A copy with :class:`SSN2d` and :class:`SwitchNorm2d` layers (Bessel-corrected, as the
        authors' code is), sharing every other tensor with ``model``.

    Raises:
        UnsupportedLayerError: A layer has the tensors but is not a two-dimensional one, or keeps
            running sums instead of running averages.
    """
    adopted = copy_model(model, share_tensors=True)
    seen: set[int] = set()
    for name, module in list(adopted.named_modules()):
        if id(module) not in seen and _looks_switchable(module):
            seen.add(id(module))
            adopted = replace_module(adopted, module, _adopt(name, module))
    return adopted


def _looks_switchable(module: nn.Module) -> bool:
    gates = [getattr(module, f"{gate}_weight", None) for gate in ("mean", "var")]
    return not isinstance(module, SwitchableNorm2d) and all(isinstance(g, Tensor) for g in gates)


def _adopt(name: str, module: nn.Module) -> SwitchableNorm2d:
    kind = f"{name} ({type(module).__name__})"
    tensors = {
        key: value
        for key, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }
    weight = tensors.get("weight")
    choices = tensors["mean_weight"].numel()
    has_running = "running_mean" in tensors and "running_var" in tensors
    problem = None
    if weight is None or "bias" not in tensors:
        problem = "no weight or bias"
    elif weight.dim() != 4 or weight.shape[1] != weight.numel():
        problem = f"weight of shape {tuple(weight.shape)}"
    elif choices not in (2, 3) or tensors["var_weight"].numel() != choices:
        problem = f"gates of {choices} and {tensors['var_weight'].numel()} entries"
    elif has_running != (choices == 3):
        problem = f"{choices} gate entries with{'' if has_running else 'out'} running statistics"
    if problem is not None or weight is None:
        raise UnsupportedLayerError(
            f"{kind} looks like a switchable normalization layer but cannot be taken over",
            expected="weight and bias of shape (1, C, 1, 1) and two gates over IN, LN and "
            "optionally BN (then with running_mean and running_var)",
            found=str(problem),
            hint="replace it in your network by ssn_prune.SSN2d or ssn_prune.SwitchNorm2d",
        )
    if getattr(module, "using_moving_average", True) is False and choices == 3:
        raise running_sums_error(kind)
    layer_class = SSN2d if any(hasattr(module, key) for key in _SSN_ONLY) else SwitchNorm2d
    layer = layer_class(
        weight.numel(),
        eps=float(getattr(module, "eps", 1e-5)),
        momentum=1.0 - float(getattr(module, "momentum", 0.9)),
        using_bn=choices == 3,
        correction=1,
        device=weight.device,
        dtype=weight.dtype,
    )
    known = layer.state_dict().keys()
    layer.load_state_dict({k: v.detach() for k, v in tensors.items() if k in known})
    return layer.train(module.training)


def running_sums_error(where: str) -> UnsupportedLayerError:
    """The refusal of batch-average training, whose running statistics are undivided sums."""
    return UnsupportedLayerError(
        f"{where}: running_mean and running_var are sums over training steps, not averages",
        expected="moving averages (the authors' using_moving_average=True)",
        found="sums that were never divided by the number of steps",
        hint="recompute the statistics on training data: put BN's mean and variance of a few "
        "hundred batches into running_mean and running_var, save, and convert that file",
    )
