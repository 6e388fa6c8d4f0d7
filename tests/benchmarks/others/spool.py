"""The spool: films written and read on a folder and on a bucket, and received by C-STORE.

The bucket is that of moto's server on this machine, which is written in Python: its share of the
wall time says little about a service, so the processor time of this process is given, too. Each
round uses both spools in turn.
"""

import functools
import os
import resource
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from daemon.receive.reception import Reception
from dicom_io.receive.store_request import StoreStatus
from storage.files.folder_spool import FolderSpool
from storage.files.spool import Spool, received_path
from tests.builders.images.films import film, received
from tests.builders.stores.bucket import new_bucket
from tests.builders.stores.new import new_store
from tests.servers.s3_server import s3_server

FILM_BYTES = 8 * 2**20
FILMS = 10
ROUNDS = 7
FOLDER, BUCKET = "folder", "bucket"

Figures = dict[str, list[tuple[float, float]]]
"""Wall and processor seconds of each round, by spool."""


def run() -> None:
    """Print medians per film, and the ratio of the bucket to the folder."""
    data = os.urandom(FILM_BYTES)
    with tempfile.TemporaryDirectory() as name, s3_server() as server, new_bucket(server) as bucket:
        folder = Path(name)
        # Without the proxy, whose threads are those of this process.
        direct = bucket.spool(endpoint=server.endpoint, timeout_seconds=60)
        spools: dict[str, Spool] = {FOLDER: FolderSpool(folder / "spool"), BUCKET: direct}
        paths = [received_path("1", str(number), "bench") for number in range(FILMS)]
        acts: dict[str, Callable[[Spool], None]] = {
            "write": functools.partial(_write, paths, data),
            "read": functools.partial(_read, paths, data),
            "receive": functools.partial(_receive, folder),
        }
        for act, do in acts.items():
            _show(act, _rounds(spools, do))
        direct.close()


def _rounds(spools: dict[str, Spool], act: Callable[[Spool], None]) -> Figures:
    found: Figures = {name: [] for name in spools}
    for number in range(ROUNDS + 1):
        for name, spool in spools.items():
            wall, processor = time.perf_counter(), _processor()
            act(spool)
            if number > 0:  # the first opens connections and folders
                found[name].append(
                    ((time.perf_counter() - wall) / FILMS, (_processor() - processor) / FILMS)
                )
    return found


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _write(paths: list[str], data: bytes, spool: Spool) -> None:
    for path in paths:
        spool.write(path, data)


def _read(paths: list[str], data: bytes, spool: Spool) -> None:
    for path in paths:
        assert len(spool.read(path, spool.digest(path))) == len(data)


def _receive(folder: Path, spool: Spool) -> None:
    with new_store(folder / f"{uuid.uuid4().hex}.sqlite") as store:
        reception = Reception(spool, store, 30)
        for number in range(FILMS):
            image = received(film(f"{uuid.uuid4().hex}-{number}"))
            assert reception.receive(image) is StoreStatus.SUCCESS


def _show(act: str, found: Figures) -> None:
    for number, kind in enumerate(("wall", "processor")):
        median = {
            name: statistics.median(figures[number] for figures in rounds)
            for name, rounds in found.items()
        }
        print(
            f"{act}, {kind}, median of {ROUNDS} rounds of {FILMS} films: "
            f"folder {1e3 * median[FOLDER]:.1f} ms, bucket {1e3 * median[BUCKET]:.1f} ms a film, "
            f"ratio {median[BUCKET] / median[FOLDER]:.2f}"
        )
