"""Measured times in the user's cache folder: one JSON file per place and machine.

A file is used only if it is complete and has the same place, runtime and machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_prune.costs.places import Place
from ssn_prune.errors import OutputError
from ssn_prune.files import replacing
from ssn_prune.json_values import to_json
from ssn_prune.normalizer import ALL_PAIRS, NormalizerPair

FORMAT = 1
"""Increase this when probes or the way of measuring change."""
_LARGEST = 1 << 16
Times = dict[NormalizerPair, float]
"""The latency of a probe in milliseconds, by its pair."""


def default_cache() -> Path:
    """The folder of this package in the user's cache folder; it need not exist."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "ssn_prune" / "costs"


@dataclass(frozen=True)
class TimesCache:
    """Files of measured times.

    Attributes:
        folder: Where the files are; None for a cache that is always empty.
        setting: What the times depend on besides the place: versions, machine and options.
    """

    folder: Path | None
    setting: Mapping[str, Any]

    def load(self, place: Place) -> Times:
        """The known times of a place; empty if the file is missing or damaged."""
        path = self._path(place)
        if path is None:
            return {}
        try:
            if path.stat().st_size > _LARGEST:
                return {}
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(stored, dict) or stored.get("key") != self._key(place):
            return {}
        times, names = stored.get("milliseconds"), {str(pair): pair for pair in ALL_PAIRS}
        if not isinstance(times, dict) or not times.keys() <= names.keys():
            return {}
        sound = all(type(ms) is float and math.isfinite(ms) and ms > 0 for ms in times.values())
        return {names[name]: ms for name, ms in times.items()} if sound else {}

    def store(self, place: Place, times: Times) -> None:
        """Store the times of a place. A full or read-only disk is not an error."""
        path = self._path(place)
        if path is None:
            return
        content = {
            "key": self._key(place),
            "milliseconds": {str(pair): ms for pair, ms in times.items()},
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(content), encoding="utf-8")
        except (OSError, OutputError):
            return

    def _key(self, place: Place) -> dict[str, Any]:
        key = {"format": FORMAT, **self.setting, "place": to_json(place, defaults=False)}
        found: dict[str, Any] = json.loads(json.dumps(key))
        return found

    def _path(self, place: Place) -> Path | None:
        if self.folder is None:
            return None
        text = json.dumps(self._key(place), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
