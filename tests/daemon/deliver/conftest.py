"""Deliveries in this process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from storage.store import Store
from tests.builders.outbox import Outbox


@pytest.fixture
def outbox(tmp_path: Path, store: Store) -> Iterator[Outbox]:
    """An empty outbox; its workers stop when the test ends."""
    with contextlib.closing(Outbox(store, FolderSpool(tmp_path / "spool"))) as opened:
        yield opened
