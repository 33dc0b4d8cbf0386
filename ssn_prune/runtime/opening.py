"""How to open a file that anyone may have written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssn_prune.runtime.process import TIMEOUT
from ssn_prune.runtime.providers import CPU
from ssn_prune.runtime.trust import Trust


@dataclass(frozen=True)
class Opening:
    """The user's choices for opening a file.

    Attributes:
        timeout: Seconds that loading and running it may take in all.
        provider: Execution provider, by ONNX Runtime's name.
        trust: Which torch programs may be opened.
        each_run: Apply the timeout to loading and to each run, not to all of them together.
    """

    timeout: float = TIMEOUT
    provider: str = CPU
    trust: Trust = field(default_factory=Trust)
    each_run: bool = False
