"""The plan in a file's header, checked value by value: the file may come from anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ssn_prune.checkpoint.safetensors import PRUNED_KEY
from ssn_prune.checkpoint.stored import DTYPES
from ssn_prune.errors import CheckpointError
from ssn_prune.nn.variance_kind import KINDS
from ssn_prune.pruned_weights.records import PLAN_VERSION, StoredLayer, StoredPlan
from ssn_prune.pruning.capture.guard_text import require_known
from ssn_prune.pruning.folds.table import FOLD_RULES
from ssn_prune.pruning.forms.settings import FormSettings
from ssn_prune.pruning.forms.table import FORMS
from ssn_prune.pruning.plan import AffineStep, Ratios
from ssn_prune.text import shown

T = TypeVar("T")

_LARGEST = 2**31 - 1
_OPERATORS = ("mul", "add", "batch_norm")


class _MalformedError(ValueError):
    """A value is malformed; the text says where and how."""


def parse_plan(path: Path, metadata: dict[str, str]) -> StoredPlan:
    """Parse the plan in the metadata of a file.

    Raises:
        CheckpointError: There is none, or it is malformed.
    """
    text = metadata.get(PRUNED_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} holds no pruned weights",
            expected=f"a safetensors file with {PRUNED_KEY} in its metadata, as save_pruned writes",
            found="weights without a plan",
            hint="read a checkpoint with load_checkpoint",
        )
    try:
        found = json.loads(text, parse_constant=_no_number)
        return _plan(_Fields(found, "the plan"))
    except _MalformedError as error:
        raise _damaged(path, str(error)) from error
    except (ValueError, RecursionError) as error:  # no JSON, or too deep
        raise _damaged(path, "no valid JSON") from error


def _damaged(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        f"the plan in {path} is malformed",
        expected="what save_pruned writes",
        found=found,
        hint="save the pruned weights again, and copy the file whole",
    )


def _no_number(text: str) -> float:
    raise _MalformedError(f"{text}, which is no number")


class _Fields:
    """The fields of a JSON object, each read once."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _MalformedError(f"{where} is no object")
        self._left, self.where = dict(value), where

    def take(self, name: str, read: Callable[[Any, str], T]) -> T:
        """Remove a field and return its parsed value."""
        where = f"{self.where}.{name}"
        if name not in self._left:
            raise _MalformedError(f"{where} is missing")
        return read(self._left.pop(name), where)

    def end(self) -> None:
        """Refuse fields that were not taken."""
        if self._left:
            raise _MalformedError(
                f"{self.where} has the unknown field {shown(next(iter(self._left)))}"
            )


def _plan(fields: _Fields) -> StoredPlan:
    version = fields.take("version", _whole)
    if version != PLAN_VERSION:
        raise _MalformedError(
            f"version {version} of the plan; this release reads version {PLAN_VERSION}"
        )
    plan = StoredPlan(
        version=version,
        layers=fields.take("layers", _each(_layer)),
        created_biases=fields.take("created_biases", _each(_text)),
        frozen=fields.take("frozen", _each(_text)),
        dtypes=fields.take("dtypes", _dtypes),
        strides=fields.take("strides", _strides),
        size_conditions=fields.take("size_conditions", _each(_condition)),
    )
    fields.end()
    return plan


def _layer(value: Any, where: str) -> StoredLayer:
    fields = _Fields(value, where)
    layer = StoredLayer(
        name=fields.take("name", _text),
        aliases=fields.take("aliases", _each(_text)),
        mean=fields.take("mean", _ratios),
        var=fields.take("var", _ratios),
        form=fields.take("form", _one_of(FORMS)),
        settings=fields.take("settings", _settings),
        fold=fields.take("fold", _optional(_one_of([rule.code for rule in FOLD_RULES]))),
        folded_into=fields.take("folded_into", _optional(_text)),
        absorbs=fields.take("absorbs", _each(_step)),
        centre=fields.take("centre", _optional(_each(_number))),
    )
    fields.end()
    return layer


def _settings(value: Any, where: str) -> FormSettings:
    fields = _Fields(value, where)
    settings = FormSettings(
        num_features=fields.take("num_features", _positive),
        dimension=fields.take("dimension", _one_of((1, 2, 3))),
        eps=fields.take("eps", _number),
        momentum=fields.take("momentum", _optional(_number)),
        correction=fields.take("correction", _one_of(KINDS)),
        positions=fields.take("positions", _optional(_positive)),
        mean_ratios=fields.take("mean_ratios", _ratios),
        var_ratios=fields.take("var_ratios", _ratios),
        tensors=fields.take("tensors", _each(_text)),
    )
    fields.end()
    return settings


def _step(value: Any, where: str) -> AffineStep:
    fields = _Fields(value, where)
    step = AffineStep(fields.take("module", _text), fields.take("operator", _one_of(_OPERATORS)))
    fields.end()
    return step


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    raise _MalformedError(f"{where} is no text")


def _number(value: Any, where: str) -> float:
    if type(value) in (int, float) and abs(value) <= _LARGEST and math.isfinite(value):
        return float(value)
    raise _MalformedError(f"{where} is no number, or a very large one")


def _whole(value: Any, where: str) -> int:
    if type(value) is int and abs(value) <= _LARGEST:
        return value
    raise _MalformedError(f"{where} is no whole number, or a very large one")


def _positive(value: Any, where: str) -> int:
    if _whole(value, where) > 0:
        return int(value)
    raise _MalformedError(f"{where} is not positive")


def _ratios(value: Any, where: str) -> Ratios:
    found = _each(_number)(value, where)
    if len(found) != 3:
        raise _MalformedError(f"{where} has {len(found)} ratios in the place of 3")
    return found[0], found[1], found[2]


def _condition(value: Any, where: str) -> str:
    text = _text(value, where)
    try:
        require_known(text)
    except ValueError as error:
        raise _MalformedError(f"{where} is {error}") from error
    return text


def _dtypes(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _MalformedError(f"{where} is no object")
    return {name: _one_of(DTYPES)(dtype, where) for name, dtype in value.items()}


def _strides(value: Any, where: str) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict):
        raise _MalformedError(f"{where} is no object")
    return {name: _each(_positive)(strides, where) for name, strides in value.items()}


def _one_of(known: Any) -> Callable[[Any, str], Any]:
    def read(value: Any, where: str) -> Any:
        if type(value) in (int, str) and value in known:
            return value
        raise _MalformedError(f"{where} is {shown(str(value)[:80])}, which is not known")

    return read


def _optional(read: Callable[[Any, str], T]) -> Callable[[Any, str], T | None]:
    return lambda value, where: None if value is None else read(value, where)


def _each(read: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    def read_all(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _MalformedError(f"{where} is no list")
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_all
