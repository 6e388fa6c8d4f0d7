"""The audit trail as a stream of bytes: what `cxrd audit export` writes, for a caller elsewhere."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice, takewhile

from daemon.audit.messages import Reporter
from daemon.config.settings import Config
from dicom_io.audit_message import to_xml
from storage.audit.chain import hash_matches
from storage.audit.records import AuditOutcome, AuditRow
from storage.audit.trail import COLUMNS
from storage.errors import StorageError, TrailAlteredError
from storage.files.csv_file import csv_part
from storage.store import Store

ROWS_AT_ONCE = 500
Record = Callable[[AuditOutcome, str], None]
"""Records the outcome of an export with a detail."""


def csv_stream(
    store: Store, since: datetime | None, until: datetime | None, record: Record
) -> Iterator[bytes]:
    """Record that an export begins, and return the rows of a time span as CSV.

    They go up to the last row of the begin. The end, or the breaking off, is recorded by the
    iterator. Raises StorageError.
    """

    def parts(rows: Iterator[AuditRow]) -> Iterator[tuple[int, bytes]]:
        yield 0, csv_part(COLUMNS, [list(COLUMNS)]).data
        while some := [_cells(row) for row in islice(rows, ROWS_AT_ONCE)]:
            yield csv_part(COLUMNS, some)

    return _recorded(store, since, until, record, parts)


def message_stream(
    config: Config,
    store: Store,
    since: datetime | None,
    until: datetime | None,
    record: Record,
) -> Iterator[bytes]:
    """Return the rows of a time span as messages of PS3.15 A.5, one a line; see `csv_stream`.

    Raises TrailAlteredError for an altered row.
    """
    reporter = Reporter.of(config)

    def parts(rows: Iterator[AuditRow]) -> Iterator[tuple[int, bytes]]:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            for row in some:
                if not hash_matches(row):
                    raise TrailAlteredError(
                        row.number,
                        f"row {row.number} was altered: export the trail as CSV to see it",
                    )
            yield len(some), b"".join(to_xml(reporter.message(r)).encode() + b"\n" for r in some)

    return _recorded(store, since, until, record, parts)


def _recorded(
    store: Store,
    since: datetime | None,
    until: datetime | None,
    record: Record,
    parts: Callable[[Iterator[AuditRow]], Iterator[tuple[int, bytes]]],
) -> Iterator[bytes]:
    record(AuditOutcome.SUCCESS, "begun, to a browser or program")
    end = store.audit.head().number
    rows = takewhile(lambda row: row.number <= end, store.audit.rows(since, until))

    def sent() -> Iterator[bytes]:
        written, problem = 0, "broken off by the receiver"
        try:
            for count, data in parts(rows):
                yield data
                written += count
            problem = ""
        except StorageError as error:
            problem = str(error)
            raise
        finally:
            if problem:
                record(AuditOutcome.FAILURE, f"{problem}, after {written} row(s)")
            else:
                record(AuditOutcome.SUCCESS, f"{written} row(s) sent")

    return sent()


def _cells(row: AuditRow) -> list[str]:
    return [str(getattr(row, name)) for name in COLUMNS]
