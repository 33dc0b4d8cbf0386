"""Seeded random graphs of what real networks do; 15 % of them have every kind of sharing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from fuzz_graphs import Alias, Conv, Graph, Node, without_dead_parts
from fuzz_modules import random_conv, random_norm
from fuzz_parameters import Parameters, draw_input, draw_module
from fuzz_reference import run_node
from fuzz_usable import is_usable
from torch import Tensor

SHARING_SHARE = 0.15
_ATTEMPTS = 1000


def random_graph(seed: int) -> Graph:
    """The graph of a seed, drawn again until it is usable; see fuzz_usable.

    Raises:
        RuntimeError: No usable graph was drawn.
    """
    for attempt in range(_ATTEMPTS):
        rng = random.Random(f"{seed}/{attempt}")
        graph = _Builder(rng, seed * 1000 + attempt).graph()
        if graph is not None and is_usable(graph):
            return graph
    raise RuntimeError(f"seed {seed}: no usable graph in {_ATTEMPTS} draws")


class _Builder:
    """Adds nodes one by one, computing every value, so that only possible ones are added."""

    def __init__(self, rng: random.Random, seed: int) -> None:
        self.rng, self.seed = rng, seed
        self.dim = rng.choice((1, 2, 2, 2, 3))
        limit = {1: 9, 2: 8, 3: 5}[self.dim]
        low = 1 if rng.random() < 0.15 else 3
        sizes = [rng.randint(low, limit) for _ in range(self.dim)]
        shape = (rng.choice((2, 2, 3)), rng.randint(1, 4), *sizes)
        self.draft = Graph(seed, shape, (), (), (0,))
        self.parameters: Parameters = {}
        self.values: list[object] = [draw_input(self.draft)]
        self.pinned: set[int] = set()  # values that an operation in place may not touch
        self.returned: list[int] = []

    def graph(self) -> Graph | None:
        """A graph of 2 to about 12 nodes, or None if it could not be continued."""
        rng = self.rng
        target = rng.randint(2, 12)
        sharing = rng.random() < SHARING_SHARE
        cur, stuck = 0, 0
        while len(self.draft.nodes) < target and stuck < 20:
            act = rng.choices(
                [self.block, self.norm, self.activation, self.spatial, self.merge, self.inert,
                 self.split, self.head, self.share if sharing else self.block],
                weights=[8, 3, 2, 2, 3, 1.5, 1, 1, 6],
            )[0]  # fmt: skip
            if rng.random() < 0.12:
                cur = self.tensor_value()
            new = act(cur)
            stuck = stuck + 1 if new is None else 0
            cur = cur if new is None else new
        taken = self.draft.uses()
        leaves = [
            v
            for v in range(1, len(self.values))
            if isinstance(self.values[v], Tensor) and not taken[v] and self.draft.source(v) == v
        ]
        outputs = tuple(dict.fromkeys([*leaves, *self.returned]))
        if not outputs:
            return None
        self.draft = replace(self.draft, outputs=outputs)
        return without_dead_parts(self.draft)

    # Values

    def tensor(self, value: int) -> Tensor:
        found = self.values[value]
        assert isinstance(found, Tensor)
        return found

    def tensor_value(self) -> int:
        usable = [v for v, t in enumerate(self.values) if isinstance(t, Tensor)]
        return self.rng.choice([v for v in usable if v not in self.pinned])

    def add(self, node: Node) -> int | None:
        """Add a node if it can be computed and stays small."""
        try:
            value = run_node(self.draft, node, self.parameters, self.values, None)
        except (RuntimeError, ValueError):
            return None
        if isinstance(value, Tensor) and (value.numel() == 0 or value.numel() > 2500):
            return None
        self.draft = replace(self.draft, nodes=(*self.draft.nodes, node), outputs=())
        self.values.append(value)
        return len(self.values) - 1

    def register(self, kind: str, module: object) -> str:
        name = f"{kind}{len(self.draft.modules)}"
        self.draft = replace(self.draft, modules=(*self.draft.modules, (name, module)))
        draw_module(self.seed, name, module, self.parameters)
        return name

    def positions(self, value: int) -> int:
        return self.tensor(value)[0, 0].numel()

    # Steps: each takes the current value and returns the next, or None if it cannot be done

    def conv(self, cur: int) -> int | None:
        x = self.tensor(cur)
        conv = random_conv(self.rng, x.shape)
        if conv is None:
            return None
        name = self.register("conv", conv)
        plain = conv.mode == "zeros" and self.rng.random() < 0.06
        return self.add(Node("functional" if plain else "call", (cur,), name))

    def block(self, cur: int) -> int | None:
        new = self.conv(cur)
        if new is None:
            return None
        for step, chance in ((self.norm, 0.85), (self.norm, 0.15), (self.activation, 0.4)):
            if self.rng.random() < chance:
                new = step(new) or new
        return new

    def norm(self, cur: int) -> int | None:
        x = self.tensor(cur)
        conv = self.draft.nodes[cur - 1].module if cur else ""
        follows = conv if conv in self.parameters and "conv" in conv else ""
        norm = random_norm(self.rng, x.shape, follows, after_norm="norm" in conv)
        return self.add(Node("call", (cur,), self.register("norm", norm)))

    def activation(self, cur: int) -> int | None:
        op = self.rng.choice(("relu", "leaky_relu", "hardswish"))
        inplace = self.rng.random() < 0.5 and self.may_change(cur)
        return self.add(Node(op, (cur,), args=(int(inplace),)))

    def may_change(self, value: int) -> bool:
        """Whether a value may change in place now, because nothing reads it later."""
        fresh = value and self.draft.nodes[value - 1].op not in ("identity", "dropout", "pick")
        self_made = fresh and self.draft.nodes[value - 1].op not in ("chunk", "flatten")
        views = ("identity", "dropout", "chunk", "flatten")
        seen = any(n.op in views and value in n.inputs for n in self.draft.nodes)
        if not self_made or seen or value in self.returned:
            return False
        self.pinned.add(value)
        return True

    def spatial(self, cur: int) -> int | None:
        if self.tensor(cur).dim() < 3:
            return None
        op, args = self.rng.choice(
            (
                ("max_pool", (2, self.rng.choice((1, 2)))),
                ("avg_pool", (2, self.rng.choice((1, 2)))),
                ("adaptive_avg", (1,)),
                ("adaptive_max", (1,)),
                ("upsample", (2,)),
            )
        )
        return self.add(Node(op, (cur,), args=args))

    def merge(self, cur: int) -> int | None:
        x = self.tensor(cur)
        op = self.rng.choice(("add", "add", "cat"))
        fitting = []
        for value, other in enumerate(self.values):
            if not isinstance(other, Tensor) or value in self.pinned or other.dim() != x.dim():
                continue
            same = other.shape[2:] == x.shape[2:]
            if op == "add":
                same = other.shape == x.shape
            if same and value != cur and (op == "add" or other.shape[1] + x.shape[1] <= 8):
                fitting.append(value)
        if not fitting or cur in self.pinned:
            return None
        return self.add(Node(op, (cur, self.rng.choice(fitting))))

    def inert(self, cur: int) -> int | None:
        return self.add(Node(self.rng.choice(("identity", "dropout")), (cur,)))

    def split(self, cur: int) -> int | None:
        channels = self.tensor(cur).shape[1]
        if channels < 2 or channels % 2:
            return None
        parts = self.add(Node("chunk", (cur,), args=(2,)))
        picks = [self.add(Node("pick", (parts,), args=(index,))) for index in range(2)]
        return self.rng.choice(picks)

    def head(self, cur: int) -> int | None:
        if self.tensor(cur).dim() < 3:
            return None
        pooled = self.add(Node("adaptive_avg", (cur,), args=(1,)))
        flat = self.add(Node("flatten", (pooled,)))
        return None if flat is None else self.block(flat)

    # Sharing

    def share(self, cur: int) -> int | None:
        act: Callable[[int], int | None] = self.rng.choice(
            (
                self.conv_again,
                self.conv_again,
                self.norm_again,
                self.norm_again,
                self.both_again,
                self.shared_parameter,
                self.used_twice,
                self.returned_too,
            )
        )
        return act(cur)

    def called(self, kind: type) -> list[str]:
        names = [n.module for n in self.draft.nodes if n.module]
        return [name for name in names if isinstance(self.draft.named(name), kind)]

    def again(self, name: str, ops: tuple[str, ...]) -> int | None:
        """Call a module on any value that it takes, maybe under another name."""
        if self.rng.random() < 0.2:
            name = self.register("alias", Alias(self.draft.original_name(name)))
        order = [v for v, t in enumerate(self.values) if isinstance(t, Tensor)]
        self.rng.shuffle(order)
        module = self.draft.named(name)
        channels = module.inputs if isinstance(module, Conv) else module.channels
        axes = module.dim + 2
        for value in order:
            x = self.tensor(value)
            right = x.dim() == axes or (not isinstance(module, Conv) and axes == 3 and x.dim() == 2)
            if value not in self.pinned and right and x.shape[1] == channels:
                new = self.add(Node(self.rng.choice(ops), (value,), name))
                if new is not None:
                    return new
        return None

    def conv_again(self, cur: int) -> int | None:
        names = self.called(Conv)
        if not names:
            return None
        name = self.rng.choice(names)
        plain = self.draft.named(name).mode == "zeros"
        new = self.again(name, ("call", "call", "functional", "bare") if plain else ("call",))
        if new is None:
            return None
        return self.norm(new) if self.rng.random() < 0.7 else new

    def norm_again(self, cur: int) -> int | None:
        names = [n for n in dict.fromkeys(self.called(object)) if n not in self.called(Conv)]
        fitting = [n for n in names if self.draft.named(n).channels == self.tensor(cur).shape[1]]
        fitting = [
            n for n in fitting if self.draft.named(n).dim == max(self.tensor(cur).dim() - 2, 1)
        ]
        if not fitting or cur in self.pinned:
            return self.again(self.rng.choice(names), ("call",)) if names else None
        return self.add(Node("call", (cur,), self.rng.choice(fitting)))

    def both_again(self, cur: int) -> int | None:
        """Call a convolution and its layer once more, like a head shared by several levels."""
        pairs = [
            (self.draft.nodes[node.inputs[0] - 1].module, node.module)
            for node in self.draft.nodes
            if node.module and "norm" in node.module and node.inputs[0]
        ]
        pairs = [pair for pair in pairs if "conv" in pair[0]]
        if not pairs:
            return None
        conv, norm = self.rng.choice(pairs)
        new = self.again(conv, ("call",))
        return None if new is None else self.add(Node("call", (new,), norm))

    def shared_parameter(self, cur: int) -> int | None:
        names = [n for n in self.called(Conv) if n in dict(self.draft.modules)]
        names = [n for n in names if isinstance(dict(self.draft.modules)[n], Conv)]
        if not names:
            return None
        name = self.rng.choice(names)
        conv = self.draft.named(name)
        which = {"weight_from": name, "bias_from": ""}
        if conv.bias and self.rng.random() < 0.4:
            which = {"weight_from": self.rng.choice((name, "")), "bias_from": name}
        other = self.register("conv", replace(conv, **which))
        new = self.again(other, ("call",))
        return new if new is None or self.rng.random() < 0.3 else self.norm(new)

    def used_twice(self, cur: int) -> int | None:
        """Add another use of the output of a convolution or layer."""
        made = [i + 1 for i, n in enumerate(self.draft.nodes) if n.module]
        made = [v for v in made if v not in self.pinned]
        return self.activation_of(self.rng.choice(made)) if made else None

    def activation_of(self, value: int) -> int | None:
        return self.add(Node("relu", (value,), args=(0,)))

    def returned_too(self, cur: int) -> int | None:
        made = [i + 1 for i, n in enumerate(self.draft.nodes) if n.module]
        made = [v for v in made if v not in self.pinned]
        if made:
            self.returned.append(self.rng.choice(made))
        return None
