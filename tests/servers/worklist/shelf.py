"""A shelf of workitems in memory, and a node that offers it."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dicom_io.commitment.messages import MessageStatus
from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from dicom_io.ups.scp.handlers import WorkitemHandlers
from dicom_io.ups.scp.shelf import (
    CancelRequest,
    KeptWorkitem,
    NewWorkitem,
    ShelfRefusalError,
    ShelfStatus,
)
from dicom_io.ups.workitems import StepState, WorkitemEvent
from tests.tools.ports import HOST


@dataclass
class MemoryShelf:
    """Keeps workitems, requests to cancel and events, with the caller of each."""

    items: dict[str, KeptWorkitem] = field(default_factory=dict)
    created: list[tuple[NewWorkitem, Caller]] = field(default_factory=list)
    cancels: list[tuple[str, CancelRequest, Caller]] = field(default_factory=list)
    events: list[tuple[WorkitemEvent, Caller]] = field(default_factory=list)
    broken: bool = False

    def create(self, new: NewWorkitem, caller: Caller) -> None:
        if self.broken:
            raise RuntimeError("broken")
        if new.uid in self.items:
            raise ShelfRefusalError(ShelfStatus.DUPLICATE)
        self.items[new.uid] = KeptWorkitem(new.uid, new.attributes, StepState.SCHEDULED)
        self.created.append((new, caller))

    def get(self, uid: str, caller: Caller) -> KeptWorkitem | None:
        return self.items.get(uid)

    def kept(self, caller: Caller, limit: int) -> list[KeptWorkitem]:
        return list(self.items.values())[:limit]

    def change(self, uid: str, **changes: object) -> None:
        self.items[uid] = dataclasses.replace(self.items[uid], **changes)  # type: ignore[arg-type]

    def request_cancel(self, uid: str, request: CancelRequest, caller: Caller) -> None:
        if uid not in self.items:
            raise ShelfRefusalError(ShelfStatus.UNKNOWN_WORKITEM)
        self.cancels.append((uid, request, caller))

    def take_event(self, event: WorkitemEvent, caller: Caller) -> MessageStatus:
        self.events.append((event, caller))
        return MessageStatus.SUCCESS


@contextmanager
def workitem_node(
    shelf: MemoryShelf, *, is_pushed_to: bool = True, **options: Any
) -> Iterator[Node]:
    """Run a node that two peers may call: one pushes workitems, one manages a worklist."""
    with Node(
        ae_title="CXRD",
        host=HOST,
        port=0,
        peers=[Peer("REQUESTER", sends=False), Peer("WORKLIST", sends=False)],
        on_store=lambda _: StoreStatus.SUCCESS,
        workitems=WorkitemHandlers(shelf.take_event, shelf if is_pushed_to else None),
        **options,
    ) as node:
        yield node
