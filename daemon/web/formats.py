"""Filters of the templates for text of peers, dates and numbers."""

from jinja2 import Environment

from cxr_model.finding_text import probability_text
from daemon.words.readable import person_name, readable

_DATE_DIGITS = 8


def add_filters(templates: Environment) -> None:
    """Add the filters: `readable`, `name`, `day`, `number` and `probability`."""
    templates.filters.update(
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
