"""What the tensors of a switchable layer do not show, and its state dict therefore carries.

``_extra_state`` is a row of whole numbers: the kind of variance (0 to 2), a flag for each of IN, LN
and BN, and a final 1 for SSN layers whose gates are computed as in the reference code. Older files
have the first entry only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssn_prune.nn.reference_gate import GateDefinition
from ssn_prune.nn.variance_kind import KINDS
from ssn_prune.normalizer import Normalizer

LENGTHS = (1, 1 + len(Normalizer), 2 + len(Normalizer))


@dataclass(frozen=True)
class ExtraState:
    """The entries of ``_extra_state`` by name.

    Attributes:
        correction: The kind of variance; see :mod:`ssn_prune.nn.variance_kind`.
        normalizers: What the layer offers; None in older files.
        gate_definition: Whose SparsestMax its gates are until they freeze.
    """

    correction: int
    normalizers: tuple[Normalizer, ...] | None
    gate_definition: GateDefinition = "paper"

    def numbers(self) -> list[int]:
        """The entries as they are stored."""
        flags = [int(normalizer in (self.normalizers or ())) for normalizer in Normalizer]
        return [self.correction, *flags, *([1] if self.gate_definition == "reference" else [])]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> ExtraState:
        """Read stored entries.

        Raises:
            ValueError: They are malformed.
        """
        if not (
            len(numbers) in LENGTHS
            and numbers[0] in KINDS
            and all(value in (0, 1) for value in numbers[1:])
        ):
            raise ValueError(
                "expected an extra state [correction], [correction, IN, LN, BN] or [correction, "
                "IN, LN, BN, reference gates], the first of 0 to 2, the others 0 or 1, got "
                f"{list(numbers)[:8]}"
            )
        correction, *flags = numbers
        offered = tuple(n for n, flag in zip(Normalizer, flags, strict=False) if flag)
        by_reference = len(numbers) == LENGTHS[-1] and bool(numbers[-1])
        return cls(
            int(correction),
            offered if flags else None,
            "reference" if by_reference else "paper",
        )
