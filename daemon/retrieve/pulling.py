"""Finds the studies of a backfill at an archive, and orders them."""

import datetime
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.errors import UsageError
from daemon.retrieve.archives import Queryable, open_query
from daemon.worker.bell import Bell, BellName
from dicom_io.query.values import FoundStudy, StudyQuery
from storage.audit.records import AuditKind, AuditOutcome, subject_of
from storage.records import JobState, RetrievalPurpose
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Found:
    """Studies at an archive, each once; `refused` counts wrong answers by their fault."""

    studies: tuple[FoundStudy, ...]
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def complaint(self) -> str:
        """The wrong answers in words; empty if there are none."""
        listed = ", ".join(f"{fault} ({count})" for fault, count in sorted(self.refused.items()))
        return f"wrong answers are left out: {listed}" if listed else ""


def find(
    config: Config,
    store: Store,
    peer: PeerConfig,
    query: StudyQuery,
    asker: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> Found:
    """Return the studies that answer a query; a span of days with too many is asked in parts.

    Records the query in the audit trail. Raises QueryError, AssociationError and, if a day alone
    has too many studies, UsageError.
    """
    names = [name for name, value in _keys(query) if value]
    subject, keys = subject_of(destination=peer.name), f"keys {', '.join(names)}"
    studies: dict[str, FoundStudy] = {}
    refused: Counter[str] = Counter()
    try:
        with open_query(config, peer, should_stop) as archive:
            for part in _parts(archive, peer, query):
                refused.update(part.refused)
                studies |= {one.study_instance_uid: one for one in part.studies}
    except Exception:
        store.audit.record(
            AuditKind.ARCHIVE_QUERIED,
            outcome=AuditOutcome.FAILURE,
            actor=asker,
            subject=subject,
            detail=keys,
        )
        raise
    detail = f"{keys}; {len(studies)} study(ies)"
    store.audit.record(AuditKind.ARCHIVE_QUERIED, actor=asker, subject=subject, detail=detail)
    return Found(tuple(studies.values()), refused)


def order(
    config: Config, store: Store, peer: PeerConfig, found: Found, asker: str, *, at_once: bool
) -> int:
    """Order the found studies as a backfill, and wake the courier. Return the order's number."""
    uids = [study.study_instance_uid for study in found.studies]
    number = store.retrievals.order(
        peer.name, uids, RetrievalPurpose.BACKFILL, asker, at_once=at_once
    )
    with suppress(OSError):
        Bell.of(config, BellName.COURIER, store).ring()
    return number


def progress(store: Store, number: int) -> tuple[int, int]:
    """Return how many studies of an order are no longer waiting, and how many there are."""
    one = store.retrievals.get(number)
    return one.total - one.left, one.total


def outcome(store: Store, number: int) -> str:
    """Return the fault of an order that has ended; empty if all its studies are here."""
    one = store.retrievals.get(number)
    fetched = one.studies.get(JobState.DONE, 0)
    if fetched == one.total:
        return ""
    parked = store.retrievals.parked(number, 1)
    reason = f"; the first of those that are parked: job {parked[0].job}: {parked[0].reason}"
    return f"{one.total - fetched} of {one.total} study(ies) are not fetched" + (
        reason if parked else ""
    )


def _parts(archive: Queryable, peer: PeerConfig, query: StudyQuery) -> Iterator[Found]:
    found = archive.find_studies(query)
    if not found.is_cut:
        yield Found(found.studies, Counter(found.refused))
        return
    halves = _halves(query)
    if not halves:
        most = peer.query.max_answers if peer.query else 0
        raise UsageError(
            f"{peer.name} has more than {most} such studies: name fewer days, or raise"
            " max_answers of its query"
        )
    for half in halves:
        yield from _parts(archive, peer, half)


def _halves(query: StudyQuery) -> tuple[StudyQuery, ...]:
    """Return the query for each half of its days; none for one day, or without two limits."""
    if not query.first_day or not query.last_day or query.first_day == query.last_day:
        return ()
    first, last = _day(query.first_day), _day(query.last_day)
    middle = first + (last - first) // 2
    after = middle + datetime.timedelta(days=1)
    return replace(query, last_day=f"{middle:%Y%m%d}"), replace(query, first_day=f"{after:%Y%m%d}")


def _day(text: str) -> datetime.date:
    return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))


def _keys(query: StudyQuery) -> tuple[tuple[str, object], ...]:
    return (
        ("StudyInstanceUID", query.study_instance_uid),
        ("AccessionNumber", query.accession_number),
        ("PatientID", query.patient_id),
        ("IssuerOfPatientID", query.issuer_of_patient_id),
        ("StudyDate", query.days),
        ("ModalitiesInStudy", query.modalities),
    )
