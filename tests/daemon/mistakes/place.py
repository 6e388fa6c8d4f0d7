"""The folder of a mistake, and the forms of mistakes."""

import json
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_model.files.bundle_files import STARTER
from tests.builders.certificates import Authority
from tests.builders.stores.new import new_store
from tests.servers.watching import fill, small_disk
from tests.tools.ports import HOST, free_port

YAML = "config.yaml"
STORE = "data/cxrd.sqlite"


class Place:
    """The folder of one mistake, and what is open until the test ends."""

    def __init__(self, folder: Path, pki: Callable[[], Authority], open_: ExitStack) -> None:
        self.folder = folder
        self.pki = pki
        self.open = open_

    def configure(self, **sections: Any) -> None:
        """Write a configuration; a listener and a page on free ports unless named."""
        free = {"listener": {"port": free_port()}, "web": {"port": free_port()}}
        (self.folder / YAML).write_text(json.dumps(free | sections))

    def taken(self) -> int:
        """Return a port at which another program listens."""
        return int(self.open.enter_context(socket.create_server((HOST, 0))).getsockname()[1])

    def store(self) -> Path:
        """Make an empty store in the folder `data`, and return its file."""
        path = self.folder / STORE
        new_store(path).close()
        return path

    def bundle(self) -> Path:
        """Return a copy of the starter."""
        copy = self.folder / "bundle"
        shutil.copytree(STARTER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        return copy

    def disk(self, leave_bytes: int) -> Path:
        """Mount a disk of 1 MB with so little space left."""
        disk = self.open.enter_context(small_disk(self.folder / "disk", 1))
        fill(disk, leave_bytes)
        return disk


Make = Callable[[Place], object]


@dataclass(frozen=True)
class Mistake:
    """A mistake: what is made, the command, and what its line has to say."""

    name: str
    make: Make
    command: str
    line: str
    variables: Mapping[str, str] = field(default_factory=dict)
    is_audited: bool = False
    """True if the audit trail gets a row about the failure."""


def written(name: str, text: str | bytes, line: str) -> Mistake:
    """Return a mistake in the text of the configuration."""
    data = text if isinstance(text, bytes) else text.encode()
    return Mistake(name, lambda at: (at.folder / YAML).write_bytes(data), "check", line)


def configured(name: str, line: str, /, command: str = "serve", **sections: Any) -> Mistake:
    """Return a mistake in a value of the configuration."""
    return Mistake(name, lambda at: at.configure(**sections), command, line)
