"""Collects the contents of the overview from the store, without patient data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cxr_model.finding_text import NOT_CALIBRATED
from daemon.config.settings import Config
from daemon.hosts.survey import Host
from daemon.web.health.checks import HealthReport, Level
from daemon.web.health.totals import Totals, job_groups
from daemon.web.overview.faults import Fault, find_faults, usual_wait
from daemon.web.overview.rows import (
    DestinationRow,
    DoubtfulStudy,
    ParkedRow,
    PartRow,
    QueueRow,
    destination_names,
    destination_rows,
    doubtful_row,
    parked_rows,
    part_rows,
    queue_row,
)
from daemon.web.overview.totals import KEEP_SECONDS
from daemon.web.overview.work import Work, collect_work
from storage.records import InstanceState, JobKind
from storage.status import ModelIdentity, RecentInstance
from storage.store import Store

RECENT_IMAGES = 50
SHOWN_STUDIES = 20
"""Most studies in doubt of which the films are named."""
SHOWN_REASONS = 20


@dataclass(frozen=True, slots=True)
class Overview:
    """The contents of the page, and of its JSON.

    `event` is the number of the newest row of the audit trail: later rows are changes. The jobs
    that are done or discarded, what was delivered in all and `instance_counts` are those of
    `counted_at`: a large store takes long to count them.
    """

    made_at: datetime
    counted_at: datetime
    event: int
    level: Level
    free_bytes: int | None
    faults: tuple[Fault, ...]
    parts: tuple[PartRow, ...]
    hosts: tuple[Host, ...]
    queue: tuple[QueueRow, ...]
    doubtful: tuple[DoubtfulStudy, ...]
    doubtful_count: int
    parked: tuple[ParkedRow, ...]
    parked_count: int
    destinations: tuple[DestinationRow, ...]
    work: Work
    instance_counts: Mapping[InstanceState, int]
    images: tuple[RecentInstance, ...]
    model: ModelIdentity | None

    @property
    def has_old_counts(self) -> bool:
        """True if the page is to name the time of its counts."""
        return self.made_at - self.counted_at > timedelta(seconds=KEEP_SECONDS)

    @property
    def calibration(self) -> str:
        """Words on the calibration of the model; empty if its newest image has no note on it."""
        is_noted = self.model is not None and NOT_CALIBRATED in self.model.notes
        return "not calibrated" if is_noted else ""


def collect_overview(
    config: Config,
    store: Store,
    health: HealthReport,
    totals: Totals,
    now: datetime,
) -> Overview:
    """Return the contents of the page. Raises StorageError."""
    event = store.audit.head().number
    groups = job_groups(store, totals)
    configured = [peer.name for peer in config.receivers]
    work = collect_work(store, destination_names(configured, groups), now)
    destinations = destination_rows(configured, store, groups, work.delivered_today)
    queue = tuple(queue_row(store, groups, kind, now) for kind in JobKind)
    analysis = next(row for row in queue if row.kind is JobKind.ANALYSE)
    held = store.status.held_count()
    faults = find_faults(config, health, queue, destinations, held, usual_wait(store, analysis.due))
    return Overview(
        made_at=now,
        counted_at=totals.counted_at,
        event=event,
        level=health.level,
        free_bytes=health.free_bytes,
        faults=faults,
        parts=part_rows(health),
        hosts=health.hosts.hosts,
        queue=queue,
        doubtful=tuple(doubtful_row(study) for study in store.studies.held(SHOWN_STUDIES)),
        doubtful_count=held,
        parked=parked_rows(store.job_list.parked())[:SHOWN_REASONS],
        parked_count=sum(row.parked for row in queue),
        destinations=destinations,
        work=work,
        instance_counts=totals.images,
        images=store.status.recent_instances(RECENT_IMAGES),
        model=store.status.latest_model(),
    )
