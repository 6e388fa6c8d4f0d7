"""A bucket on an S3 server that a test can cut off, and spools in it."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from storage.files.s3.place import S3Place
from storage.files.s3.s3_spool import GRACE_SECONDS, UPLOAD_SECONDS, S3Spool
from tests.servers.proxy import Proxy, proxy_to
from tests.servers.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server


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
        **changes: Any,
    ) -> S3Spool:
        """Return a spool in the bucket, with its marker; `changes` are those of the place."""
        opened = S3Spool(
            replace(self.place, **changes),
            grace_seconds=grace_seconds,
            upload_seconds=upload_seconds,
            clock=clock,
        )
        opened.make()
        return opened


@contextlib.contextmanager
def new_bucket(server: S3Server) -> Iterator[Bucket]:
    """Make an empty bucket and a proxy before it."""
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
