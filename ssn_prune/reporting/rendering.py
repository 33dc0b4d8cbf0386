"""Render templates to self-contained pages, whose content security policy forbids all else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from ssn_prune.reporting.charts.strip import symbols
from ssn_prune.reporting.reading import DATA_ID

_ASSETS = files("ssn_prune.reporting").joinpath("assets")


def rendered(
    template: str, documents: Any, scripts: Sequence[str] = ("page.js",), **values: Any
) -> str:
    """Render a page.

    Args:
        template: The template's file in ``assets``.
        documents: The data to embed in the page as JSON.
        scripts: Files in ``assets`` that the page runs.
        **values: Values for the template; all text is escaped.
    """
    script = "\n".join(map(asset, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; img-src data:"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(asset("page.css")),
            script=Markup(script),
            data=embedded(documents),
            data_id=DATA_ID,
            symbols=symbols(),
            **values,
        )
    )


def embedded(document: Any) -> Markup:
    """JSON to embed in a script element. ``<`` occurs only in strings, so escaping it is safe."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def asset(name: str) -> str:
    """The text of a file in ``assets``."""
    return _ASSETS.joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
    )
