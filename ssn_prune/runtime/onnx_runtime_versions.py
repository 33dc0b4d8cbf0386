"""The operator sets and format versions that each release of ONNX Runtime reads.

Whether a release reads a file depends on its operator set and on its file format version (IR). The
rows were measured with the packages themselves, by ``benchmarks/onnx_runtime_versions.py``, which
also runs a converted network in each operator set that a release reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssn_prune.errors import ArgumentError

DEFAULT_OPSET = 18
"""The operator set that files are written in unless another one is asked for."""

# First release, newest operator set, newest format version; each row holds up to the next one.
RELEASES: tuple[tuple[tuple[int, int], int, int], ...] = (
    ((1, 7), 13, 7),
    ((1, 8), 14, 7),
    ((1, 9), 15, 8),
    ((1, 11), 16, 8),
    ((1, 12), 17, 8),
    ((1, 14), 18, 8),
    ((1, 15), 19, 9),
    ((1, 17), 20, 9),
    ((1, 18), 21, 10),
    ((1, 21), 22, 10),
    ((1, 23), 23, 11),
    ((1, 24), 25, 13),
    ((1, 25), 26, 13),
    ((1, 32), 28, 14),
)


@dataclass(frozen=True)
class Readable:
    """What a release reads.

    Attributes:
        version: The release of ONNX Runtime.
        opset: Newest operator set that it reads.
        ir_version: Newest version of the file format that it reads.
        use_opset: The operator set to write for it.
    """

    version: str
    opset: int
    ir_version: int
    use_opset: int


def readable_by(version: str) -> Readable:
    """What a release of ONNX Runtime reads; one newer than the table reads at least its last row.

    Args:
        version: The release, such as ``"1.16.3"``.

    Raises:
        ArgumentError: It is not a version, or is too old for every file that can be written.
    """
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    release = (int(numbers[1]), int(numbers[2])) if numbers else None
    if release is None or release < RELEASES[0][0]:
        raise ArgumentError(
            f"no file can be written for ONNX Runtime {version}"
            if release
            else f"{version!r} is no version of ONNX Runtime",
            expected=f"a version from {'.'.join(map(str, RELEASES[0][0]))} on, such as 1.16.3",
            found=version or "''",
            hint="see which one the device has: python -c 'import onnxruntime as r; "
            "print(r.__version__)'",
        )
    _, opset, ir_version = max(row for row in RELEASES if row[0] <= release)
    return Readable(version, opset, ir_version, min(DEFAULT_OPSET, opset))
