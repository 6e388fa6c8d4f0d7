"""The text of config.yaml, and what is wrong with it in one line."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from daemon.errors import ConfigError

_URL_PASSWORD = re.compile(r"://[^/@]*:[^@]+@|password=")


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a file. Raises ConfigError, whose text quotes nothing of it."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); name it with --config"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}:{where} is not valid YAML; check its indentation") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold keys and values, such as `listener:`")
    return values


def holds_secret(values: Mapping[str, Any]) -> bool:
    """Whether the file itself names a token or a password, in a URL or alone."""
    sections = [section for section in values.values() if isinstance(section, dict)]
    return bool(_URL_PASSWORD.search(str(values.get("database_url", "")))) or any(
        section.get(key) for section in sections for key in ("token", "key_password")
    )


def explain(
    errors: list[ErrorDetails], keys_at: Callable[[tuple[int | str, ...]], list[str]]
) -> str:
    """The first mistake in words, never with the value; `keys_at` lists what a place may hold."""
    # A misspelt key also leaves its right name missing: the misspelling is what to mend.
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = (unknown or errors)[0]
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place}{nearest(place, keys_at(error['loc']))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the most similar key, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
