"""A worklist manager in memory that counts what a performer does to each workitem.

It follows the state table of PS3.4 CC.1.1-2. A test sets `lies` to have it answer falsely, `down`
to have it unreachable, `broken` to have the claims of some workitems fail, and `on_message` to be
called before and after each message.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from dicom_io.ups.errors import (
    AlreadyInProgressError,
    ManagerUnreachableError,
    NotInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
    WorklistError,
)
from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    ObjectReference,
    Performed,
    SeriesReference,
    StepPriority,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
)

DETECTION = Code("110004", "DCM", "Computer Aided Detection")


class MemoryManager:
    """A manager that lists workitems and keeps every change of state."""

    def __init__(self, name: str = "ris") -> None:
        self.name = name
        self.items: dict[str, WorkitemDetails] = {}
        self.performers: dict[str, str] = {}
        self.history: dict[str, list[StepState]] = defaultdict(list)
        self.performed: dict[str, Performed] = {}
        self.reasons: dict[str, tuple[str, str]] = {}
        self.told: dict[str, list[str]] = defaultdict(list)
        self.subscriptions = self.ended_subscriptions = 0
        self.down = False
        self.lies: set[str] = set()
        self.broken: dict[str, WorklistError] = {}
        self.on_message: Callable[[str, str], object] = lambda _message, _when: None

    def order(
        self,
        uid: str,
        study: str,
        *films: str,
        priority: StepPriority = StepPriority.MEDIUM,
        codes: tuple[Code, ...] = (DETECTION,),
    ) -> None:
        """Add a SCHEDULED workitem about these films of a study."""
        instances = tuple(ObjectReference("1.2.840.10008.5.1.4.1.1.1.1", film) for film in films)
        inputs = (SeriesReference(study, f"{study}.9" if films else "", instances, ("PACS",)),)
        self.items[uid] = WorkitemDetails(
            uid,
            StepState.SCHEDULED,
            priority,
            codes=codes,
            study_uid=study,
            inputs=inputs if study else (),
        )

    def __enter__(self) -> Self:
        if self.down:
            raise ManagerUnreachableError(f"{self.name} does not answer: is it running?")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def find(self, wanted: WorkitemFilter) -> list[FoundWorkitem]:
        with self._message("find"):
            return [
                FoundWorkitem(item.uid, item.state, item.priority, codes=item.codes)
                for item in self.items.values()
                if item.state is wanted.state
            ]

    def get(self, uid: str) -> WorkitemDetails:
        with self._message("get"):
            if uid not in self.items:
                raise UnknownWorkitemError("no such workitem", 0xC307)
            item = self.items[uid]
            if "always scheduled" in self.lies:
                return dataclasses.replace(item, state=StepState.SCHEDULED)
            if "other outputs" in self.lies and item.outputs:
                return dataclasses.replace(item, outputs=())
            return item

    def claim(self, uid: str, transaction_uid: str) -> None:
        with self._message("claim"):
            if uid in self.broken:
                raise self.broken[uid]
            item = self.items[uid]
            if item.state is StepState.SCHEDULED and "refuses claims" not in self.lies:
                self.performers[uid] = transaction_uid
                self._change(uid, StepState.IN_PROGRESS)
            elif item.state.is_final:
                raise WorkitemClosedError("ended", 0xC300)
            elif self.performers.get(uid) != transaction_uid:
                raise AlreadyInProgressError("another performer has it", 0xC302)

    def progress(
        self, uid: str, transaction_uid: str, percent: float, description: str = ""
    ) -> None:
        with self._message("progress"):
            self._require(uid, transaction_uid)
            self.told[uid].append(description)

    def set_performed(self, uid: str, transaction_uid: str, performed: Performed) -> None:
        with self._message("set_performed"):
            self._require(uid, transaction_uid)
            self.performed[uid] = performed
            self.items[uid] = dataclasses.replace(self.items[uid], outputs=performed.outputs)

    def complete(self, uid: str, transaction_uid: str) -> None:
        with self._message("complete"):
            if self.items[uid].state is not StepState.COMPLETED:
                self._require(uid, transaction_uid)
                if "never completes" not in self.lies:
                    self._change(uid, StepState.COMPLETED)

    def cancel(
        self, uid: str, transaction_uid: str, reason_code: Code | None = None, reason: str = ""
    ) -> None:
        with self._message("cancel"):
            if self.items[uid].state is not StepState.CANCELED:
                self._require(uid, transaction_uid)
                self.reasons[uid] = (reason_code.value if reason_code else "", reason)
                self._change(uid, StepState.CANCELED)

    def subscribe(self, uid: str | None = None) -> None:
        with self._message("subscribe"):
            self.subscriptions += 1

    def unsubscribe(self, uid: str | None = None) -> None:
        with self._message("unsubscribe"):
            self.ended_subscriptions += 1

    def probe(self) -> str:
        return "answers"

    def outputs(self, uid: str) -> set[str]:
        """Return the UIDs that a workitem names as its outputs."""
        return {
            one.sop_instance_uid for series in self.items[uid].outputs for one in series.instances
        }

    def _change(self, uid: str, state: StepState) -> None:
        self.items[uid] = dataclasses.replace(self.items[uid], state=state)
        self.history[uid].append(state)

    def _require(self, uid: str, transaction_uid: str) -> None:
        state = self.items[uid].state
        if state.is_final:
            raise WorkitemClosedError("ended", 0xC300)
        if state is StepState.SCHEDULED:
            raise NotInProgressError("not claimed", 0xC310)
        if self.performers[uid] != transaction_uid or "denies its performer" in self.lies:
            raise TransactionUidError("not the Transaction UID", 0xC301)

    @contextmanager
    def _message(self, name: str) -> Iterator[None]:
        self.on_message(name, "before")
        if self.down:
            raise ManagerUnreachableError(f"{self.name} does not answer: is it running?")
        yield
        self.on_message(name, "after")
