"""Switchable normalization in plain float64 operators, for any dimension and set of normalizers.

Written from the papers (arXiv 1903.03793, 1806.10779); nothing of the package is used, and the
gradients are torch's own. The gate is the iterative push and project of section 3.2 there.
"""

import torch

ORDER = ("IN", "LN", "BN")
SETS = [("IN", "LN", "BN"), ("IN", "LN"), ("IN", "BN"), ("LN", "BN")]


def sparsemax(z):
    """The projection on the simplex."""
    s = z.detach().sort(descending=True).values
    sizes = torch.arange(1, len(z) + 1)
    m = int((1 + sizes * s > s.cumsum(0)).sum())
    inside = z >= s[m - 1]
    tau = (z[inside].sum() - 1) / inside.sum()
    return torch.where(inside, z - tau, torch.zeros_like(z))


def sparsestmax(z, radius):
    """Push from the centre of the face, project, and again on the smaller face; no ties."""
    k = len(z)
    p = sparsemax(z)
    if (p - 1 / k).norm() >= radius:
        return p
    while True:
        face = p.detach() > 0
        m = int(face.sum())
        centre = torch.where(face, torch.full_like(z, 1 / m), torch.zeros_like(z))
        away = p - centre
        inner = max(radius**2 - (1 / m - 1 / k), 0) ** 0.5
        p = centre + inner * away / away.norm()
        if p.min() >= -1e-14:
            return p
        p = sparsemax(p)


def gates(layer, mean_weight, var_weight):
    """The ratios of both gates of a layer, given its logits in float64."""
    ratios = []
    for name, logits in (("mean", mean_weight), ("var", var_weight)):
        if not hasattr(layer, "radius"):
            ratios.append(torch.softmax(logits, 0))
        elif int(getattr(layer, f"{name}_fixed")):
            ratios.append(logits.detach() + 0 * logits)
        else:
            ratios.append(sparsestmax(logits, float(layer.radius)))
    return ratios


def moments(x, offered, running, correction):
    """(mean, var) of each normalizer, broadcastable to (N, C); x is (N, C, M)."""
    positions = x.shape[2]
    mean_in = x.sum(2) / positions
    squares = ((x - mean_in[:, :, None]) ** 2).sum(2)
    # Over one position a corrected variance is undefined; the layer refuses it in training.
    var_in = squares / (positions - correction) if positions > correction else squares * 0
    found = {"IN": (mean_in, var_in)}
    for name, dim in (("LN", 1), ("BN", 0)):
        mean = mean_in.mean(dim, keepdim=True)
        between = ((mean_in - mean) ** 2).mean(dim, keepdim=True)
        found[name] = (mean, var_in.mean(dim, keepdim=True) + between)
    batch = tuple(value[0] for value in found["BN"])
    if running is not None:
        found["BN"] = tuple(value[None] for value in running)
    return [found[name] for name in offered], batch


def normalize(x, p, q, offered, *, running=None, correction=0, eps=1e-5, groups=1):
    """The layer without its affine part, and the mean and variance of the batch, (C,) each."""
    outputs, batches = [], []
    for part in x.flatten(2).chunk(groups):
        each, batch = moments(part, offered, running, correction)
        mean = sum(ratio * mean for ratio, (mean, _) in zip(p, each, strict=True))
        var = sum(ratio * var for ratio, (_, var) in zip(q, each, strict=True))
        outputs.append((part - mean[:, :, None]) / torch.sqrt(var + eps)[:, :, None])
        batches.append(torch.stack(batch))
    mean, var = torch.stack(batches).mean(0)
    return torch.cat(outputs).view(x.shape), mean, var


def output_gradient(y, kind):
    """A gradient of ``y`` in various layouts."""
    if kind in ("sum", "mean"):  # expanded, as y.sum() and y.mean() give it
        return torch.full((), 1.0 if kind == "sum" else 1 / y.numel(), dtype=y.dtype).expand_as(y)
    generator = torch.Generator().manual_seed(y.numel())
    if kind == "strided":
        reverse = torch.randn(*reversed(y.shape), generator=generator, dtype=torch.float64)
        return reverse.to(y.dtype).permute(*reversed(range(y.dim())))
    return torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.dtype)


def expected(layer, x, kind="random"):
    """Output, gradients and running statistics that one pass of ``layer`` must give."""
    leaves = {"input": x.detach().double().contiguous()}
    leaves |= {name: value.detach().double() for name, value in layer.named_parameters()}
    leaves = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    mean_weight = leaves["mean_weight"]
    p, q = gates(layer, mean_weight, leaves.get("var_weight", mean_weight))
    offered = [normalizer.name for normalizer in layer.normalizers]
    tracked = {n: b.double().clone() for n, b in layer.named_buffers() if n.startswith("running")}
    running = None if layer.training or not tracked else tuple(tracked.values())
    work = leaves["input"] if x.dim() > 2 else leaves["input"][:, :, None]
    y, mean, var = normalize(
        work,
        p,
        q,
        offered,
        running=running,
        correction=layer.correction,
        eps=layer.eps,
        groups=layer.batch_groups if layer.training else 1,
    )
    if layer.affine:
        shape = (-1, *[1] * (work.dim() - 2))
        y = y * leaves["weight"].view(shape) + leaves["bias"].view(shape)
    y = y.view(x.shape)
    y.backward(output_gradient(y.detach().to(x.dtype), kind).double())
    if layer.training and tracked:
        count = int(layer.num_batches_tracked) + 1
        share = 1 / count if layer.momentum is None else layer.momentum
        for name, new in (("running_mean", mean), ("running_var", var)):
            tracked[name] = (1 - share) * tracked[name] + share * new.detach()
    gradients = {f"d {name}": value.grad for name, value in leaves.items()}
    return {"output": y.detach(), **gradients, **tracked}


def measured(layer, x, kind="random"):
    """The same values, from the layer itself."""
    layer.zero_grad()
    # detach keeps the layout, clone would not
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(output_gradient(y, kind))
    found = {"output": y.detach(), "d input": x.grad}
    found |= {f"d {name}": value.grad for name, value in layer.named_parameters()}
    return found | {n: b.clone() for n, b in layer.named_buffers() if n.startswith("running")}


def assert_agree(found, wanted, bound, terms=1):
    """Every value within ``bound`` times its scale: the largest entry of its tensor, at least 1.

    Four times that for gradients, which cancel; those of weight and bias are sums of ``terms``
    numbers of size 1.
    """
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = max(float(value.abs().max()), terms if name in ("d weight", "d bias") else 1.0)
        error = float((found[name].double() - value).abs().max())
        limit = bound * (4 if name.startswith("d ") else 1)
        assert error <= limit * scale, f"{name}: {error / scale:.2e} of its scale"
        assert found[name].shape == value.shape, name
