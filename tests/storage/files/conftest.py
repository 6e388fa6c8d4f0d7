"""Fixtures: a spool of each kind, and a bucket on an S3 server that a test can cut off."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from storage.files.folder_spool import FolderSpool
from storage.files.s3.place import S3Place
from storage.files.s3.s3_spool import GRACE_SECONDS, UPLOAD_SECONDS, S3Spool
from storage.files.spool import Spool
from tests.servers.proxy import Proxy, proxy_to
from tests.servers.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server, s3_server


@dataclass(frozen=True)
class Bucket:
    """An empty bucket, reached through a proxy with short time limits."""

    server: S3Server
    proxy: Proxy
    place: S3Place

    def spool(
        self,
        grace_seconds: float = GRACE_SECONDS,
        upload_seconds: float = UPLOAD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> S3Spool:
        """Return a spool in the bucket, with its marker."""
        opened = S3Spool(
            self.place, grace_seconds=grace_seconds, upload_seconds=upload_seconds, clock=clock
        )
        opened.make()
        return opened

    def with_place(self, **changes: Any) -> "Bucket":
        """Return the bucket with another way to it."""
        return replace(self, place=replace(self.place, **changes))


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Bucket]:
    with proxy_to((server.host, server.port)) as proxy:
        place = S3Place(
            bucket=server.make_bucket(f"cxrd-{uuid.uuid4().hex[:12]}"),
            prefix="node/one",
            endpoint=f"http://{proxy.host}:{proxy.port}",
            region=REGION,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            path_style=True,
            timeout_seconds=5,
            retry_seconds=0.5,
        )
        yield Bucket(server, proxy, place)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.network)])
def any_spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    if request.param == "folder":
        yield FolderSpool(tmp_path / "spool")
        return
    with contextlib.closing(request.getfixturevalue("bucket").spool()) as opened:
        yield opened
