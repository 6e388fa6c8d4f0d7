"""What has been delivered and is old enough: its files go, its rows stay as a record.

A study goes as a whole, in two steps. First its rows are marked in one transaction, which looks
once more whether it may go; then its files are removed, and only then do the rows stop naming
them. Killed in between, the rows still say which files are to go, and the next purge removes them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, Table, func, literal, select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import SpoolError
from storage.files.durable import os_errors_named, sync_folder
from storage.files.spool import Spool
from storage.queue.transitions import lock_study
from storage.tables.database import Database
from storage.tables.schema import instances, objects
from storage.upkeep.retention_rows import (
    AT_REST,
    marked_studies,
    old_studies,
    to_remove,
    work_is_open,
)

_BATCH = 1000
"""Paths in one statement: databases take only so many."""


class Hold(StrEnum):
    """Why a study stays although it is old enough."""

    WORK_OPEN = "work is queued, running or parked"
    NOT_DELIVERED = "results were not delivered"
    NOT_COMMITTED = "results were not committed to"


@dataclass(frozen=True, slots=True)
class OldStudy:
    """A study of which nothing was received, delivered or committed to since the day asked for.

    `number` is that of its first image that is kept; `size` counts the bytes of images and
    objects; `hold` is None where it may go.
    """

    number: int
    images: int
    objects: int
    size: int
    hold: Hold | None


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed of a study, which goes by the number of its first image; `size` in bytes."""

    number: int
    images: int
    objects: int
    size: int


class Retention:
    """Finds what may go and lets it go. Several processes may do so at once."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def old_studies(self, before: datetime, committers: Collection[str]) -> tuple[OldStudy, ...]:
        """Every study that is older than `before`, whether it may go or not, oldest first.

        `committers` names the destinations that commit to what they are sent.
        """
        with self._database.reading() as connection:
            rows = connection.execute(old_studies(before, committers)).all()
            return tuple(_old_study(connection, row) for row in rows)

    def purge(
        self, spool: Spool, before: datetime, committers: Collection[str], actor: str = ""
    ) -> Iterator[Purged]:
        """Purge what may go, a study at a time, after what an earlier purge has left to remove.

        The caller may stop between two studies. `actor` is the worker or the person who wants it,
        for the audit trail. Raises SpoolError in the end where a file could not be removed: its
        study is left to the next purge.
        """
        with self._database.reading() as connection:
            left = connection.scalars(marked_studies()).all()
            old = connection.execute(old_studies(before, committers)).all()
        marked = (
            row.study_instance_uid for row in old if self._mark(row, before, committers, actor)
        )
        stuck = []
        for study in chain(left, marked):
            try:
                purged = self._remove(study, spool)
            except SpoolError as error:
                stuck.append(error)
                continue
            if purged is not None:
                yield purged
        if stuck:
            raise SpoolError(f"files of {len(stuck)} study(ies) are not removed: {stuck[0]}")

    def _mark(
        self, found: Row[Any], before: datetime, committers: Collection[str], actor: str
    ) -> bool:
        """Make rows a mere record, unless the study may not go, or no longer."""
        if _hold(found) is not None:
            return False
        study = found.study_instance_uid
        now = self._now()
        with self._database.writing() as connection:
            lock_study(connection, study)
            row = connection.execute(old_studies(before, committers, study)).one_or_none()
            if row is None or _hold(row) is not None:
                return False
            for table in (instances, objects):
                connection.execute(
                    update(table)
                    .where(table.c.study_instance_uid == study, table.c.purged_at.is_(None))
                    .values(purged_at=now)
                )
            append(connection, _purged(row, actor), now)
        return True

    def _remove(self, study: str, spool: Spool) -> Purged | None:
        """Remove the files of marked rows.

        None where work on the study is under way, which may be writing one of its objects anew:
        it is left for later. No transaction waits for the disk.
        """
        with self._database.reading() as connection:
            if connection.scalar(select(work_is_open(literal(study), AT_REST))):
                return None
            received, made = (
                connection.scalars(
                    select(table.c.spool_path).where(
                        table.c.study_instance_uid == study, to_remove(table)
                    )
                ).all()
                for table in (instances, objects)
            )
        # What comes again is received under another path; an object is made again under the same.
        _unlink(spool, received)
        removed = [*received, *(path for path in made if self._unlink_alone(spool, path))]
        return self._forget(study, removed)

    def _unlink_alone(self, spool: Spool, path: str) -> bool:
        """Remove an object, unless it is just being made again, or was."""
        if not spool.path(path).parent.exists():
            return True
        with spool.alone(path) as alone:
            if not alone:
                return False
            with self._database.reading() as connection:
                is_kept = select(objects.c.id).where(
                    objects.c.spool_path == path, objects.c.purged_at.is_(None)
                )
                if connection.scalar(select(is_kept.exists())):
                    return False
            _unlink(spool, [path])
        return True

    def _forget(self, study: str, removed: Sequence[str]) -> Purged | None:
        """Let marked rows no longer name the files that were removed."""
        sizes: dict[Table, list[int]] = {instances: [], objects: []}
        with self._database.writing() as connection:
            lock_study(connection, study)
            for start in range(0, len(removed), _BATCH):
                for table, found in sizes.items():
                    found += connection.scalars(
                        update(table)
                        .where(
                            table.c.study_instance_uid == study,
                            to_remove(table),
                            table.c.spool_path.in_(removed[start : start + _BATCH]),
                        )
                        .values(spool_path="")
                        .returning(table.c.size)
                    )
            number = connection.scalar(
                select(func.min(instances.c.id)).where(instances.c.study_instance_uid == study)
            )
        images, made = sizes.values()
        if not images and not made:
            return None
        return Purged(number or 0, len(images), len(made), sum(images) + sum(made))


def _purged(row: Row[Any], actor: str) -> AuditEntry:
    return AuditEntry(
        AuditKind.PURGED,
        actor=actor,
        subject=subject_of(study=row.study_instance_uid),
        detail=f"{row.images} image(s) and what was made of them",
    )


def _unlink(spool: Spool, paths: Collection[str]) -> None:
    for path in paths:
        spool.delete(path)
    for folder in {spool.path(path).parent for path in paths}:
        if folder.exists():
            with os_errors_named(folder):
                sync_folder(folder)


def _old_study(connection: Connection, row: Row[Any]) -> OldStudy:
    made = connection.execute(
        select(func.count(), func.coalesce(func.sum(objects.c.size), 0)).where(
            objects.c.study_instance_uid == row.study_instance_uid, objects.c.purged_at.is_(None)
        )
    ).one()
    return OldStudy(row.number, row.images, made[0], int(row.size + made[1]), _hold(row))


def _hold(row: Row[Any]) -> Hold | None:
    if row.work_open:
        return Hold.WORK_OPEN
    if row.not_delivered:
        return Hold.NOT_DELIVERED
    return Hold.NOT_COMMITTED if row.not_committed else None
