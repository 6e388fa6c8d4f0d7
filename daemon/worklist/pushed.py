"""Workitems that peers create at this node, which performs them (IHE AIW-I, push)."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.settings import Config
from daemon.worker.bell import Bell, BellName
from daemon.worklist.outputs import Keeper, keepers_of
from daemon.worklist.performed import moment, performed_of
from daemon.worklist.reasons import CODES
from daemon.worklist.search import Search
from dicom_io.peer.peers import Caller, Peer
from dicom_io.ups.errors import UnknownWorkitemError
from dicom_io.ups.scp.shelf import (
    CancelRequest,
    KeptWorkitem,
    NewWorkitem,
    ShelfRefusalError,
    ShelfStatus,
)
from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    Performed,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
)
from storage.store import Store
from storage.worklist.records import PushedWorkitem, Workitem, WorkitemState

_STATES: Mapping[WorkitemState, StepState] = {
    WorkitemState.FOUND: StepState.SCHEDULED,
    WorkitemState.CLAIMING: StepState.IN_PROGRESS,
    WorkitemState.IN_PROGRESS: StepState.IN_PROGRESS,
    WorkitemState.COMPLETING: StepState.IN_PROGRESS,
    WorkitemState.CANCELING: StepState.IN_PROGRESS,
    WorkitemState.COMPLETED: StepState.COMPLETED,
    WorkitemState.CANCELED: StepState.CANCELED,
    WorkitemState.DROPPED: StepState.CANCELED,
}
_DECIDED = (WorkitemState.COMPLETING, WorkitemState.CANCELING)


def requesters(config: Config) -> tuple[Peer, ...]:
    """Return the peers that may create workitems here."""
    return tuple(peer for one in config.worklists for peer in _peers(one))


def _peers(worklist: WorklistConfig) -> list[Peer]:
    if worklist.kind is not WorklistKind.PUSH:
        return []
    return [
        Peer(title, worklist.host, sends=False, tls=worklist.tls) for title in worklist.requesters
    ]


class LocalManager:
    """The manager of pushed workitems: their state is that in the store, so no message is sent."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store
        self._ended: dict[str, StepState] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def find(self, wanted: WorkitemFilter) -> list[FoundWorkitem]:
        """Return none: a workitem is taken up when it is created."""
        return []

    def get(self, uid: str) -> WorkitemDetails:
        """Return the state of a workitem. Raises UnknownWorkitemError."""
        for one in self._store.workitems.pushed(self.name, uid):
            state = self._ended.get(uid, _STATES[one.item.state])
            outputs = performed_of(one.item, _STATION, (), {}).outputs
            return WorkitemDetails(uid, state, outputs=outputs)
        raise UnknownWorkitemError(f"{self.name} has no such workitem", 0xC307)

    def claim(self, uid: str, transaction_uid: str) -> None:
        """Return at once: this node alone performs the workitem."""

    def progress(
        self, uid: str, transaction_uid: str, percent: float, description: str = ""
    ) -> None:
        """Return at once: a peer is shown the state in the store."""

    def set_performed(self, uid: str, transaction_uid: str, performed: Performed) -> None:
        """Return at once: the outputs are in the store."""

    def complete(self, uid: str, transaction_uid: str) -> None:
        """Show the workitem as completed, which the store records next."""
        self._ended[uid] = StepState.COMPLETED

    def cancel(
        self, uid: str, transaction_uid: str, reason_code: Code | None = None, reason: str = ""
    ) -> None:
        """Show the workitem as canceled, which the store records next."""
        self._ended[uid] = StepState.CANCELED

    def subscribe(self, uid: str | None = None) -> None:
        """Return at once: requests to cancel are recorded here."""

    def unsubscribe(self, uid: str | None = None) -> None:
        """Return at once: there is no subscription."""

    def probe(self) -> str:
        """Return that the workitems are kept here."""
        return "workitems may be created here"


_STATION = Code("CXRD", "99CXRD", "CXRD")


class Shelf:
    """Keeps the workitems that the requesters of each worklist create; see `WorkitemShelf`."""

    def __init__(self, config: Config, store: Store) -> None:
        self._store = store
        self._bell = Bell.of(config, BellName.COURIER, store)
        title = config.listener.ae_title
        self._station = Code(title, "99CXRD", title)
        self._lists = [
            (_peers(one), Search(one, store), one.name, _by_name(keepers_of(config, one.source)))
            for one in config.worklists
            if one.kind is WorklistKind.PUSH
        ]

    def create(self, new: NewWorkitem, caller: Caller) -> None:
        """Keep a new workitem with its job."""
        for peers, search, _, _ in self._lists:
            if any(peer.matches(caller) for peer in peers):
                if not search.is_ours(new.details):
                    raise ShelfRefusalError(
                        ShelfStatus.INVALID_VALUE,
                        "not performed here: see its workitem code, label, station and readiness",
                    )
                if not self._store.workitems.add(search.new_workitem(new.details, new.attributes)):
                    raise ShelfRefusalError(ShelfStatus.DUPLICATE)
                self._bell.ring()
                return
        raise ShelfRefusalError(ShelfStatus.NOT_AUTHORISED, "may not create workitems here")

    def get(self, uid: str, caller: Caller) -> KeptWorkitem | None:
        """Return a workitem of a worklist of the caller."""
        return next(iter(self._kept(caller, uid, 1)), None)

    def kept(self, caller: Caller, limit: int) -> list[KeptWorkitem]:
        """Return the newest workitems of the worklists of the caller."""
        return self._kept(caller, None, limit)

    def request_cancel(self, uid: str, request: CancelRequest, caller: Caller) -> None:
        """Record that the workitem is to be canceled, unless its end is decided already."""
        for peers, _, name, _ in self._lists:
            if not any(peer.matches(caller) for peer in peers):
                continue
            for one in self._store.workitems.pushed(name, uid):
                self._cancel(name, one.item, caller)
                return
        raise ShelfRefusalError(ShelfStatus.UNKNOWN_WORKITEM)

    def _cancel(self, name: str, item: Workitem, caller: Caller) -> None:
        state = _STATES[item.state]
        if state is StepState.COMPLETED:
            raise ShelfRefusalError(ShelfStatus.ALREADY_COMPLETED)
        if state is StepState.CANCELED:
            raise ShelfRefusalError(ShelfStatus.ALREADY_CANCELED)
        if item.state in _DECIDED:
            raise ShelfRefusalError(ShelfStatus.PERFORMER_DECLINES, "its results are delivered")
        self._store.workitems.request_cancel(name, item.uid, host=caller.address)
        self._bell.ring()

    def _kept(self, caller: Caller, uid: str | None, limit: int) -> list[KeptWorkitem]:
        found = []
        for peers, search, name, keepers in self._lists:
            if any(peer.matches(caller) for peer in peers):
                for one in self._store.workitems.pushed(name, uid, limit):
                    found.append(self._shown(one, search, keepers))
        return found[:limit]

    def _shown(
        self, one: PushedWorkitem, search: Search, keepers: Mapping[str, Keeper]
    ) -> KeptWorkitem:
        item = one.item
        state = _STATES[item.state]
        is_completed = state is StepState.COMPLETED
        is_canceled = state is StepState.CANCELED
        return KeptWorkitem(
            uid=item.uid,
            attributes=one.attributes,
            state=state,
            progress=100.0 if is_completed else None,
            performed=(
                performed_of(item, self._station, search.codes[:1], keepers)
                if is_completed
                else None
            ),
            cancelled=moment(item.ended_at or item.updated_at) if is_canceled else "",
            cancel_reason=item.reason if is_canceled else "",
            cancel_code=CODES.get(item.reason_code) if is_canceled else None,
        )


def _by_name(keepers: Sequence[Keeper]) -> Mapping[str, Keeper]:
    return {keeper.name: keeper for keeper in keepers}
