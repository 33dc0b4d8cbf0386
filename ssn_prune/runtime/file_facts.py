"""What a file says of its inputs, which must be known before inputs are made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.runtime.stored_metadata import StoredPreprocessing, preprocessing_in


@dataclass(frozen=True)
class FileFacts:
    """What a file says of its inputs.

    Attributes:
        batch: The fixed batch size; None if it is dynamic or not known.
        preprocessing: How images become inputs; None if the file does not say.
    """

    batch: int | None = None
    preprocessing: StoredPreprocessing | None = None

    @property
    def embedded(self) -> Preprocessing | None:
        """How the file itself normalizes pixels; None if it takes normalized inputs."""
        return embedded_in(self.preprocessing)


def embedded_in(stored: StoredPreprocessing | None) -> Preprocessing | None:
    """How a file itself normalizes pixels; None if it takes normalized inputs."""
    return None if stored is None or not stored.embedded else stored.how


def embedded_by(stored: Mapping[str, str]) -> Preprocessing | None:
    """The same, from the metadata of a file."""
    return embedded_in(preprocessing_in(stored))
