"""The audit table: one row per revision of a received instance, also as a CSV file."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select

from storage.export.columns import columns, plain_columns
from storage.export.page import load_page, row_of
from storage.export.places import (
    AT_FIRST,
    BEFORE_ALL,
    BEHIND_FIRST,
    NEWEST_FIRST,
    OLDEST_FIRST,
    PLACES,
    Ends,
    place_of,
)
from storage.export.queries import INSTANCES
from storage.files.csv_file import CsvPart, counted, csv_part, write_parts
from storage.records import InstanceState
from storage.tables.database import Database
from storage.tables.processes import results_in_order
from storage.tables.schema import instances

PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Limits of an export: received from `since` to before `until`, one study, one state."""

    since: datetime | None = None
    until: datetime | None = None
    study_instance_uid: str | None = None
    state: InstanceState | None = None


_NO_FILTER = ExportFilter()


class Export:
    """The instances as table rows."""

    def __init__(self, database: Database, page_rows: int = PAGE_ROWS) -> None:
        self._database = database
        self._page_rows = page_rows

    def write_csv(
        self,
        path: Path,
        labels: Sequence[str],
        selection: ExportFilter = _NO_FILTER,
        progress: Callable[[int], object] = int,
        processes: int = 1,
    ) -> int:
        """Write the audit table of these instances, which are those of the begin.

        Returns the number of rows. `progress` is called with the number of each page's rows when
        they are ready. For `processes` see `storage.tables.processes`. Raises OutOfSpaceError,
        SpoolError or another StorageError; then no file is written.
        """
        names = columns(labels)
        work = partial(_csv_part, selection, labels, names, plain_columns(labels))
        pages = self._pages(selection)
        with results_in_order(self._database, work, pages, processes) as parts:
            return write_parts(path, names, counted(parts, progress))

    def count(self, selection: ExportFilter = _NO_FILTER) -> int:
        """Return the number of rows of an export now."""
        query = _selected(select(func.count()).select_from(instances), selection)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def rows(
        self, labels: Sequence[str] = (), selection: ExportFilter = _NO_FILTER
    ) -> Iterator[dict[str, str]]:
        """Yield one row per revision of each instance, oldest first, with the keys of `columns`.

        Rows are read in pages, so that a slow caller keeps no transaction open.
        """
        names = columns(labels)
        for ends in self._pages(selection):
            for cells in _cells(self._database, selection, labels, ends):
                yield dict(zip(names, cells, strict=True))

    def _pages(self, selection: ExportFilter) -> Iterator[Ends]:
        """Yield the ends of pages of rows, up to the newest row of the begin."""
        places = _selected(PLACES, selection)
        with self._database.reading() as connection:
            newest = place_of(connection, places.order_by(*NEWEST_FIRST).limit(1), {})
        # A page that reaches a later time may have the rows of two pages.
        page_end = places.order_by(*OLDEST_FIRST).offset(self._page_rows - 1).limit(1)
        after = BEFORE_ALL
        while newest is not None and after != newest:
            limits = {"first_time": after.received_at, "first_id": after.id}
            with self._database.reading() as connection:
                end = place_of(connection, page_end.where(AT_FIRST), limits) or place_of(
                    connection, page_end.where(BEHIND_FIRST), limits
                )
            end = newest if end is None else min(end, newest)
            yield after, end
            after = end


def _selected(query: Select[Any], selection: ExportFilter) -> Select[Any]:
    if selection.since is not None:
        query = query.where(instances.c.received_at >= selection.since)
    if selection.until is not None:
        query = query.where(instances.c.received_at < selection.until)
    if selection.study_instance_uid is not None:
        query = query.where(instances.c.study_instance_uid == selection.study_instance_uid)
    if selection.state is not None:
        query = query.where(instances.c.state == selection.state)
    return query


def _csv_part(
    selection: ExportFilter,
    labels: Sequence[str],
    names: Sequence[str],
    plain: Collection[str],
    database: Database,
    ends: Ends,
) -> CsvPart:
    return csv_part(names, _cells(database, selection, labels, ends), plain)


def _cells(
    database: Database, selection: ExportFilter, labels: Sequence[str], ends: Ends
) -> Iterator[list[str]]:
    """Yield the cells of each row of a page in the order of `columns`."""
    with database.reading() as connection:
        page = load_page(connection, _selected(INSTANCES, selection), ends)
    for instance in page.instances:
        yield row_of(page, instance, labels)
