"""Several processes: BN statistics shared by all, or averaged before validation.

The recipe of the paper keeps batch statistics per worker and averages the running ones over the
workers before validation: :func:`average_running_statistics`. With few samples on each worker the
statistics of all of them together are better: :func:`synchronize`.

Both need ``torch.distributed.init_process_group`` first. The gates stay equal on all processes as
long as all of them apply the same gradients, as under ``DistributedDataParallel``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssn_prune.errors import ArgumentError, NoSwitchableLayerError
from ssn_prune.nn.plane_norm import PlaneNorm
from ssn_prune.nn.planes import wide_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed import ProcessGroup


def synchronize(model: nn.Module, process_group: ProcessGroup | None = None) -> nn.Module:
    """Let BN use the samples of all processes in training, in place, as SyncBatchNorm does.

    Output, gradients and running statistics become those of one process with all the samples: sum
    the parameters' gradients over the processes if the loss is a sum, average them if it is a mean
    over batches of equal size. Every sample counts once, so processes may have different numbers of
    them. Spatial sizes should be equal; where they differ, a plane counts once whatever its size.

    All processes of the group must run the same layers with the same gates, or they wait for each
    other forever. With ``batch_groups``, part g is shared with part g of the other processes.

    Args:
        model: A network with switchable layers, or ``DistributedDataParallel`` around one. Layers
            that do not offer BN have nothing to share and stay as they are, and so does torch's
            BatchNorm (``nn.SyncBatchNorm.convert_sync_batchnorm`` is for that).
        process_group: The processes; None for the default group at the time of each call. A model
            that uses another group can be copied, but not pickled.

    Returns:
        ``model``.

    Raises:
        ArgumentError: torch.distributed is not initialised, or this process is not in the group.
        NoSwitchableLayerError: ``model`` has no switchable layer.
    """
    _processes(process_group)
    layers = [module for module in model.modules() if isinstance(module, PlaneNorm)]
    if not layers:
        raise NoSwitchableLayerError(
            f"{type(model).__name__} has no switchable layer whose statistics could be shared",
            expected="a network with SSN or SwitchNorm layers",
            hint="call convert_to_ssn first; for torch's BatchNorm use "
            "torch.nn.SyncBatchNorm.convert_sync_batchnorm",
        )
    reduction = _GroupReduction(None if process_group is dist.group.WORLD else process_group)
    for layer in layers:
        if layer.using_bn:
            layer.reduction = reduction
    return model


def desynchronize(model: nn.Module) -> nn.Module:
    """Undo :func:`synchronize`, in place: every process has batch statistics of its own again.

    Args:
        model: Any network. torch.distributed need not be initialised.

    Returns:
        ``model``.
    """
    for module in model.modules():
        if isinstance(module, PlaneNorm):
            module.reduction = None
    return model


@torch.no_grad()
def average_running_statistics(model: nn.Module, process_group: ProcessGroup | None = None) -> None:
    """Average the running statistics over the processes, in place; call it before validation.

    Means and variances are plain averages, as in the reference implementation: the average variance
    is the one that the network was trained with, since each process divides by its own. It does not
    include the spread of the means among the processes, which no layer has seen in training.

    ``DistributedDataParallel`` replaces the running statistics of all processes by those of the
    first at every forward pass. Pass ``forward_sync_buffers=False`` to it
    (``broadcast_buffers=False`` in older versions of torch); otherwise what the other processes
    measured, except on their last batch, is lost before it is averaged.

    Args:
        model: A network whose layers have the buffers ``running_mean`` and ``running_var``:
            switchable ones, what they are frozen to, and torch's BatchNorm. The same network in
            all processes.
        process_group: The processes; None for the default group.

    Raises:
        ArgumentError: torch.distributed is not initialised, or this process is not in the group.
    """
    processes = _processes(process_group)
    by_device: dict[torch.device, list[Tensor]] = {}
    for module in model.modules():
        for name in ("running_mean", "running_var"):
            buffer = module._buffers.get(name)
            if buffer is not None:
                by_device.setdefault(buffer.device, []).append(buffer)
    for buffers in by_device.values():
        wide = wide_dtype(buffers[0])
        flat = torch.cat([buffer.reshape(-1).to(wide) for buffer in buffers])
        dist.all_reduce(flat, group=process_group)
        parts = torch.split(flat / processes, [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


@dataclass(frozen=True)
class _GroupReduction:
    """A :class:`ssn_prune.nn.plane_norm.BatchReduction` over a process group.

    Attributes:
        group: None for the default group, looked up at each call: a model that has been unpickled,
            or that has outlived its group, then uses the present one.
    """

    group: ProcessGroup | None

    def pooled(self, moments: Tensor, samples: int) -> tuple[Tensor, float | Tensor]:
        """Pool means and variances over all processes by the law of total variance.

        Unlike :func:`ssn_prune.nn.statistics.pool`, it weights processes by their samples.

        Args:
            moments: Means and variances over the samples of this process, (2, ...).
            samples: Number of samples of this process.

        Returns:
            The moments over the samples of all processes, the same in all of them; and the number
            of these samples (a tensor on devices that the host would wait for).
        """
        processes = _processes(self.group)
        own = torch.cat((moments.reshape(-1), moments.new_full((1,), samples)))
        rows = own.new_empty((processes, own.numel()))
        dist.all_gather(list(rows.unbind()), own, group=self.group)
        means, variances = rows[:, :-1].view(processes, *moments.shape).unbind(1)
        counts = rows[:, -1]
        shares = (counts / counts.sum()).view(-1, *[1] * (means.dim() - 1))
        mean = (shares * means).sum(0)
        var = (shares * (variances + (means - mean).square())).sum(0)
        count = counts.sum()
        on_host = count.device.type == "cpu"
        return torch.stack((mean, var)), float(count) if on_host else count

    def summed(self, gradients: Tensor) -> Tensor:
        """The sum over all processes, as a new tensor."""
        _processes(self.group)
        total = gradients.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=self.group)
        return total

    def __deepcopy__(self, memo: dict[int, object]) -> _GroupReduction:
        return self  # immutable; and a process group is a connection, not a value

    def __reduce__(self) -> tuple[Callable[..., _GroupReduction], tuple[None]]:
        if self.group is not None:
            raise ArgumentError(
                "a model that shares statistics over a process group of its own cannot be pickled",
                expected="the default process group",
                found="a group that exists in this run only",
                hint="save model.state_dict(), or call desynchronize(model) first",
            )
        return _GroupReduction, (None,)


def _processes(group: ProcessGroup | None) -> int:
    """The size of the group.

    Raises:
        ArgumentError: There is no group, or this process is not in it.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise ArgumentError(
            "statistics of several processes are asked for, but torch.distributed is not "
            "initialised",
            expected="a process group",
            found="none in this process",
            hint="call torch.distributed.init_process_group in every process first; for a model "
            "that was trained there and is used alone now, call desynchronize(model)",
        )
    if dist.get_rank(group) < 0:
        raise ArgumentError(
            "this process is not in the process group whose statistics are asked for",
            expected="a group with this process in it",
            found=f"process {dist.get_rank()}, which is in another one",
            hint="give every process the group that it belongs to",
        )
    return dist.get_world_size(group)
