"""Rows into tables as fast as the database takes them: one statement or COPY for thousands."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Connection, Table, text
from sqlalchemy.dialects import sqlite

from storage.tables.columns import UtcDateTime

Rows = Sequence[dict[str, Any]]


def insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    """Add rows; a column that a row does not name is null."""
    if not rows:
        return
    columns = list(table.c)
    cells = [_cell_of(column, connection.dialect.name) for column in columns]
    values = (
        [cell(row.get(column.name)) for column, cell in zip(columns, cells, strict=True)]
        for row in rows
    )
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        statement = table.insert().compile(dialect=sqlite.dialect(paramstyle="qmark"))
        driver.executemany(str(statement), values)
        return
    names = ", ".join(column.name for column in columns)
    with driver.cursor().copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)


def settle_numbers(connection: Connection, tables: Sequence[Table]) -> None:
    """Let a server number its next rows after these, and look at the tables for its plans."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        if "id" in table.c:
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'),"  # noqa: S608
                    f" (SELECT coalesce(max(id), 1) FROM {table.name}))"
                )
            )


def _cell_of(column: Column[Any], dialect: str) -> Callable[[Any], Any]:
    """Return the function that makes a cell of a value, as the driver would get it."""
    if isinstance(column.type, JSON):
        return lambda value: None if value is None else json.dumps(value)
    if dialect == "sqlite" and isinstance(column.type, UtcDateTime):
        return _moment
    if dialect == "sqlite" and isinstance(column.type, Boolean):
        return lambda value: None if value is None else int(value)
    return lambda value: value


def _moment(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
