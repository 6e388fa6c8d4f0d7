"""Fixture: a spool of each kind."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.files.folder_spool import FolderSpool
from storage.files.spool import Spool


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.network)])
def any_spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    if request.param == "folder":
        yield FolderSpool(tmp_path / "spool")
        return
    with contextlib.closing(request.getfixturevalue("bucket").spool()) as opened:
        yield opened
