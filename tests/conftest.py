"""Data that the tests of several training examples share; made once."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from seeds import seed
from training_samples import EXAMPLES, street, zipped

# Files are handed out in this order, and a long one that begins last is waited for.
LONGEST = (
    "nn/test_fused_kernels.py",
    "docs/test_pages.py",
    "fuzz/test_fuzz.py",
    "cli/test_search.py",
    "test_leaks.py",
    "test_process_lock.py",
    "surgery/test_guest_defaults.py",
    "hostile/test_guided_fuzzing.py",
    "examples/test_notebook.py",
    "test_peak_memory.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, the others as they were found."""
    order = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_collectstart():
    """Networks that a module makes while it is imported."""
    seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Fixtures that many tests share."""
    seed(1)


@pytest.fixture(autouse=True)
def _same_draws():
    """What shared fixtures drew, in the first of their tests only, changes nothing."""
    seed(2)


@pytest.fixture(scope="module", autouse=True)
def _collector_passes_over_modules():
    """A conversion looks for reference cycles twice, and torch alone has 400,000 objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory):
    """What commands keep for the next time is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_temporary_folder(tmp_path_factory, monkeypatch):
    """A temporary folder that no other process writes to."""
    import torch  # pickled names must not find torch's constants in this module

    # The first capture of a process imports half of torch, which makes a folder for its caches.
    torch.export.export(torch.nn.Identity(), (torch.ones(1),))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture(scope="module")
def importable_examples():
    """As for a script, whose folder is on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of JPEGs, 8 images each, dark and bright noise."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        (folder / name).mkdir(parents=True)
        for index in range(8):
            pixels = random.integers(low, low + 130, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def photo_zip(photos):
    return zipped(photos)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "camvid"
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        (folder / part).mkdir(parents=True)
        (folder / f"{part}annot").mkdir()
        for index in range(count):
            image, labels = street(random)
            Image.fromarray(image).save(folder / part / f"{index}.jpg", quality=100)
            Image.fromarray(labels).save(folder / f"{part}annot" / f"{index}.png")
    return zipped(folder)
