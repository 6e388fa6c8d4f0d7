"""Parses JSON strictly (RFC 8259): finite numbers, each key once, bounded depth, plain text."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

MOST_NESTED = 32
_MOST_DIGITS = 18
_MOST_VALUES = 200_000
_LONGEST_KEY = 200
_LONGEST_TEXT = 20_000
_SHOWN_BITS = 64

# Control characters but tab and line ends, and halves of surrogate pairs.
_UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def parse_json(data: bytes, *, longest_text: int = _LONGEST_TEXT) -> Any:
    """Parse UTF-8 JSON. Raises ValueError, in one line, for anything that is not strict JSON.

    Refused are NaN, Infinity and numbers beyond float64, integers of more than 18 digits, a key
    that occurs twice, a key or text with control characters or lone surrogates, texts of more
    than `longest_text` characters, more than 200,000 values, and nesting of more than 32 levels.
    """
    try:
        content = json.loads(
            data.decode("utf-8-sig"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError(_too_deep()) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    for value in _walk(content):
        if isinstance(value, str):
            _check_text(value, longest_text)
    return content


def shown(value: object, length: int = 40) -> str:
    """Return a value of a file for a message: printable ASCII, at most `length` characters.

    A value that is neither text nor a number is named by its type.
    """
    if isinstance(value, str | bytes):
        text = ascii(value[: length + 1])
    elif value is None or isinstance(value, bool | float):
        text = str(value)
    elif isinstance(value, int):
        text = str(value) if value.bit_length() <= _SHOWN_BITS else "a number of many digits"
    else:
        text = type(value).__name__
    return text if len(text) <= length else f"{text[: length - 1]}…"


def shown_name(name: str, length: int = 80) -> str:
    """Return a name of a file for a message: itself if it is short and printable, else `shown`."""
    return name if name.isprintable() and len(name) <= length else shown(name, length)


def _walk(content: Any) -> Iterator[Any]:
    """Yield each value, within the bounds of number and depth."""
    waiting = [(content, 1)]
    count = 1
    while waiting:
        value, depth = waiting.pop()
        if depth > MOST_NESTED:
            raise ValueError(_too_deep())
        yield value
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list):
            count += len(value)
            if count > _MOST_VALUES:
                raise ValueError(f"it has more than {_MOST_VALUES} values")
            waiting.extend((one, depth + 1) for one in inner)


def _check_text(text: str, longest: int) -> None:
    if len(text) > longest:
        raise ValueError(f"a text has {len(text)} characters, more than {longest}")
    found = _UNUSABLE.search(text)
    if found is not None:
        raise ValueError(f"the text {shown(text)} has the character {shown(found.group())}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    for key in content:
        if len(key) > _LONGEST_KEY or not key.isprintable():
            raise ValueError(f"the key {shown(key)} is too long or not printable")
    if len(content) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shown(text)} is too large")
    return number


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits, more than {_MOST_DIGITS}")
    return int(text)


def _too_deep() -> str:
    return f"it is nested more than {MOST_NESTED} levels deep"
