"""Values of a query, checked. Each function raises BadRequestError, which names the value."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from daemon.web.problems import BadRequestError

_Choice = TypeVar("_Choice", bound=StrEnum)
LONGEST_TEXT = 200


def choice(request: Request, name: str, choices: type[_Choice]) -> _Choice | None:
    """Return one of the choices; None if the value is missing or empty."""
    value = request.query_params.get(name, "")
    if not value:
        return None
    try:
        return choices(value)
    except ValueError:
        raise BadRequestError(f"{name}: use one of {', '.join(choices)}") from None


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`, or the default."""
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not value.isascii() or not value.isdecimal() or not least <= int(value[:18]) <= most:
        raise BadRequestError(f"{name}: use a whole number from {least} to {most}")
    return int(value[:18])


def words(request: Request, name: str) -> str:
    """Return a text without white space around it; '' if it is missing."""
    value = request.query_params.get(name, "").strip()
    if len(value) > LONGEST_TEXT:
        raise BadRequestError(f"{name}: use at most {LONGEST_TEXT} characters")
    return value


def moment(request: Request, name: str, *, is_end: bool = False) -> datetime | None:
    """Return a time in UTC, written as 2026-03-01 or 2026-03-01T12:30; None if it is missing.

    A date alone is its begin; with `is_end` it is the begin of the next day.
    """
    value = request.query_params.get(name, "").strip()
    if not value:
        return None
    try:
        if len(value) == len("2026-03-01"):
            day = date.fromisoformat(value) + timedelta(days=is_end)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        found = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise BadRequestError(f"{name}: write it as 2026-03-01 or 2026-03-01T12:30") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def query_of(values: Mapping[str, object]) -> str:
    """Return the query of a link, without empty values."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "")})
