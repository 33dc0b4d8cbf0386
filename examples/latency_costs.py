"""What normalizers will cost in deployment, for training with a latency penalty."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from training_loop import Processes

from ssn_prune import Costs, measure_network_costs, read_costs
from ssn_prune.costs.cache import default_cache
from ssn_prune.files import replacing, resolved
from ssn_prune.json_values import to_json


def training_costs(
    model: nn.Module, size: int, given: Path | None, output: Path, own: Processes
) -> Costs:
    """The costs of a network in ONNX Runtime on one core, the same for a whole training.

    They are measured once, by the first process, and kept next to the checkpoint, so that a resumed
    training uses the same numbers.

    Args:
        model: The network; not changed.
        size: Pixels a side of its images.
        given: A file of costs, such as that of another device, to use instead.
        output: Folder of the training.
        own: This process.

    Raises:
        CostsError: A file cannot be read.
    """
    if given is not None:
        return read_costs(given)
    path = output / "costs.json"
    if own.first and not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        images = (torch.zeros(1, 3, size, size),)
        costs = measure_network_costs(copy.deepcopy(model).cpu(), images, cache=default_cache())
        with replacing(resolved(path)) as partial:
            partial.write_text(json.dumps(to_json(costs), indent=1), encoding="utf-8")
    if own.count > 1:
        dist.barrier()
    return read_costs(path)
