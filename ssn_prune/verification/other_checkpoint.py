"""The error for a file that was made from a different checkpoint.

A different hash alone is no mistake, since weights may have been saved again. But it explains a
file that fails verification.
"""

from __future__ import annotations

from pathlib import Path

from ssn_prune.checkpoint.source import Source
from ssn_prune.errors import VerificationError
from ssn_prune.export_formats import format_of

FILE_HINT = (
    "see whether the options are those of the conversion (`on_unconverged=`, `input_size=`, "
    "`arch_args=`), and whether the file was changed since; or convert again"
)


def other_checkpoint(path: Path, source: Source, timeout: float) -> VerificationError | None:
    """The error for a file that fails and was made from another checkpoint.

    Args:
        path: The file.
        source: The checkpoint that it is compared with.
        timeout: Seconds that reading the file may take.

    Returns:
        The error; None if the file does not name its checkpoint, was made from this one, or the
        hash of this one is not known.
    """
    read = format_of(path).source
    stored = None if read is None else read(path, timeout)
    if stored is None or not source.sha256 or stored.sha256 == source.sha256:
        return None
    return VerificationError(
        f"{path.name} was made from {stored.file_name}, not from this {source.file_name}",
        layer=None,
        expected=f"the checkpoint with the SHA-256 {stored.sha256[:16]}..., which the file names",
        found=f"one with {source.sha256[:16]}..., whose network gives other outputs",
        hint=f"verify with {stored.file_name}, or convert {source.file_name} again",
    )
