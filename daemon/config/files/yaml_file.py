"""Reads the YAML of config.yaml, and words its mistakes in one line."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from daemon.errors import ConfigError

_URL_PASSWORD = re.compile(r"://[^/@]*:[^@]+@|password=")
_SECRET_KEYS = ("token", "key_password", "password_hash", "secret_key")


class _RepeatedKeyError(Exception):
    """A mapping repeats a key."""


class _Loader(yaml.SafeLoader):
    """Refuses a repeated key, as YAML demands; PyYAML itself keeps the last."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Check the keys as written: a key may override one that `<<` merges in."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    raise _RepeatedKeyError(
                        f"line {line}: {key.value!r} is set in line {lines[name]} already;"
                        " leave one of the two"
                    )
                lines[name] = line
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file. Raises ConfigError, whose text quotes no value."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # noqa: S506 - a SafeLoader
    except PermissionError:
        raise ConfigError(
            f"{path}: cannot be read by this user: run cxrd as its owner, or let this user read it"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name it with --config"
        ) from None
    except _RepeatedKeyError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise ConfigError(f"{path}: is not text in UTF-8: save it in this encoding") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_syntax(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must hold keys and values, such as `listener:`")
    return values


def _syntax(error: yaml.YAMLError) -> str:
    """Word a mistake of YAML, which may be in the line before the one that the parser names."""
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    if "'\\t'" in (getattr(error, "problem", None) or ""):
        return f"line {line} is not valid YAML: indent it with spaces, not with a tab"
    return (
        f"line {line} is not valid YAML: check its indentation and the line before, and that each"
        " key has a colon and a space after it"
    )


def holds_secret(values: Mapping[str, Any]) -> bool:
    """Return True if the file itself contains a token, a password or the hash of a password."""
    sections = [section for section in values.values() if isinstance(section, dict)]
    of_sections = [value for section in sections for value in section.values()]
    items = [value for value in (*values.values(), *of_sections) if isinstance(value, list)]
    listed = [item for one in items for item in one if isinstance(item, dict)]
    sections += listed
    sections += [value for item in listed for value in item.values() if isinstance(value, dict)]
    return bool(_URL_PASSWORD.search(str(values.get("database_url", "")))) or any(
        section.get(key) for section in sections for key in _SECRET_KEYS
    )


_KEYS = "must hold keys: each on its own line, indented, with a colon and a space after it"
_PLAIN = {
    "bool": "must be true or false",
    "date": "must be a date, such as 2026-03-01",
    "dict": _KEYS,
    "float": "must be a number, without a unit",
    "int": "must be a whole number",
    "list": "must be a list: each item begins with `- `",
    "missing": "is missing",
    "model": _KEYS,
    "string": "must be text: put the value in quotes",
    "tuple": "must be a list: each item begins with `- `",
}
"""Words for the first part of an error type of pydantic."""
_IN_PLAIN = ("Input should be", "must be")
"""The beginning of other texts of pydantic, and its words here."""


def explain(
    errors: list[ErrorDetails], keys_at: Callable[[tuple[int | str, ...]], list[str]]
) -> str:
    """Word the first mistake, never with its value; `keys_at` lists the keys of a section."""
    error = first_mistake(errors)
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place}{nearest(place, keys_at(error['loc']))}"
    message = error["msg"].removeprefix("Value error, ").replace(*_IN_PLAIN)
    if error["type"] != "value_error":
        message = _PLAIN.get(error["type"].partition("_")[0], message)
    return f"{place}: {message}" if place else message


def first_mistake(errors: list[ErrorDetails]) -> ErrorDetails:
    """Return the mistake to tell: a misspelt key, which also causes a missing one, or the first."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    return (unknown or errors)[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the most similar key; empty if there is none."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
