"""A store that the in-process tests of a module share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def shared_store(shared_folder: Path) -> Iterator[Store]:
    """An empty store; a test of the module must not change it."""
    with Store.open(f"sqlite:///{shared_folder / 'cxrd.sqlite'}", migrate=True) as opened:
        yield opened
