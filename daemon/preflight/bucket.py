"""Check of a spool in a bucket: every right that the node needs, tried out on one object."""

import time
import uuid

from daemon.config.settings import Config
from daemon.preflight.result import CheckResult
from storage.files.places import open_spool
from storage.files.spool import LOST_AND_FOUND, RECEIVED

_PROBE = b"cxrd check"


def check_bucket(config: Config) -> CheckResult:
    """Write, read, move, list and delete an object. Raises StorageError for what fails."""
    spool = open_spool(config.spool_place)
    path = f"probe/{uuid.uuid4().hex}"
    is_marked = spool.is_marked()
    began = time.monotonic()
    stored = spool.write(path, _PROBE)
    try:
        milliseconds = (time.monotonic() - began) * 1000
        spool.read(path, stored.sha256)
        spool.set_aside([path])
        next(spool.batches(RECEIVED, 1), None)
    finally:
        spool.delete_together([path, f"{LOST_AND_FOUND}/{path}"])
    detail = (
        f"{spool.place} can be written, read, listed and deleted, a write in {milliseconds:.0f} ms"
    )
    if not is_marked:
        detail += "; `cxrd serve` makes the spool there"
    return CheckResult("spool", True, detail)
