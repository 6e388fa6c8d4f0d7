"""Is a backup what was backed up: every file by its hash, and the store in it by its rows."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from storage.backup import FACTS, SPOOL, SQLITE_COPY, read_sums
from storage.durable import os_errors_named
from storage.errors import IntegrityError

_NAMED = "SELECT spool_path, sha256 FROM {} WHERE purged_at IS NULL"


def check_backup(folder: Path) -> tuple[int, tuple[str, ...]]:
    """How many files of a backup are as they were, and what is wrong with the others.

    Raises IntegrityError where the folder is no whole backup, SpoolError where it cannot be read.
    """
    sums = read_sums(folder)
    with os_errors_named(folder):
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise IntegrityError(f"{folder} is not a whole backup: use another one") from error
        wrong = [f"left out when it was made: {owner}" for owner in facts["damaged"]]
        good = 0
        for name, sha256 in sums.items():
            fault = _fault(folder / name, sha256)
            good += fault is None
            wrong += [f"{fault}: {name}"] if fault else []
        if facts["store"] == SQLITE_COPY:
            wrong += _of_the_store(folder / SQLITE_COPY, sums, len(facts["damaged"]))
    return good, tuple(wrong)


def _fault(path: Path, sha256: str) -> str | None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    return None if found == sha256 else "altered"


def _of_the_store(path: Path, sums: dict[str, str], left_out: int) -> Iterator[str]:
    """What is wrong inside the copy of a SQLite store, which is only read."""
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                yield f"the store in it is damaged: {verdict}"
            unnamed = sum(
                sums.get(f"{SPOOL}/{spool_path}") != sha256
                for table in ("instances", "objects")
                for spool_path, sha256 in database.execute(_NAMED.format(table))
            )
            if unnamed != left_out:
                yield f"{unnamed} row(s) of the store in it name a file that is not in it"
    except sqlite3.DatabaseError as error:
        yield f"the store in it is damaged: {error}"
