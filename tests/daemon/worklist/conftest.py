"""A performer in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from tests.builders.stores.new import new_store
from tests.builders.worklist.scene import Scene
from tests.tools.clock import Clock


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A worklist and its performer, with nothing to do."""
    clock = Clock()
    with new_store(tmp_path / "store.sqlite", clock=clock) as store:
        yield Scene(store, FolderSpool(tmp_path / "spool"), clock)
