"""The audit trail as a file: CSV, or a DICOM audit message on each line.

The file appears complete or not at all, and that it was written is the next row of the trail.
"""

from datetime import datetime
from pathlib import Path

from daemon.audit_messages import Reporter
from daemon.audit_person import current_user
from daemon.config import Config
from dicom_io.audit_message import to_xml
from storage.audit_chain import is_itself
from storage.audit_records import AuditKind
from storage.durable import durable_file
from storage.errors import TrailAlteredError
from storage.store import Store


def export_csv(store: Store, path: Path, since: datetime | None, until: datetime | None) -> int:
    """Write these rows as they are and return their number. Raises StorageError."""
    written = store.audit.write_csv(path, since, until)
    _record(store, written, path)
    return written


def export_messages(
    config: Config, store: Store, path: Path, since: datetime | None, until: datetime | None
) -> int:
    """Write these rows as messages of PS3.15 A.5 and return their number.

    Raises TrailAlteredError for a row that is not what it was, or another StorageError.
    """
    reporter = Reporter.of(config)
    written = 0
    with durable_file(path, path.parent) as file:
        for row in store.audit.rows(since, until):
            if not is_itself(row):
                raise TrailAlteredError(
                    row.number, f"row {row.number} was altered: export the trail as CSV to see it"
                )
            file.write(to_xml(reporter.message(row)).encode() + b"\n")
            written += 1
    _record(store, written, path)
    return written


def _record(store: Store, written: int, path: Path) -> None:
    store.audit.record(
        AuditKind.AUDIT_EXPORTED,
        actor=current_user(),
        detail=f"{written} row(s) to {path.resolve()}",
    )
