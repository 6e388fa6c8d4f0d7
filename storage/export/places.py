"""Order of the audit table's rows, and the parts in which they are read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, select

from storage.tables.database import parameter, raw_rows, raw_time
from storage.tables.schema import instances


class Place(NamedTuple):
    """The place of an instance in the order of the rows."""

    received_at: datetime
    id: int


BEFORE_ALL = Place(datetime(1, 1, 2, tzinfo=UTC), 0)
Ends = tuple[Place, Place]
"""The place before the first row of a page, and that of its last row."""


def place_of(connection: Connection, query: Select[Any], limits: Mapping[str, Any]) -> Place | None:
    """Return the first place that a query of `PLACES` finds."""
    found = raw_rows(connection, query, limits)
    return Place(raw_time(found[0][0]), found[0][1]) if found else None


_AT, _NUMBER = instances.c.received_at, instances.c.id
PLACES: Select[Any] = select(_AT, _NUMBER)
OLDEST_FIRST = _AT, _NUMBER
NEWEST_FIRST = _AT.desc(), _NUMBER.desc()
_FIRST_TIME, _LAST_TIME = parameter(_AT, "first_time"), parameter(_AT, "last_time")
AT_FIRST = and_(_AT == _FIRST_TIME, parameter(_NUMBER, "first_id") < _NUMBER)
BEHIND_FIRST = _FIRST_TIME < _AT
_UP_TO_LAST = parameter(_NUMBER, "last_id") >= _NUMBER
OF_ONE_TIME = (and_(AT_FIRST, _UP_TO_LAST),)
OF_SEVERAL_TIMES = (
    AT_FIRST,
    and_(BEHIND_FIRST, _AT < _LAST_TIME),
    and_(_AT == _LAST_TIME, _UP_TO_LAST),
)
