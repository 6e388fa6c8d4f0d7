"""The keys of the configuration as loaded, each with its default and its origin, without secrets.

A key is secret by its type (SecretStr), so that a new secret key is hidden without a change here.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from daemon.config.files.environment import ENVIRONMENT_PREFIX
from daemon.config.settings import Config

HIDDEN = "set, not shown"
NOTHING = "not set"
_USER_OF_URL = re.compile(r"(?<=://)([^:/@]*):.*@|(?<=password=)[^&]*")
_ELSEWHERE = frozenset({"peers"})
"""Keys that have a table of their own."""


class Origin(StrEnum):
    """The place that a value comes from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A key with its value and its default as text; `is_secret` values are never shown."""

    key: str
    value: str
    default: str
    is_changed: bool
    is_secret: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class SettingSection:
    """The keys of a section; '' for the keys outside of sections."""

    name: str
    purpose: str
    settings: tuple[SettingRow, ...]


def setting_sections(config: Config) -> tuple[SettingSection, ...]:
    """Return the sections in the order of the configuration file."""
    top: list[SettingRow] = []
    sections = []
    for name, field in Config.model_fields.items():
        value = getattr(config, name)
        if name in _ELSEWHERE:
            continue
        if isinstance(value, BaseModel):
            purpose = " ".join((type(value).__doc__ or "").split("\n\n")[0].split())
            rows = tuple(_rows(config, value, f"{name}."))
            sections.append(SettingSection(name, purpose, rows))
        else:
            top.append(_row(config, name, value, field, name in config.model_fields_set))
    return (SettingSection("", "The node and its store.", tuple(top)), *sections)


def shown(value: Any) -> str:
    """Return a value as text, as config.yaml has it; a secret as HIDDEN."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, BaseModel):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(item)}" for name, item in value.items()) or "none"
    if isinstance(value, tuple | list | frozenset):
        return "; ".join(map(shown, value)) or "none"
    return without_password(str(value))


def without_password(text: str) -> str:
    """Return a text in which the password of a URL is hidden."""
    return _USER_OF_URL.sub(lambda found: f"{found[1]}:…@" if found[1] is not None else "…", text)


def _rows(config: Config, section: BaseModel, prefix: str) -> Iterator[SettingRow]:
    for name, field in type(section).model_fields.items():
        is_set = name in section.model_fields_set
        yield _row(config, f"{prefix}{name}", getattr(section, name), field, is_set)


def _row(config: Config, key: str, value: Any, field: FieldInfo, is_set: bool) -> SettingRow:
    default = field.get_default(call_default_factory=True)
    is_changed = not _is_default(config, value, default)
    if _is_in_environment(key):
        origin = Origin.ENVIRONMENT
    else:
        origin = Origin.FILE if is_set and is_changed else Origin.DEFAULT
    is_secret = isinstance(value, SecretStr)
    if is_secret and key == "database_url":
        # The place of the store is not secret, its password is.
        text = without_password(value.get_secret_value())
    else:
        text = shown(value)
    return SettingRow(key, text, shown(default), is_changed, is_secret, origin)


def _is_default(config: Config, value: Any, default: Any) -> bool:
    """Return True for a default, also if it was made absolute."""
    if isinstance(value, Path) and isinstance(default, Path):
        base = config.file.parent if config.file is not None else Path().resolve()
        return value in (default, base / default)
    return bool(value == default)


def _is_in_environment(key: str) -> bool:
    """Return True if a variable sets the key, alone or with its section."""
    section, _, name = key.partition(".")
    for variable, value in os.environ.items():
        upper = variable.upper()
        if upper == ENVIRONMENT_PREFIX + key.replace(".", "__").upper():
            return True
        if name and upper == ENVIRONMENT_PREFIX + section.upper():
            try:
                found = json.loads(value)
            except ValueError:
                continue
            if isinstance(found, dict) and name in found:
                return True
    return False
