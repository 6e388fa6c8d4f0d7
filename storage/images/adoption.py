"""Studies of a version that knew no sources and did not compare patients."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from storage.audit.records import AuditEntry, AuditKind
from storage.audit.trail import append, append_all
from storage.images.holds import review
from storage.queue.transitions import lock_studies
from storage.records import JobKind, StudyKey
from storage.summaries.keep import summarise
from storage.tables.conditions import of_study
from storage.tables.schema import SETTINGS, audit_events, instances, jobs, objects, studies


def adopt_sources(connection: Connection, sources: Mapping[str, str], now: datetime) -> int:
    """Give studies a source inside a transaction; see `Store.adopt_sources`."""
    done = select(audit_events.c.number).where(
        SETTINGS, audit_events.c.kind == AuditKind.SOURCES_ADOPTED
    )
    if connection.scalar(done.limit(1)) is not None:
        return 0
    rows = connection.execute(
        select(instances.c.study_instance_uid, instances.c.calling_ae_title)
        .where(instances.c.source == "")
        .distinct()
    )
    senders: dict[str, set[str]] = defaultdict(set)
    for study, title in rows:
        senders[study].add(title)
    if not senders:
        return 0
    known = {}
    for study, titles in senders.items():
        named = {sources.get(title) for title in titles}
        source = named.pop()
        if not named and source:
            known[StudyKey("", study)] = StudyKey(source, study)
    # All are looked up before the first moves: two of them may share a film.
    free = {old: new for old, new in known.items() if _is_free(connection, old, new)}
    for old, new in free.items():
        _adopt(connection, old, new)
    summarise(connection, (*free.keys(), *free.values()))
    others = len(senders) - len(free)
    detail = f"{len(free)} study(ies) have the source of their sender, {others} none"
    append(connection, AuditEntry(AuditKind.SOURCES_ADOPTED, detail=detail), now)
    return len(free)


def hold_mixed_studies(connection: Connection, now: datetime) -> int:
    """Hold the studies that an earlier version reported as one patient's; return their number."""
    mixed = connection.execute(
        select(instances.c.source, instances.c.study_instance_uid)
        # An earlier version did not record the name.
        .where(instances.c.patient_name.is_(None))
        .group_by(instances.c.source, instances.c.study_instance_uid)
        .having(func.count(instances.c.patient_id.distinct()) > 1)
    ).all()
    keys = sorted((StudyKey(*row) for row in mixed), key=lambda key: key.subject)
    lock_studies(connection, keys)
    entries: list[AuditEntry] = []
    held = sum(review(connection, key, entries, now) is not None for key in keys)
    summarise(connection, keys)
    append_all(connection, entries, now)
    return held


def _is_free(connection: Connection, old: StudyKey, new: StudyKey) -> bool:
    """Return True if the source has neither the study nor one of its instances."""
    own = select(instances.c.sop_instance_uid).where(of_study(instances, old))
    taken = select(instances.c.id).where(
        instances.c.source == new.source,
        of_study(instances, new) | instances.c.sop_instance_uid.in_(own),
    )
    # A study whose instances are gone may still have its row or its job.
    named = select(studies.c.status).where(of_study(studies, new))
    job = select(jobs.c.id).where(jobs.c.kind == JobKind.REPORT, jobs.c.subject == new.subject)
    return not connection.scalar(select(taken.exists() | named.exists() | job.exists()))


def _adopt(connection: Connection, old: StudyKey, new: StudyKey) -> None:
    """Move the rows of a study to a source."""
    for table in (instances, objects, studies):
        connection.execute(update(table).where(of_study(table, old)).values(source=new.source))
    connection.execute(
        update(jobs)
        .where(jobs.c.kind == JobKind.REPORT, jobs.c.subject == old.subject)
        .values(subject=new.subject)
    )
