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
_SECRET_KEYS = ("token", "key_password", "password_hash")


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
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name it with --config"
        ) from None
    except _RepeatedKeyError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}:{where} is not valid YAML; check its indentation") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must hold keys and values, such as `listener:`")
    return values


def holds_secret(values: Mapping[str, Any]) -> bool:
    """Return True if the file itself contains a token, a password or the hash of a password."""
    sections = [section for section in values.values() if isinstance(section, dict)]
    items = [value for section in sections for value in section.values() if isinstance(value, list)]
    sections += [item for listed in items for item in listed if isinstance(item, dict)]
    return bool(_URL_PASSWORD.search(str(values.get("database_url", "")))) or any(
        section.get(key) for section in sections for key in _SECRET_KEYS
    )


def explain(
    errors: list[ErrorDetails], keys_at: Callable[[tuple[int | str, ...]], list[str]]
) -> str:
    """Word the first mistake, never with its value; `keys_at` lists the keys of a section."""
    # A misspelt key also causes "missing key": report the misspelling.
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = (unknown or errors)[0]
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place}{nearest(place, keys_at(error['loc']))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names the most similar key; empty if there is none."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
