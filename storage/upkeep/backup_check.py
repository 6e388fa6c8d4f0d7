"""Is a backup what was backed up: every file by its hash, and the store in it by its rows."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DatabaseError

from storage.errors import IntegrityError
from storage.files.durable import os_errors_named
from storage.upkeep.backup import FACTS, SPOOL, SQLITE_COPY, SUMS, named_files, read_sums


def check_backup(folder: Path) -> tuple[int, tuple[str, ...]]:
    """How many files of a backup are as they were, and what is wrong with the others.

    Raises IntegrityError where the folder is no whole backup, SpoolError where it cannot be read.
    """
    with os_errors_named(folder):
        sums = read_sums(folder)
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            store, files, damaged = str(facts["store"]), int(facts["files"]), list(facts["damaged"])
        except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
            raise IntegrityError(f"{folder} is not a whole backup: use another one") from error
        wrong = [f"left out when it was made: {owner}" for owner in damaged]
        listed = len(sums.keys() - {store})
        if listed != files or store not in sums:
            wrong.append(f"{SUMS} lists {listed} file(s), of {files} and the store: it was altered")
        good = 0
        for name, sha256 in sums.items():
            fault = _fault(folder / name, sha256)
            good += fault is None
            wrong += [f"{fault}: {name}"] if fault else []
        if store == SQLITE_COPY:
            wrong += _of_the_store(folder / SQLITE_COPY, sums, len(damaged))
    return good, tuple(wrong)


def _fault(path: Path, sha256: str) -> str | None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    return None if found == sha256 else "altered"


def _of_the_store(path: Path, sums: dict[str, str], left_out: int) -> Iterator[str]:
    """What is wrong inside the copy of a SQLite store, which is only read."""
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if verdict != "ok":
                yield f"the store in it is damaged: {verdict}"
            unnamed = sum(
                sums.get(f"{SPOOL}/{file.path}") != file.sha256 for file in named_files(connection)
            )
            if unnamed != left_out:
                yield f"{unnamed} row(s) of the store in it name a file that is not in it"
    except DatabaseError as error:
        yield f"the store in it is damaged: {error.orig}"
