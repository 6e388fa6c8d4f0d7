"""A store that the in-process tests of a module share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store
from tests.builders.stores.new import new_store


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def shared_store(shared_folder: Path) -> Iterator[Store]:
    """An empty store; a test of the module must not change it."""
    with new_store(shared_folder / "cxrd.sqlite") as opened:
        yield opened
