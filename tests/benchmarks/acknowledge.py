"""Acknowledging: the work between a C-STORE and its answer, with and without the audit row."""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

from storage.files.spool import Spool, received_path
from storage.store import Store
from tests.benchmarks.timing import in_turn, seconds, show
from tests.builders.store_rows import new_instance

INSTANCES = 300
SIZE = 100_000


def run() -> None:
    """Print the milliseconds to keep one instance; the two sides alternate at each instance."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool")
        with Store.open(f"sqlite:///{Path(folder) / 'cxrd.sqlite'}", migrate=True) as store:
            numbers = iter(range(10 * INSTANCES))

            def keep(*, audited: bool) -> float:
                uid = f"1.2.{next(numbers)}"
                skipped = nullcontext() if audited else mock.patch("storage.images.receipt.append")
                with skipped:
                    return 1e3 * seconds(lambda: _keep(spool, store, uid))

            values = in_turn(
                INSTANCES,
                without_audit=lambda: keep(audited=False),
                audited=lambda: keep(audited=True),
            )
    print(f"{INSTANCES} instances of {SIZE} bytes: spool and SQLite, milliseconds each")
    show(values, "ms", baseline="without_audit")


def _keep(spool: Spool, store: Store, uid: str) -> None:
    stored = spool.write(received_path("1.2", uid, uid), bytes(SIZE))
    store.record_instance(new_instance(uid, uid, spool_path=stored.path), 30.0)
