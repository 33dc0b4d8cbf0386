"""What must be known of a file before inputs are made for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssn_prune.images.preprocessing import Preprocessing
from ssn_prune.runtime.stored_metadata import StoredPreprocessing, preprocessing_in


@dataclass(frozen=True)
class FileFacts:
    """What a file says of its inputs.

    Attributes:
        batch: The batch size that it is fixed at; None if that is open.
        preprocessing: How they are made; None if it does not say.
    """

    batch: int | None = None
    preprocessing: StoredPreprocessing | None = None

    @property
    def embedded(self) -> Preprocessing | None:
        """What the file itself does to pixels, which it takes then; None if it takes numbers."""
        return embedded_in(self.preprocessing)


def embedded_in(stored: StoredPreprocessing | None) -> Preprocessing | None:
    """How a file itself normalizes pixels; None if it does not."""
    return None if stored is None or not stored.embedded else stored.how


def embedded_by(stored: Mapping[str, str]) -> Preprocessing | None:
    """The same of metadata that have been read."""
    return embedded_in(preprocessing_in(stored))
