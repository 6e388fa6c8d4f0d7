"""Values as text for pages and the terminal, and views as values that JSON knows."""

import dataclasses
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_model.finding_text import probability_text
from daemon.words.readable import person_name, readable

if TYPE_CHECKING:
    from jinja2 import Environment

_DATE_DIGITS = 8


def add_filters(templates: "Environment") -> None:
    """Add the filters of all templates."""
    templates.filters.update(
        moment=moment,
        span=span,
        seconds=lambda value: span(timedelta(seconds=value)),
        size=size,
        readable=readable,
        name=lambda value: str(person_name(value)),
        day=day,
        number=number,
        probability=probability_text,
    )


def day(value: str) -> str:
    """Format a DA value as 2026-03-01; another text is made readable."""
    digits = value.strip()
    if len(digits) == _DATE_DIGITS and digits.isascii() and digits.isdecimal():
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return readable(digits, 16)


def number(value: int) -> str:
    """Format a number with spaces between groups of three digits."""
    return f"{value:,}".replace(",", "\u202f")


def plain(value: object) -> Any:
    """Return a view as values that JSON knows. Raises TypeError for another class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set):
        return [plain(item) for item in value]
    raise TypeError(f"a value of {type(value).__name__} has no form in JSON")


def moment(value: datetime) -> str:
    """Format a time in UTC, without its zone."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def span(value: timedelta) -> str:
    """Format a duration in the largest unit of which it has at least two."""
    seconds = value.total_seconds()
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: int) -> str:
    """Format a number of bytes in decimal units, as on a disk's label."""
    for length, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
