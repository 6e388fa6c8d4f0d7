"""Exports the audit trail as CSV or as lines of DICOM audit messages, and records exports.

The trail records the begin of an export before the file is written. A file appears complete or
not at all.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from daemon.audit.messages import Reporter
from daemon.audit.users import current_user
from daemon.config.settings import Config
from dicom_io.audit_message import to_xml
from storage.audit.chain import hash_matches
from storage.audit.records import AuditKind, AuditOutcome
from storage.errors import StorageError, TrailAlteredError
from storage.files.durable import durable_file
from storage.store import Store


def recorded(store: Store, kind: AuditKind, path: Path, write: Callable[[], int]) -> int:
    """Call `write`, which writes rows to `path`, and return its number of rows.

    Records the begin and the end. Raises StorageError; if the begin cannot be recorded, `write`
    is not called.
    """
    record, place = partial(store.audit.record, kind, actor=current_user()), path.resolve()
    record(detail=f"begun, to {place}")
    try:
        written = write()
    except StorageError as error:
        record(outcome=AuditOutcome.FAILURE, detail=f"not made, to {place}: {error}")
        raise
    record(detail=f"{written} row(s) to {place}")
    return written


def export_csv(
    store: Store,
    path: Path,
    since: datetime | None,
    until: datetime | None,
    progress: Callable[[int], object] = int,
    processes: int = 1,
) -> int:
    """Write the rows of a time span as CSV and return their number. Raises StorageError.

    For `processes` see `storage.tables.processes`.
    """
    write = partial(store.audit.write_csv, path, since, until, progress, processes)
    return recorded(store, AuditKind.AUDIT_EXPORTED, path, write)


def export_messages(
    config: Config,
    store: Store,
    path: Path,
    since: datetime | None,
    until: datetime | None,
    progress: Callable[[int], object] = int,
) -> int:
    """Write the rows of a time span as messages of PS3.15 A.5 and return their number.

    Raises TrailAlteredError for an altered row, or another StorageError.
    """
    write = partial(_write_messages, Reporter.of(config), store, path, since, until, progress)
    return recorded(store, AuditKind.AUDIT_EXPORTED, path, write)


def _write_messages(
    reporter: Reporter,
    store: Store,
    path: Path,
    since: datetime | None,
    until: datetime | None,
    progress: Callable[[int], object],
) -> int:
    written = 0
    with durable_file(path, path.parent) as file:
        for row in store.audit.rows(since, until):
            if not hash_matches(row):
                raise TrailAlteredError(
                    row.number, f"row {row.number} was altered: export the trail as CSV to see it"
                )
            file.write(to_xml(reporter.message(row)).encode() + b"\n")
            written += 1
            progress(1)
    return written
