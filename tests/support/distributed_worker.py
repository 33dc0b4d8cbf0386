"""Two processes for test_distributed.py: each runs every scenario and saves its results."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from distributed_cases import (
    CASES,
    EQUAL,
    SAMPLES,
    UNEQUAL,
    Case,
    draw,
    layer_results,
    make_layer,
    residual_network,
    run_case,
    sizes_of_other_maps,
    train,
    trained_state,
)
from helpers import tiny_network
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssn_prune.errors import ArgumentError
from ssn_prune.nn.ssn import SSN1d, SSN2d
from ssn_prune.pruning.prune import prune
from ssn_prune.surgery.copying import copy_model
from ssn_prune.training import distributed

TIMEOUT = 120  # seconds; a hang fails
# The name of this option has changed; the old one warns.
_OPTIONS = inspect.signature(DistributedDataParallel).parameters
SYNC_BUFFERS = next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in _OPTIONS)


def run_two_processes(folder):
    """Run :func:`main` in two processes, in torchrun's environment and with its store."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # any free port
    started = []
    for rank in range(2):
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        if sys.platform == "linux":
            environment["GLOO_SOCKET_IFNAME"] = "lo"  # needs no resolvable host name
        with (folder / f"{rank}.log").open("w") as log:
            command = [sys.executable, __file__, str(folder)]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    try:
        codes = [process.wait(TIMEOUT) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes == [0, 0], "\n".join(log.read_text() for log in folder.glob("*.log"))
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _training(rank, *, shared):
    model = residual_network()
    if shared:
        distributed.synchronize(model)
    wrapper = DistributedDataParallel(model, **{SYNC_BUFFERS: shared})
    gradients = train(wrapper, EQUAL[rank])
    results = {"gate_gradients": gradients, "state": trained_state(model)}
    if not shared:
        distributed.average_running_statistics(wrapper)
        results["averaged"] = trained_state(model)
    return results


def _averages(rank):
    """Values of the rank in the statistics of several kinds of layers."""
    model = nn.Sequential(
        SSN2d(3), SSN1d(2, normalizers=("IN", "LN")), nn.BatchNorm1d(2), nn.Linear(1, 1)
    )
    model[2].double()
    with torch.no_grad():
        for layer, factor in ((model[0], 1.0), (model[2], 10.0)):
            layer.running_mean.fill_(factor * (1 + rank))
            layer.running_var.fill_(factor * (2 + 4 * rank))
            layer.num_batches_tracked.fill_(7)
    distributed.average_running_statistics(model)
    return model.state_dict()


def _copies(rank, folder):
    model = distributed.synchronize(tiny_network().double())
    x = draw(SAMPLES, 1, 8, 8)[UNEQUAL[rank]]
    results = {"keys": list(model.state_dict()), "alone": tiny_network().double().train()(x)}
    results |= {
        name: copied.train()(x)
        for name, copied in (
            ("copy_model", copy_model(model)),
            ("deepcopy", copy.deepcopy(model)),
            ("pickle", pickle.loads(pickle.dumps(model))),
            ("desynchronized", distributed.desynchronize(copy_model(model))),
        )
    }
    if rank == 0:  # without the other process: neither may need it
        model.eval()
        pruned = prune(model, x).model
        results |= {"evaluated": model(x), "pruned": pruned(x)}
        torch.save(model, folder / "model.pth")
    results["original"] = model.train()(x)
    return results


def _refusal(function, *args):
    try:
        function(*args)
    except ArgumentError as error:
        return str(error)
    return "not refused"


def _subgroups(rank):
    case = Case("SSN2d", (4, 3, 5))
    both, *alone = (dist.new_group(ranks) for ranks in ([0, 1], [0], [1]))
    layer = distributed.synchronize(make_layer(case), alone[rank])
    return {
        "both": run_case(
            case, UNEQUAL[rank], lambda it: copy.deepcopy(distributed.synchronize(it, both))
        ),
        "alone": run_case(case, UNEQUAL[rank], lambda it: distributed.synchronize(it, alone[rank])),
        "pickled": _refusal(pickle.dumps, layer),
        "foreign": _refusal(distributed.synchronize, layer, alone[1 - rank]),
        "averaged": _refusal(distributed.average_running_statistics, layer, alone[1 - rank]),
    }


def _large_means(rank):
    moments = torch.tensor([[1e6 + rank, -1e6], [1e-4, 2e-4 * (1 + rank)]], dtype=torch.float64)
    return distributed._GroupReduction(None).pooled(moments, 3 + 2 * rank)


def main(folder):
    rank = int(os.environ["RANK"])
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="IN over one position")  # (N, C) is among the shapes
    limit = timedelta(seconds=60)
    rendezvous = (folder / "rendezvous").as_uri()
    dist.init_process_group("gloo", rendezvous, timeout=limit, rank=rank, world_size=2)
    other = [draw(*sizes_of_other_maps(rank), seed=seed + 5 * rank) for seed in (2, 3)]
    layer = distributed.synchronize(make_layer(Case("SSN2d", (4,))))
    results = {
        "cases": {str(c): run_case(c, UNEQUAL[rank], distributed.synchronize) for c in CASES},
        "local": {str(c): run_case(c, UNEQUAL[rank]) for c in CASES},
        "other_sizes": layer_results(layer, *other),
        "large_means": _large_means(rank),
        "shared": _training(rank, shared=True),
        "own": _training(rank, shared=False),
        "averages": _averages(rank),
        "copies": _copies(rank, folder),
        "subgroups": _subgroups(rank),
    }
    kept = distributed.synchronize(make_layer(CASES[1]))
    dist.destroy_process_group()
    dist.init_process_group("gloo", timeout=limit)  # from the environment, as under torchrun
    results["torchrun"] = run_case(CASES[1], UNEQUAL[rank], lambda _: kept)
    dist.destroy_process_group()
    results["unreachable"] = _refusal(kept, draw(2, *CASES[1].size))
    torch.save(results, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
