"""Cells of a SQLite file that another database does not take, each named by table and key."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Float, Integer, LargeBinary
from sqlalchemy.types import TypeEngine

from storage.tables.database import DamagedText, Database, text_of_cell
from storage.transfer.side import Row, Side, kind_of, tables

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


@dataclass(frozen=True, slots=True)
class Damage:
    """One cell, named without its content. `is_text`: it can be mended as the pages show it."""

    table: str
    key: Row
    column: str
    problem: str
    is_text: bool = False

    def __str__(self) -> str:
        key = ", ".join(str(part) for part in self.key)
        return f"{self.table} {key}, column {self.column}: {self.problem}"


def damage_of(database: Database) -> Iterator[Damage]:
    """Yield the damaged cells of a store in a SQLite file. Reads all of it."""
    with Side(database, text_of_cell) as side:
        for table in tables():
            columns = list(table.columns)
            keys = [columns.index(column) for column in table.primary_key]
            kinds = [kind_of(column) for column in columns]
            for row in side.rows(table):
                for column, kind, cell in zip(columns, kinds, row, strict=True):
                    problem = _problem(column, kind, cell)
                    if problem:
                        key = tuple(row[index] for index in keys)
                        is_text = problem in (_NOT_UTF8, _NUL)
                        yield Damage(table.name, key, column.name, problem, is_text)


_NOT_UTF8 = "text that is not UTF-8"
_NUL = "text with a NUL"


def _problem(column: Column[Any], kind: TypeEngine[Any], cell: Any) -> str:
    """Return the reason why a cell is damaged, or ''."""
    if cell is None:
        return "" if column.nullable else "empty"
    if isinstance(kind, LargeBinary):
        return "" if isinstance(cell, bytes) else "not bytes"
    if isinstance(kind, Boolean):
        return "" if cell in (0, 1) else "neither true nor false"
    if isinstance(kind, Integer):
        bits = 64 if isinstance(kind, BigInteger) else 32
        is_whole = isinstance(cell, int) and -(2 ** (bits - 1)) <= cell < 2 ** (bits - 1)
        return "" if is_whole else f"not a whole number of {bits} bits"
    if isinstance(kind, Float):
        return "" if isinstance(cell, int | float) else "not a number"
    if not isinstance(cell, str):
        return "not text"
    if isinstance(cell, DamagedText):
        return _NOT_UTF8
    if "\0" in cell:
        return _NUL
    if isinstance(kind, DateTime):
        return "" if _is_time(cell) else "not a time"
    if isinstance(kind, JSON):
        return "" if _is_json(cell) else "not JSON"
    return ""


def _is_time(cell: str) -> bool:
    try:
        return bool(_TIME.fullmatch(cell) and datetime.fromisoformat(cell))
    except ValueError:
        return False


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell, parse_constant=_refuse)
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python writes and JSON does not have."""
    raise ValueError(constant)
