"""Compare our layers with recorded runs of the reference layers.

Every tensor is measured against a float64 evaluation of the formula. Ours passes if its error is
at most 4 times the error of the reference implementation's own float32 result, plus 1e-6 of the
tensor's scale.
"""

from typing import NamedTuple

import torch
from layer_formula import batch_moments, switchable_norm

from ssn_prune import SSN2d, SwitchNorm2d, sparsestmax

EPS = 1e-5
MOMENTUM = {"SSN2d": 0.003, "SwitchNorm2d": 0.1}
GOLDEN_ERRORS_ALLOWED = 4
SCALE_ALLOWED = 1e-6


class Comparison(NamedTuple):
    """One tensor of one run."""

    name: str
    error: float
    golden_error: float
    bound: float

    @property
    def ratio(self):
        return self.error / self.bound


def load_runs(path):
    return torch.load(path, weights_only=True)


def label(run):
    shape = "x".join(map(str, run["x"].shape))
    mode = "train" if run["training"] else "eval"
    return f"{run['kind']}-{run['mean']}-{run['var']}-r{run['radius']}-{shape}-{mode}"


def golden_tensors(run):
    """The reference layer's results, reshaped to our shapes."""
    tensors = {"y": run["y"], "grad_input": run["grad_input"]}
    tensors |= {f"grad_{k}": v.flatten() for k, v in run["param_grads"].items()}
    if run["training"]:
        for name in ("running_mean", "running_var"):
            tensors[name] = run["state_dict_after"][name].flatten()
    return tensors


def _gates(run, state):
    logits = state["mean_weight"], state["var_weight"]
    if run["kind"] == "SwitchNorm2d":
        return [z.softmax(0) for z in logits]
    fixed = [int(state[f"{gate}_fixed"]) for gate in ("mean", "var")]
    radius = float(state["radius"])
    return [z if done else sparsestmax(z, radius) for z, done in zip(logits, fixed, strict=True)]


def reference_tensors(run, *, correction=1):
    """The formula of ``layer_formula`` in float64, differentiated by autograd."""
    state = {k: v.double().flatten() for k, v in run["state_dict"].items()}
    leaves = {k: state[k].requires_grad_() for k in run["param_grads"]}
    x = run["x"].double().requires_grad_()
    p, q = _gates(run, state)
    running = state["running_mean"], state["running_var"]
    y = switchable_norm(
        x,
        state["weight"],
        state["bias"],
        p,
        q,
        running,
        training=run["training"],
        correction=correction,
        eps=EPS,
    )
    y.backward(run["grad_output"].double())
    tensors = {"y": y.detach(), "grad_input": x.grad}
    tensors |= {f"grad_{k}": v.grad for k, v in leaves.items()}
    if run["training"]:
        momentum = MOMENTUM[run["kind"]]
        new = batch_moments(x.detach(), correction)
        for name, old, batch in zip(("running_mean", "running_var"), running, new, strict=True):
            tensors[name] = (1 - momentum) * old + momentum * batch
    return tensors


def our_tensors(run, *, correction=1, gate_order=(0, 1, 2)):
    """The results of our layer; the two options make it wrong, as negative controls."""
    layer_class = {"SSN2d": SSN2d, "SwitchNorm2d": SwitchNorm2d}[run["kind"]]
    channels = run["x"].shape[1]
    layer = layer_class(channels, EPS, MOMENTUM[run["kind"]], correction=correction)
    state = dict(run["state_dict"])
    for gate in ("mean_weight", "var_weight"):
        state[gate] = state[gate][list(gate_order)]
    layer.load_state_dict(state)
    if run["training"]:
        layer.gate_definition = "paper"  # what a layer trains with; both agree on these gates
    layer.train(run["training"])
    x = run["x"].clone().requires_grad_()
    y = layer(x)
    y.backward(run["grad_output"])
    tensors = {"y": y.detach(), "grad_input": x.grad}
    tensors |= {f"grad_{k}": getattr(layer, k).grad for k in run["param_grads"]}
    if run["training"]:
        tensors |= {"running_mean": layer.running_mean, "running_var": layer.running_var}
    return tensors


def compare(run, **wrong):
    """Compare every tensor of a run; ``wrong`` goes to :func:`our_tensors`."""
    golden, ours = golden_tensors(run), our_tensors(run, **wrong)
    results = []
    for name, exact in reference_tensors(run).items():
        golden_error = float((golden[name].double() - exact).abs().max())
        error = float((ours[name].double() - exact).abs().nan_to_num(torch.inf).max())
        bound = GOLDEN_ERRORS_ALLOWED * golden_error + SCALE_ALLOWED * float(exact.abs().max())
        results.append(Comparison(name, error, golden_error, bound))
    return results
