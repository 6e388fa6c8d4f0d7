"""Retention: a purge deletes the files of old, delivered studies. The rows stay as a record.

A study is purged in two steps. First one transaction checks again that the study may be purged and
marks its rows. Then its files are deleted, and the rows stop naming them. After a crash in between,
the marked rows still name the files, and the next purge deletes them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    literal,
    select,
    update,
)

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import SpoolError
from storage.files.spool import Spool
from storage.hosts.leases import Lease, LeaseName, Leases
from storage.queue.transitions import lock_study
from storage.records import StudyKey
from storage.tables.database import Database
from storage.tables.schema import heat_maps, instances, objects
from storage.upkeep.old_studies import (
    INACTIVE,
    OldStudy,
    hold_of,
    load_old_studies,
    select_old_studies,
    work_is_open,
)

WAIT_SECONDS = 5.0
"""A purge of another process holds its lease for less than this; a backup holds it longer."""

_BATCH_PATHS = 1000
"""Paths in one statement: databases limit the number of parameters."""


@dataclass(frozen=True, slots=True)
class Purged:
    """Files deleted of a study. `number` is the number of its first image, `size` is in bytes."""

    number: int
    images: int
    objects: int
    size: int


class Retention:
    """Lists and purges old studies. Several processes may do so at the same time."""

    def __init__(self, database: Database, clock: Callable[[], datetime], leases: Leases) -> None:
        self._database = database
        self._now = clock
        self._leases = leases

    def old_studies(self, before: datetime, committers: Collection[str]) -> tuple[OldStudy, ...]:
        """Return the studies older than `before`, also those that must stay, oldest first.

        `committers` names the destinations that commit to the objects they receive.
        """
        with self._database.reading() as connection:
            return load_old_studies(connection, before, committers)

    def purge(
        self,
        spool: Spool,
        before: datetime,
        committers: Collection[str],
        actor: str = "",
        wait_seconds: float = WAIT_SECONDS,
    ) -> Iterator[Purged]:
        """Purge old studies one by one, after the files left by an interrupted purge.

        The caller may stop between two studies. `actor` is the worker or the user, for the audit
        trail. Raises StoreUnavailableError if a backup still runs after `wait_seconds`, and
        SpoolError at the end if a file could not be deleted: its study is left to the next purge.
        """
        with self._database.reading() as connection:
            unfinished = [
                StudyKey(row.source, row.study_instance_uid)
                for row in connection.execute(_marked_studies())
            ]
            old = connection.execute(select_old_studies(before, committers)).all()
        errors = []
        work: list[StudyKey | Row[Any]] = [*unfinished, *old]
        for row in work:
            with self._leases.hold(LeaseName.FILES, wait_seconds) as lease:
                if isinstance(row, StudyKey):
                    study = row
                elif self._mark(row, before, committers, actor, lease):
                    study = StudyKey(row.source, row.study_instance_uid)
                else:
                    continue
                try:
                    purged = self._remove(study, spool)
                except SpoolError as error:
                    errors.append(error)
                    continue
            if purged is not None:
                yield purged
        if errors:
            raise SpoolError(f"files of {len(errors)} study(ies) are not removed: {errors[0]}")

    def _mark(
        self,
        found: Row[Any],
        before: datetime,
        committers: Collection[str],
        actor: str,
        lease: Lease,
    ) -> bool:
        """Mark the rows of a study as purged and delete its heat maps; False if it must stay.

        A backup that took over the lease sees the marks: it copies none of these files.
        """
        if hold_of(found) is not None:
            return False
        study = StudyKey(found.source, found.study_instance_uid)
        now = self._now()
        with self._database.writing() as connection:
            lease.confirm(connection)
            lock_study(connection, study)
            row = connection.execute(select_old_studies(before, committers, study)).one_or_none()
            if row is None or hold_of(row) is not None:
                return False
            for table in (instances, objects):
                connection.execute(
                    update(table)
                    .where(_is_of(table, study), table.c.purged_at.is_(None))
                    .values(purged_at=now)
                )
            films = select(instances.c.id).where(_is_of(instances, study))
            connection.execute(delete(heat_maps).where(heat_maps.c.instance_id.in_(films)))
            append(connection, _audit_entry(row, actor), now)
        return True

    def _remove(self, study: StudyKey, spool: Spool) -> Purged | None:
        """Delete the files of marked rows.

        Returns None if work on the study is queued or running, which may write an object again;
        the study is left to a later purge. No transaction is open while files are deleted.
        """
        with self._database.reading() as connection:
            place = literal(study.source), literal(study.study_instance_uid)
            if connection.scalar(select(work_is_open(*place, INACTIVE))):
                return None
            received, made = (
                connection.scalars(
                    select(table.c.spool_path).where(
                        _is_of(table, study), _names_purged_file(table)
                    )
                ).all()
                for table in (instances, objects)
            )
        # An image received again has a new path. An object made again has the same path.
        spool.delete_together(received)
        removed = [*received, *(path for path in made if self._unlink_unused(spool, path))]
        return self._forget(study, removed)

    def _unlink_unused(self, spool: Spool, path: str) -> bool:
        """Delete an object's file; return False if the object was or is being made again."""
        if not spool.exists(path):
            return True
        with spool.exclusive(path) as is_held:
            if not is_held:
                return False
            with self._database.reading() as connection:
                is_kept = select(objects.c.id).where(
                    objects.c.spool_path == path, objects.c.purged_at.is_(None)
                )
                if connection.scalar(select(is_kept.exists())):
                    return False
            spool.retire([path])
        return True

    def _forget(self, study: StudyKey, removed: Sequence[str]) -> Purged | None:
        """Clear the paths of the deleted files in the marked rows; return the totals."""
        sizes: dict[Table, list[int]] = {instances: [], objects: []}
        with self._database.writing() as connection:
            lock_study(connection, study)
            for start in range(0, len(removed), _BATCH_PATHS):
                for table, found in sizes.items():
                    found += connection.scalars(
                        update(table)
                        .where(
                            _is_of(table, study),
                            _names_purged_file(table),
                            table.c.spool_path.in_(removed[start : start + _BATCH_PATHS]),
                        )
                        .values(spool_path="")
                        .returning(table.c.size)
                    )
            number = connection.scalar(
                select(func.min(instances.c.id)).where(_is_of(instances, study))
            )
        images, made = sizes.values()
        if not images and not made:
            return None
        return Purged(number or 0, len(images), len(made), sum(images) + sum(made))


def _audit_entry(row: Row[Any], actor: str) -> AuditEntry:
    return AuditEntry(
        AuditKind.PURGED,
        actor=actor,
        subject=subject_of(study=row.study_instance_uid, source=row.source),
        detail=f"{row.images} image(s) and what was made of them",
    )


def _marked_studies() -> Select[tuple[str, str]]:
    """Return a query for the studies with marked rows that still name a file."""
    of_images, of_objects = (
        select(table.c.source, table.c.study_instance_uid).where(_names_purged_file(table))
        for table in (instances, objects)
    )
    found = of_images.union(of_objects).subquery()
    return select(found.c.source, found.c.study_instance_uid)


def _is_of(table: Table, study: StudyKey) -> ColumnElement[bool]:
    return and_(
        table.c.source == study.source, table.c.study_instance_uid == study.study_instance_uid
    )


def _names_purged_file(table: Table) -> ColumnElement[bool]:
    return and_(table.c.purged_at.is_not(None), table.c.spool_path != "")
