"""Performs one workitem: from the claim to its end, one committed transition after another.

Each transition is committed before its message is sent, and again after the answer. A process that
was killed between the two asks the manager for the state of the workitem, and goes on from there:
the Transaction UID, which was committed before the claim, tells its own claim from another's.
"""

import datetime
import logging
from collections.abc import Callable, Sequence

from daemon.config.partners.worklist import WorklistConfig
from daemon.worker.peer_queue import PeerQueue
from daemon.worklist.inputs import Inputs
from daemon.worklist.outputs import Keeper, OutputsGoneError, outputs_of
from daemon.worklist.performed import performed_of
from daemon.worklist.reasons import CODES, PURGED, REQUESTED, Discontinuation, discontinuation
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
    WorkitemRefusedError,
)
from dicom_io.ups.manager import WorklistManager
from dicom_io.ups.workitems import Code, StepState, WorkitemDetails
from storage.errors import ChangedMeanwhileError
from storage.files.spool import Spool
from storage.records import Job
from storage.store import Store
from storage.worklist.records import StudyProgress, Workitem, WorkitemState

log = logging.getLogger("worklist")

SHORTEST_LOOK = 1.0
LONGEST_LOOK = 30.0
"""Seconds between two looks at a study in work; they grow with the time since the claim."""

MOST_LOOKS = 5
"""Runs of a job whose workitem the manager shows and then refuses as ended, before it is parked."""


class _Parked(Exception):  # noqa: N818 - ends a run, and is no fault of this node
    """The workitem waits for an operator, for the reason in the text."""


class Performer:
    """Performs the workitems of one worklist."""

    def __init__(
        self,
        worklist: WorklistConfig,
        keepers: Sequence[Keeper],
        station: Code,
        spool: Spool,
        store: Store,
        queue: PeerQueue,
        inputs: Inputs,
        now: Callable[[], datetime.datetime] | None = None,
    ) -> None:
        """`keepers` are the destinations that keep results of this source as DICOM objects."""
        self._name = worklist.name
        self._keepers = {keeper.name: keeper for keeper in keepers}
        self._station = station
        self._codes = tuple(Code(one.code, one.scheme, one.meaning) for one in worklist.codes) or (
            Code("110004", "DCM", "Computer Aided Detection"),
        )
        self._patience = datetime.timedelta(minutes=worklist.give_up_minutes)
        self._spool = spool
        self._store = store
        self._queue = queue
        self._inputs = inputs
        self._now = now or store.now
        self._told: dict[str, str] = {}

    def perform(self, job: Job, manager: WorklistManager) -> None:
        """Do what can be done for the workitem of a job now; settle or postpone the job.

        Raises WorklistError if the manager does not answer, LeaseLostError, StorageError.
        """
        try:
            while True:
                item = self._store.workitems.of(job)
                if item.state.is_final:
                    self._store.jobs.finish(job)
                    return
                if not self._advance(job, item, manager):
                    return
        except _Parked as error:
            self._queue.park(job, str(error))
        except (WorkitemClosedError, UnknownWorkitemError) as error:
            # The workitem ended since it was read: the next run sees how.
            if job.attempts < MOST_LOOKS:
                self._queue.retry(job, str(error), SHORTEST_LOOK)
            else:
                self._queue.park(job, str(error))
        except WorkitemRefusedError as error:
            self._queue.park(job, str(error))

    def _advance(self, job: Job, item: Workitem, manager: WorklistManager) -> bool:
        """Do the next transition; return False if the job was settled or postponed."""
        try:
            details = manager.get(item.uid)
        except UnknownWorkitemError:
            details = None
        match item.state:
            case WorkitemState.FOUND | WorkitemState.CLAIMING:
                return self._claim(job, item, manager, details)
            case WorkitemState.IN_PROGRESS:
                return self._watch(job, item, manager, details)
            case WorkitemState.COMPLETING:
                return self._complete(job, item, manager, details)
            case _:
                return self._cancel(job, item, manager, details)

    def _claim(
        self, job: Job, item: Workitem, manager: WorklistManager, details: WorkitemDetails | None
    ) -> bool:
        if details is None:
            return self._drop(job, item, "the manager no longer has it")
        if details.state.is_final:
            return self._drop(job, item, f"the manager says {details.state}")
        if item.state is WorkitemState.FOUND:
            if details.state is StepState.IN_PROGRESS:
                return self._drop(job, item, "another performer has claimed it")
            self._store.workitems.begin(job, WorkitemState.CLAIMING)
        try:
            manager.claim(item.uid, item.transaction_uid)
        except (AlreadyInProgressError, TransactionUidError) as error:
            if manager.get(item.uid).state is StepState.SCHEDULED:
                raise _Parked(
                    f"{self._name} refuses the claim of a workitem that it calls SCHEDULED: {error}"
                ) from error
            return self._drop(job, item, "another performer has claimed it")
        except (WorkitemClosedError, UnknownWorkitemError):
            return self._drop(job, item, "it ended before it was claimed")
        state = manager.get(item.uid).state
        if state is not StepState.IN_PROGRESS:
            raise _Parked(f"{self._name} accepted the claim, and then says {state}: ask its vendor")
        self._store.workitems.record_claim(job)
        log.info("%s: workitem of job %d claimed", self._name, job.id)
        return True

    def _watch(
        self, job: Job, item: Workitem, manager: WorklistManager, details: WorkitemDetails | None
    ) -> bool:
        """Look at the study of a claimed workitem; begin its end when that is decided."""
        self._require(details, item)
        if details is None or details.state.is_final:
            state = "no longer has it" if details is None else f"says {details.state}"
            return self._drop(job, item, f"the manager {state}, without this node")
        if item.cancel_requested_at is not None or details.cancel_reason:
            self._begin_cancel(job, REQUESTED)
            return True
        progress = self._store.workitems.progress(item, self._keepers)
        self._tell(item, progress, manager)
        if progress.is_delivered:
            return self._begin_completion(job, progress)
        why = discontinuation(item, progress, self._now(), self._patience)
        if why is not None:
            self._begin_cancel(job, why)
            return True
        if progress.missing:
            self._inputs.request(item, progress.missing)
        waited = (self._now() - (item.claimed_at or self._now())).total_seconds()
        wait = min(max(SHORTEST_LOOK, waited / 8), LONGEST_LOOK)
        self._store.jobs.postpone(job, self._now() + datetime.timedelta(seconds=wait))
        return False

    def _begin_completion(self, job: Job, progress: StudyProgress) -> bool:
        try:
            outputs = outputs_of(progress.delivered, self._spool)
        except OutputsGoneError:
            self._begin_cancel(job, PURGED)
            return True
        try:
            self._store.workitems.begin_completion(job, self._keepers, outputs)
        except ChangedMeanwhileError:
            log.info("%s: job %d looks again: its study has changed", self._name, job.id)
        return True

    def _complete(
        self, job: Job, item: Workitem, manager: WorklistManager, details: WorkitemDetails | None
    ) -> bool:
        self._require(details, item)
        if details is None:
            raise _Parked(f"{self._name} no longer has a workitem whose results are delivered")
        if details.state is StepState.CANCELED:
            return self._drop(
                job, item, "the manager canceled it, after its results were delivered"
            )
        if details.state is StepState.IN_PROGRESS:
            codes = details.codes or self._codes
            performed = performed_of(item, self._station, codes, self._keepers)
            manager.set_performed(item.uid, item.transaction_uid, performed)
            manager.complete(item.uid, item.transaction_uid)
            details = self._after_end(item, manager, StepState.COMPLETED)
        if details is not None and not _names(details, item):
            raise _Parked(f"{self._name} names other outputs than were reported: ask its vendor")
        self._store.workitems.end(job, WorkitemState.COMPLETED)
        log.info(
            "%s: workitem of job %d completed, %d object(s)",
            self._name,
            job.id,
            len(item.outputs),
        )
        return False

    def _cancel(
        self, job: Job, item: Workitem, manager: WorklistManager, details: WorkitemDetails | None
    ) -> bool:
        self._require(details, item)
        if details is None:
            raise _Parked(f"{self._name} no longer has a workitem that is to be canceled")
        if details.state is StepState.COMPLETED:
            return self._drop(job, item, "the manager says COMPLETED, without this node")
        if details.state is StepState.IN_PROGRESS:
            code = CODES.get(item.reason_code, REQUESTED.code)
            manager.cancel(item.uid, item.transaction_uid, code, item.reason)
            self._after_end(item, manager, StepState.CANCELED)
        self._store.workitems.end(job, WorkitemState.CANCELED)
        log.warning("%s: workitem of job %d canceled: %s", self._name, job.id, item.reason)
        return False

    def _after_end(
        self, item: Workitem, manager: WorklistManager, wanted: StepState
    ) -> WorkitemDetails | None:
        """Return the ended workitem; None if the manager forgets it at once, as it may."""
        try:
            details = manager.get(item.uid)
        except UnknownWorkitemError:
            return None
        if details.state is not wanted:
            raise _Parked(
                f"{self._name} accepted {wanted}, and then says {details.state}: ask its vendor"
            )
        return details

    def _require(self, details: WorkitemDetails | None, item: Workitem) -> None:
        """Raise _Parked if the manager calls a workitem SCHEDULED that it gave to this node."""
        if details is not None and details.state is StepState.SCHEDULED:
            raise _Parked(
                f"{self._name} says SCHEDULED of a workitem that it gave to this node"
                f" ({item.state}): ask its vendor"
            )

    def _begin_cancel(self, job: Job, why: Discontinuation) -> None:
        self._store.workitems.begin_cancel(job, why.code.value, why.text)

    def _drop(self, job: Job, item: Workitem, reason: str) -> bool:
        self._store.workitems.end(job, WorkitemState.DROPPED, reason)
        level = logging.INFO if item.claimed_at is None else logging.WARNING
        log.log(level, "%s: workitem of job %d dropped: %s", self._name, job.id, reason)
        return False

    def _tell(self, item: Workitem, progress: StudyProgress, manager: WorklistManager) -> None:
        """Report the progress to the manager when it has changed."""
        percent, words = _stage(progress)
        if self._told.get(item.uid) == words:
            return
        manager.progress(item.uid, item.transaction_uid, percent, words)
        self._told[item.uid] = words
        while len(self._told) > _TOLD:
            del self._told[next(iter(self._told))]


_TOLD = 1000
"""Workitems whose last report of progress is remembered."""


def _stage(progress: StudyProgress) -> tuple[float, str]:
    if progress.missing:
        return 10.0, "waiting for the images"
    if progress.is_delivered:
        return 100.0, "results delivered"
    if progress.hold is not None or progress.parked:
        return 25.0, "waiting for an operator"
    if progress.delivered:
        return 75.0, "delivering the results"
    return 25.0, "analysing the images"


def _names(details: WorkitemDetails, item: Workitem) -> bool:
    """Return True if the manager names the outputs of the workitem, and no other."""
    named = {one.sop_instance_uid for series in details.outputs for one in series.instances}
    return named == {one.sop_instance_uid for one in item.outputs}
