"""The search of a worklist for workitems that this node performs, and their priority."""

import datetime
import logging

from daemon.config.partners.worklist import CodeConfig, WorklistConfig
from dicom_io.commitment.messages import new_transaction_uid
from dicom_io.query.classes import FILM_CLASSES
from dicom_io.ups.errors import UnknownWorkitemError
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.workitems import (
    Code,
    Readiness,
    SeriesReference,
    StepPriority,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
)
from storage.records import Priority, StudyKey
from storage.store import Store
from storage.worklist.records import NewWorkitem, WorkitemInput

log = logging.getLogger("worklist")

SUBSCRIPTION = datetime.timedelta(hours=1)
"""A subscription is asked for again after this time: a manager may have lost it."""
_ORDER = (StepPriority.HIGH, StepPriority.MEDIUM, StepPriority.LOW)
MOST_FOUND = 200
"""Workitems that one search returns at most."""


class Search:
    """Finds workitems of one manager, and takes up those that this node performs."""

    def __init__(self, worklist: WorklistConfig, store: Store) -> None:
        self._worklist = worklist
        self._store = store
        self._spacing = datetime.timedelta(seconds=worklist.poll_seconds)
        self._filter = WorkitemFilter(
            worklist_label=worklist.label,
            codes=tuple(map(code_of, worklist.codes)),
            station_names=tuple(map(code_of, worklist.stations)),
            limit=MOST_FOUND,
        )

    def take_turn(self) -> bool:
        """Return True if this process is to search now."""
        return self._store.workitems.take_turn(self._worklist.name, self._spacing)

    def run(self, manager: WorklistManager) -> None:
        """Search, and take up what is new. Raises WorklistError, StorageError.

        At most `most_at_once` workitems are in work, besides those of high priority.
        """
        name = self._worklist.name
        is_subscribed = self._subscribe(manager)
        found = manager.find(self._filter)
        known = self._store.workitems.known(name, [one.uid for one in found])
        new = [one for one in found if one.uid not in known and one.state is StepState.SCHEDULED]
        new.sort(key=lambda one: (_ORDER.index(one.priority), one.scheduled_start))
        free = self._worklist.most_at_once - self._store.workitems.open_count(name)
        taken = 0
        for one in new:
            if free <= 0 and one.priority is not StepPriority.HIGH:
                break
            if self._take_up(one.uid, manager):
                taken += 1
                free -= 1
        self._store.workitems.note_answer(name, subscribed=is_subscribed)
        if taken:
            log.info("%s: %d workitem(s) found", name, taken)

    def _subscribe(self, manager: WorklistManager) -> bool | None:
        """Subscribe to the events of the manager if it is time, or end a subscription.

        Return True after the one, False after the other, None if nothing was to be done.
        """
        last = self._store.workitems.worklist(self._worklist.name)
        at = last.subscribed_at
        if not self._worklist.subscribe:
            if at is None:
                return None
            manager.unsubscribe()
            return False
        if at is not None and not last.fault and self._store.now() - at < SUBSCRIPTION:
            return None
        manager.subscribe()
        return True

    def _take_up(self, uid: str, manager: WorklistManager) -> bool:
        try:
            details = manager.get(uid)
        except UnknownWorkitemError:
            return False
        if details.state is not StepState.SCHEDULED or not self.is_ours(details):
            return False
        return self._store.workitems.add(self.new_workitem(details))

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes of the workitems that this node performs."""
        return self._filter.codes

    def is_ours(self, details: WorkitemDetails) -> bool:
        """Return True if the details of a workitem match: a manager may ignore a matching key."""
        wanted = self._filter
        return (
            details.readiness is Readiness.READY
            and (not wanted.worklist_label or details.worklist_label == wanted.worklist_label)
            and _shares(details.codes, wanted.codes)
            and _shares(details.station_names, wanted.station_names)
        )

    def new_workitem(
        self, details: WorkitemDetails, attributes: bytes | None = None
    ) -> NewWorkitem:
        """Return the workitem as it is taken up; `attributes` is its data set if created here."""
        study = study_of(details)
        return NewWorkitem(
            manager=self._worklist.name,
            uid=details.uid,
            transaction_uid=new_transaction_uid(),
            study=StudyKey(self._worklist.source, study),
            inputs=tuple(
                one
                for series in details.inputs
                if series.study_uid == study
                for one in _inputs(series)
            ),
            priority=priority_of(details.priority),
            attributes=attributes,
        )


def code_of(one: CodeConfig) -> Code:
    """Return a configured code."""
    return Code(one.code, one.scheme, one.meaning)


def priority_of(priority: StepPriority) -> Priority:
    """Return the priority of the jobs of a workitem; HIGH means STAT (PS3.3 C.30.2)."""
    return Priority.STAT if priority is StepPriority.HIGH else Priority.ROUTINE


def study_of(details: WorkitemDetails) -> str:
    """Return the study that a workitem is about: that of its first input, else its own.

    Inputs of further studies are for comparison; they are not waited for.
    """
    studies = [series.study_uid for series in details.inputs]
    return details.study_uid if details.study_uid in studies or not studies else studies[0]


def _inputs(series: SeriesReference) -> list[WorkitemInput]:
    """Return the inputs of a series that are waited for.

    A dose report or a presentation state is no film: no archive is asked for it.
    """
    place = next(iter((*series.retrieve_ae_titles, *series.retrieve_urls)), "")
    if not series.instances:
        return [WorkitemInput(series.study_uid, series.series_uid, place=place)]
    return [
        WorkitemInput(
            series.study_uid, series.series_uid, one.sop_class_uid, one.sop_instance_uid, place
        )
        for one in series.instances
        if not one.sop_class_uid or one.sop_class_uid in FILM_CLASSES
    ]


def _shares(codes: tuple[Code, ...], wanted: tuple[Code, ...]) -> bool:
    return not wanted or any(one.is_same(other) for one in codes for other in wanted)
