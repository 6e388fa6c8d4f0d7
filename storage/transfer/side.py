"""One of the two databases of a move, read and written through its driver.

A row has the same values on both sides: text, whole numbers (also for booleans), floats and bytes.
A time is the text that SQLite keeps, in UTC and with microseconds. JSON is its text, unchanged. The
key is the primary key of a table, in the order of its bytes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self

from sqlalchemy import JSON, Boolean, Column, DateTime, String, Table, TypeDecorator
from sqlalchemy.types import TypeEngine

from storage.tables.columns import metadata
from storage.tables.database import Database
from storage.tables.facts import FACTS
from storage.tables.schema import audit_events, node_facts

CHUNK_ROWS = 20_000
"""Rows of one transaction: a copy that was interrupted goes on after the last one."""
_FETCHED_ROWS = 2_000

Row = tuple[Any, ...]


def tables() -> Sequence[Table]:
    """Return all tables, each after those to which its rows refer."""
    return metadata.sorted_tables


def kind_of(column: Column[Any]) -> TypeEngine[Any]:
    """Return the type of a column in the database."""
    kind: TypeEngine[Any] = column.type
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


def mended(cell: bytes) -> str:
    """Return the text of a cell, without NULs and with U+FFFD for bytes that are not UTF-8."""
    return cell.replace(b"\0", b"").decode(errors="replace")


class Side:
    """A connection to one of the databases; a context manager.

    `text` decodes a text cell of SQLite. The default raises for one that is not UTF-8.
    """

    def __init__(self, database: Database, text: Callable[[bytes], Any] = str) -> None:
        self.database = database
        self.is_sqlite = database.engine.dialect.name == "sqlite"
        self._text = text
        self._quote = database.engine.dialect.identifier_preparer.quote
        self._open = contextlib.ExitStack()
        self.driver: Any = None

    def __enter__(self) -> Self:
        with self.database.driver_errors():
            connection = self._open.enter_context(self.database.engine.connect())
            # Of this block alone: it is closed after it, with all its settings.
            connection.detach()
            self.driver = connection.connection.dbapi_connection
            if self.is_sqlite:
                self.driver.text_factory = self._text
            else:
                # Each side waits in its transaction while the other one is read.
                self.driver.execute("SET idle_in_transaction_session_timeout = 0")
                self.driver.commit()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Rolls back what is not committed.
        with self.database.driver_errors():
            self._open.close()

    def hold(self) -> None:
        """Begin a transaction that sees one state, and in which no other process can write."""
        with self.database.driver_errors():
            if self.is_sqlite:
                self.driver.execute("BEGIN IMMEDIATE")
                return
            names = ", ".join(self._quote(table.name) for table in tables())
            self.driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.driver.execute(f"LOCK TABLE {names} IN SHARE MODE")

    def mark_moved(self, place: str) -> None:
        """Note in the transaction that the store was moved to a place, and commit."""
        with self.database.driver_errors():
            self.driver.execute("DELETE FROM node_facts WHERE name = 'moved_to'")
            new = "INSERT INTO node_facts (name, value) VALUES ('moved_to', ?)"
            self.driver.execute(new if self.is_sqlite else new.replace("?", "%s"), (place,))
            self.driver.commit()

    def count(self, table: Table) -> int:
        """Return the number of rows of a table."""
        return int(self._scalars(f"SELECT count(*) FROM {self._from(table)}")[0])  # noqa: S608

    def last_key(self, table: Table) -> Row | None:
        """Return the greatest key of a table, or None for an empty table."""
        order = ", ".join(f"{key} DESC" for key in self._key(table))
        keys = ", ".join(self._quote(column.name) for column in table.primary_key)
        query = f"SELECT {keys} FROM {self._from(table)} ORDER BY {order} LIMIT 1"  # noqa: S608
        found = self._scalars(query)
        return tuple(found) if found else None

    def rows(self, table: Table, after: Row | None = None) -> Generator[Row, None, None]:
        """Yield the rows with a key after `after`, or all rows, in the order of the key."""
        keys = self._key(table)
        cells = ", ".join(self._cell(column) for column in table.columns)
        query = f"SELECT {cells} FROM {self._from(table)}"  # noqa: S608
        if after is not None:
            mark = "?" if self.is_sqlite else "%s"
            query += f" AND ({', '.join(keys)}) > ({', '.join(mark for _ in keys)})"
        query += f" ORDER BY {', '.join(keys)}"
        with self.database.driver_errors():
            if self.is_sqlite:
                yield from self.driver.execute(query, after or ())
                return
            # A cursor of the server: the rows come in parts.
            with self.driver.cursor("rows") as cursor:
                cursor.itersize = _FETCHED_ROWS
                cursor.execute(query, after)
                yield from cursor

    def digest(self, table: Table, progress: Callable[[int], object]) -> tuple[int, str]:
        """Return the number of rows of a table, and the SHA-256 of all of them in their order."""
        digest, number = hashlib.sha256(), 0
        with contextlib.closing(self.rows(table)) as rows:
            while part := list(islice(rows, _FETCHED_ROWS)):
                for row in part:
                    digest.update(repr(row).encode())
                number += len(part)
                progress(len(part))
        return number, digest.hexdigest()

    def write(
        self, table: Table, rows: Iterator[Row], *, any_number: bool = False
    ) -> Iterator[int]:
        """Write rows, and yield the number of each part when it is committed.

        `any_number`: rows of the audit trail need not follow each other.
        """
        names = [self._quote(column.name) for column in table.columns]
        write = self._write_sqlite if self.is_sqlite else self._write_postgresql
        while True:
            with self.database.driver_errors():
                written = write(table, names, islice(rows, CHUNK_ROWS), any_number)
                self.driver.commit()
            if not written:
                return
            yield written

    def _write_sqlite(
        self, table: Table, names: Sequence[str], rows: Iterator[Row], any_number: bool
    ) -> int:
        marks = ", ".join("?" for _ in names)
        statement = f"INSERT INTO {self._quote(table.name)} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
        self.driver.execute("BEGIN IMMEDIATE")
        return int(self.driver.executemany(statement, rows).rowcount)

    def _write_postgresql(
        self, table: Table, names: Sequence[str], rows: Iterator[Row], any_number: bool
    ) -> int:
        is_free = any_number and table is audit_events
        if is_free:
            self.driver.execute("ALTER TABLE audit_events DISABLE TRIGGER audit_events_number")
        written = 0
        statement = f"COPY {self._quote(table.name)} ({', '.join(names)}) FROM STDIN"
        with self.driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
                written += 1
        if is_free:
            self.driver.execute("ALTER TABLE audit_events ENABLE TRIGGER audit_events_number")
        return written

    def finish(self) -> None:
        """Set the numbers of the next rows, and let the planner know the tables."""
        if self.is_sqlite:
            return
        with self.database.driver_errors():
            for table in tables():
                column = table.autoincrement_column
                if column is not None:
                    self._renumber(table.name, column.name)
            self.driver.commit()
            for table in tables():
                self.driver.execute(f"ANALYZE {self._quote(table.name)}")
            self.driver.commit()

    def _renumber(self, table: str, column: str) -> None:
        (sequence,) = self._scalars("SELECT pg_get_serial_sequence(%s, %s)", (table, column))
        if sequence is not None:
            query = f"SELECT setval(%s, coalesce(max({column}), 0) + 1, false) FROM {table}"  # noqa: S608
            self.driver.execute(query, (sequence,))

    def _scalars(self, query: str, parameters: Row = ()) -> Row:
        with self.database.driver_errors():
            return self.driver.execute(query, parameters).fetchone() or ()

    def _from(self, table: Table) -> str:
        """Return a table, with a condition that leaves out the facts of the move itself."""
        own = ", ".join(f"'{name}'" for name in FACTS)
        condition = f"name NOT IN ({own})" if table is node_facts else "true"
        return f"{self._quote(table.name)} WHERE {condition}"

    def _key(self, table: Table) -> Sequence[str]:
        return [
            f'{self._quote(column.name)} COLLATE "C"'
            if not self.is_sqlite and isinstance(kind_of(column), String)
            else self._quote(column.name)
            for column in table.primary_key
        ]

    def _cell(self, column: Column[Any]) -> str:
        """Return the expression that gives the value of a cell as both sides have it."""
        name, kind = self._quote(column.name), kind_of(column)
        if isinstance(kind, DateTime):
            if self.is_sqlite:
                return f"CASE length({name}) WHEN 19 THEN {name} || '.000000' ELSE {name} END"
            return f"to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
        if not self.is_sqlite and isinstance(kind, Boolean):
            return f"{name}::int"
        if not self.is_sqlite and isinstance(kind, JSON):
            return f"{name}::text"
        return name
