"""Studies in doubt, for operators: which they are, and their release."""

from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy import select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import StudyHeldError, UnknownRecordError
from storage.images.doubt import films_by_patient, find_hold, replaced_films
from storage.images.lookup import find_study, of_study
from storage.queue.transitions import enqueue, lock_study
from storage.records import HeldStudy, JobKind, StudyKey, StudyStatus
from storage.tables.database import Database
from storage.tables.schema import instances, studies


class Studies:
    """The studies that are held, and their release by an operator."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def held(self) -> tuple[HeldStudy, ...]:
        """Return the studies that are in doubt, held longest first."""
        query = (
            select(studies)
            .where(studies.c.status == StudyStatus.HELD)
            .order_by(studies.c.updated_at, studies.c.source, studies.c.study_instance_uid)
        )
        found = []
        with self._database.reading() as connection:
            for row in connection.execute(query).all():
                key = StudyKey(row.source, row.study_instance_uid)
                hold = find_hold(connection, key)
                if hold is not None:
                    films = films_by_patient(connection, key)
                    found.append(HeldStudy(key, hold, row.updated_at, films))
        return tuple(found)

    def release(
        self,
        study_instance_uid: str,
        drop: Collection[str] = (),
        *,
        source: str | None = None,
        actor: str = "",
    ) -> StudyKey:
        """Set films of a held study aside, and report the study again; return its name.

        `drop` names films by SOP Instance UID. Revisions that a later one has replaced are set
        aside, too: the operator says that the later one is right. Without `source` the study is
        that of the only source that has it. `actor` is the user, for the audit trail.

        Raises UnknownRecordError for a UID that is not in the study, StudyHeldError if the study
        is not held or still in doubt, AmbiguousStudyError. Then nothing is changed.
        """
        now = self._now()
        with self._database.writing() as connection:
            key = find_study(connection, study_instance_uid, source)
            lock_study(connection, key)
            known = set(
                connection.scalars(
                    select(instances.c.sop_instance_uid).where(
                        of_study(instances, key), instances.c.set_aside_at.is_(None)
                    )
                )
            )
            unknown = sorted(set(drop) - known)
            if unknown or not known:
                what = f"no instance {unknown[0]} in" if unknown else "nothing of"
                raise UnknownRecordError(
                    f"there is {what} study {study_instance_uid}: `cxrd studies list` shows the"
                    " studies that are held, with their films"
                )
            if find_hold(connection, key) is None:
                raise StudyHeldError(
                    f"study {study_instance_uid} is not held: `cxrd studies list` shows those that"
                    " are"
                )
            replaced = replaced_films(connection, key)
            connection.execute(
                update(instances)
                .where(
                    of_study(instances, key),
                    instances.c.set_aside_at.is_(None),
                    instances.c.sop_instance_uid.in_(drop) | instances.c.id.in_(replaced),
                )
                .values(set_aside_at=now)
            )
            hold = find_hold(connection, key)
            if hold is not None:
                raise StudyHeldError(f"study {study_instance_uid} stays held: {hold.detail}")
            enqueue(connection, JobKind.REPORT, key.subject, now=now, not_before=now)
            dropped = " ".join(sorted(drop))
            entry = AuditEntry(
                AuditKind.STUDY_RELEASED,
                actor=actor,
                subject=subject_of(study=key.study_instance_uid, source=key.source),
                detail=f"set aside: {dropped or 'no film'}; {len(replaced)} earlier revision(s)",
            )
            append(connection, entry, now)
        return key
