"""Studies in the hands of operators: those in doubt and their release, and work done again."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlalchemy import select, update

from storage.audit.records import AuditEntry, AuditKind, subject_of
from storage.audit.trail import append
from storage.errors import StudyHeldError, UnknownRecordError
from storage.images.by_hand import repetition
from storage.images.by_hand.repetition import Repetition
from storage.images.by_hand.seen import SeenStudy, require_unchanged, see
from storage.images.doubt import films_by_patient, find_held, find_hold, replaced_films
from storage.images.lookup import find_study
from storage.queue.transitions import enqueue, lock_study
from storage.records import Delivery, HeldFilm, HeldStudy, JobKind, StudyKey, StudyState
from storage.summaries.keep import summarise
from storage.tables.conditions import of_study
from storage.tables.database import Database
from storage.tables.schema import instances, studies, study_summaries


class Studies:
    """The studies that are held, and the acts of operators on studies."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def held(self, limit: int | None = None) -> tuple[HeldStudy, ...]:
        """Return the studies that are in doubt, held longest first, or the first of them."""
        since = (
            select(studies.c.updated_at)
            .where(
                studies.c.source == study_summaries.c.source,
                studies.c.study_instance_uid == study_summaries.c.study_instance_uid,
            )
            .scalar_subquery()
            .label("since")
        )
        # The list of studies has an index by state. For a join, a server would read all studies.
        query = (
            select(study_summaries.c.source, study_summaries.c.study_instance_uid, since)
            .where(study_summaries.c.state == StudyState.HELD)
            .order_by(since, study_summaries.c.source, study_summaries.c.study_instance_uid)
            .limit(limit)
        )
        found = []
        with self._database.reading() as connection:
            for row in connection.execute(query).all():
                key = StudyKey(row.source, row.study_instance_uid)
                hold, films = find_held(connection, key)
                if hold is not None:
                    found.append(HeldStudy(key, hold, row.since, films))
        return tuple(found)

    def patients(self, key: StudyKey) -> tuple[tuple[HeldFilm, ...], ...]:
        """Return the films of a study by patient, as `held` does."""
        with self._database.reading() as connection:
            return films_by_patient(connection, key)

    def seen(self, key: StudyKey) -> SeenStudy:
        """Return the present state of a study, for an act on it later."""
        with self._database.reading() as connection:
            return see(connection, key, self._now())

    def key(self, study_instance_uid: str, source: str | None = None) -> StudyKey:
        """Return the name of a study: of this source, or of the only source that has it.

        Raises UnknownRecordError, AmbiguousStudyError.
        """
        with self._database.reading() as connection:
            key = find_study(connection, study_instance_uid, source)
            known = select(instances.c.id).where(of_study(instances, key)).limit(1)
            if connection.scalar(known) is None:
                raise UnknownRecordError(f"there is nothing of study {study_instance_uid}")
        return key

    def analyse_again(
        self,
        key: StudyKey,
        films: Collection[int] | None = None,
        *,
        actor: str = "",
        host: str = "",
        seen: SeenStudy | None = None,
    ) -> Repetition:
        """Queue the analyses of a study again, of all its films or of those with these numbers.

        The end of each analysis queues the report. The same model makes the same objects, so that
        no report is new and no object is sent; another model makes new ones. A film is refused if
        it was purged, rejected, set aside or replaced, or if its analysis waits or runs.

        `actor` is the user and `host` the address of the user, for the audit trail. With `seen`
        a study that has changed since stays as it is: ChangedMeanwhileError says how. Raises
        UnknownRecordError, StudyHeldError.
        """
        now = self._now()
        act = AuditEntry(AuditKind.ANALYSIS_REQUESTED, actor=actor, host=host)
        with self._database.writing() as connection:
            return repetition.analyse_again(connection, key, films, act, seen, now)

    def send_again(
        self,
        key: StudyKey,
        wanted: Sequence[Delivery],
        *,
        actor: str = "",
        host: str = "",
        seen: SeenStudy | None = None,
    ) -> Repetition:
        """Queue deliveries of results of a study to one destination, delivered before or not.

        A result that is in doubt, rejected, superseded or purged, or that waits to be sent or is
        being sent, is refused. `actor`, `host` and `seen` are those of `analyse_again`. Raises
        StudyHeldError, ChangedMeanwhileError.
        """
        now = self._now()
        act = AuditEntry(AuditKind.DELIVERY_REQUESTED, actor=actor, host=host)
        with self._database.writing() as connection:
            return repetition.send_again(connection, key, wanted, act, seen, now)

    def release(
        self,
        study_instance_uid: str,
        drop: Collection[str] = (),
        *,
        source: str | None = None,
        actor: str = "",
        host: str = "",
        seen: SeenStudy | None = None,
    ) -> StudyKey:
        """Set films of a held study aside, and report the study again; return its name.

        `drop` names films by SOP Instance UID. Revisions that a later one has replaced are set
        aside, too: the operator says that the later one is right. Without `source` the study is
        that of the only source that has it. `actor`, `host` and `seen` are those of
        `analyse_again`.

        Raises UnknownRecordError for a UID that is not in the study, StudyHeldError if the study
        is not held or still in doubt, AmbiguousStudyError, ChangedMeanwhileError. Then nothing is
        changed.
        """
        now = self._now()
        with self._database.writing() as connection:
            key = find_study(connection, study_instance_uid, source)
            lock_study(connection, key)
            require_unchanged(connection, key, seen)
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
                host=host,
                subject=subject_of(study=key.study_instance_uid, source=key.source),
                detail=f"set aside: {dropped or 'no film'}; {len(replaced)} earlier revision(s)",
            )
            summarise(connection, [key])
            append(connection, entry, now)
        return key
