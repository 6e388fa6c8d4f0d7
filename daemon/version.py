"""Versions of this software, of Python and of the libraries that it uses."""

import platform
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata

PACKAGE = "cxrd"
ENGINES = ("onnxruntime", "openvino", "torch")
"""The libraries that can run a network: each changes speed, memory and the last digits."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TOOLS = re.compile(r"extra == .(dev|release|bench)\b")


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a program or library."""

    name: str
    version: str


@cache
def own_version() -> str:
    """Return the version of cxrd."""
    return metadata.version(PACKAGE)


def version_line() -> str:
    """Return the versions that matter in a question to support, as one line."""
    engines = ", ".join(f"{one.name} {one.version}" for one in _installed(ENGINES))
    return f"cxrd {own_version()}, Python {platform.python_version()}, {engines or 'no engine'}"


@cache
def all_versions() -> tuple[Version, ...]:
    """Return the versions of cxrd, Python, SQLite and each library that it needs."""
    names = {
        found.group()
        for requirement in metadata.requires(PACKAGE) or ()
        if not _TOOLS.search(requirement) and (found := _NAME.match(requirement))
    }
    return (
        Version(PACKAGE, own_version()),
        Version("Python", platform.python_version()),
        Version("SQLite", sqlite3.sqlite_version),
        *_installed(sorted(names, key=str.lower)),
    )


def _installed(names: Iterable[str]) -> Iterator[Version]:
    for name in names:
        try:
            yield Version(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
