"""What several tests of the layers need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """torch.compile remembers what it compiled, and compiles no code more than eight times."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()
