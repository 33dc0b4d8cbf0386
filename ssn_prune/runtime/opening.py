"""How a file that anyone may have written is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.trust import Trust


@dataclass(frozen=True)
class Opening:
    """What the user says of it.

    Attributes:
        timeout: Seconds that loading and running it may take.
        provider: Execution provider, by ONNX Runtime's name.
        trust: Which torch programs may be opened.
        each_run: The time holds for loading it and for every run, not for all of them together.
    """

    timeout: float = TIMEOUT
    provider: str = CPU
    trust: Trust = field(default_factory=Trust)
    each_run: bool = False
