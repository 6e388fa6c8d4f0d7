"""A worklist manager over DIMSE on bare pynetdicom: SCP of UPS Push, Pull, Watch and Event."""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.transport import ThreadedAssociationServer

from tests.servers.worklist.steps import ConnectionEndsError, RefusedError, Worklist
from tests.tools.ports import HOST

PUSH, WATCH, PULL, EVENT = (f"1.2.840.10008.5.1.4.34.6.{number}" for number in (1, 2, 3, 4))
TITLE = "WORKLIST"
_SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
_STATES = {"IN PROGRESS": "claim", "COMPLETED": "complete", "CANCELED": "cancel"}


class DimseWorklist(Worklist):
    """The manager: `addresses` are the (host, port) of the AE titles that receive events."""

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.title = TITLE
        self.addresses: dict[str, tuple[str, int]] = {}
        self.event_statuses: list[int | None] = []
        self.on_event = self._send_events
        self.seconds_before_answer = 0.0
        self.raw_find_answers: list[Dataset] | None = None
        self.endless_answers = False
        self._senders: list[threading.Thread] = []

    def wait_for_events(self) -> None:
        """Wait until each event that was caused so far has been sent."""
        while self._senders:
            self._senders.pop().join(30)

    def _send_events(self, receivers: set[str], uid: str, kind: int, event: Dataset) -> None:
        for receiver in receivers:
            thread = threading.Thread(
                target=self._send_event, args=(receiver, uid, kind, event), daemon=True
            )
            self._senders.append(thread)
            thread.start()

    def _send_event(self, receiver: str, uid: str, kind: int, event: Dataset) -> None:
        host, port = self.addresses.get(receiver, (HOST, 9))
        self.event_statuses.append(
            send_event(host, port, receiver, uid, kind, event, title=self.title)
        )

    def on_create(self, event: Any) -> tuple[int, Dataset | None]:
        def create() -> None:
            self.schedule(event.attribute_list, str(event.request.AffectedSOPInstanceUID or ""))

        return self._answer(event, "create", create), None

    def on_get(self, event: Any) -> tuple[int, Dataset | None]:
        found = Dataset()

        def get() -> None:
            ds = self.get(str(event.request.RequestedSOPInstanceUID))
            wanted = set(event.attribute_identifiers)
            if 0x00081195 in wanted:
                raise RefusedError(0x0105)
            for element in ds:
                if not wanted or element.tag in wanted:
                    found.add(element)

        status = self._answer(event, "get", get)
        return status, found if status == 0 else None

    def on_set(self, event: Any) -> tuple[int, Dataset | None]:
        changes = event.modification_list
        performed = "UnifiedProcedureStepPerformedProcedureSequence" in changes
        uid = str(event.request.RequestedSOPInstanceUID)
        name = "performed" if performed else "progress"
        return self._answer(event, name, lambda: self.update(uid, changes)), None

    def on_action(self, event: Any) -> tuple[int, None]:
        uid = str(event.request.RequestedSOPInstanceUID)
        information = event.action_information
        caller = str(event.assoc.requestor.ae_title).strip()
        if event.action_type == 1:
            state = str(information.get("ProcedureStepState", ""))
            transaction = str(information.get("TransactionUID") or "")
            return self._answer(
                event,
                _STATES.get(state, "other"),
                lambda: self.change_state(uid, state, transaction),
            ), None
        receiver = str(information.get("ReceivingAE", ""))
        actions: dict[int, tuple[str, Callable[[], None]]] = {
            2: ("request cancel", lambda: self.request_cancel(uid, caller, information)),
            3: ("subscribe", lambda: self.subscribe(uid, receiver)),
            4: ("unsubscribe", lambda: self.unsubscribe(uid, receiver)),
        }
        if event.action_type not in actions:
            return 0x0123, None
        if event.action_type == 3 and receiver not in self.addresses:
            return 0xC308, None
        name, act = actions[event.action_type]
        return self._answer(event, name, act), None

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        found: list[Dataset] = []
        status = self._answer(event, "find", lambda: found.extend(self.search(event.identifier)))
        if status:
            yield status, None
            return
        answers = found if self.raw_find_answers is None else self.raw_find_answers
        while True:
            for ds in answers:
                if event.is_cancelled:
                    yield 0xFE00, None
                    return
                yield 0xFF00, ds
            if not self.endless_answers:
                break
        yield 0x0000, None

    def _answer(self, event: Any, name: str, act: Callable[[], None]) -> int:
        try:
            with self.operation(name) as is_done:
                if is_done:
                    act()
                time.sleep(self.seconds_before_answer)
        except RefusedError as refused:
            return refused.status
        except ConnectionEndsError:
            event.assoc.abort()
        return 0x0000


def send_event(
    host: str,
    port: int,
    receiver: str,
    uid: str,
    kind: int,
    event: Dataset,
    *,
    title: str = TITLE,
    with_role: bool = True,
) -> int | None:
    """Report an event as the SCP of UPS Event; return the status of the response."""
    ae = AE(ae_title=title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 10
    roles = [build_role(EVENT, scp_role=True)] if with_role else []
    association = ae.associate(
        host, port, contexts=[build_context(EVENT)], ae_title=receiver, ext_neg=list(roles)
    )
    if not association.is_established:
        return None
    status, _ = association.send_n_event_report(event, kind, PUSH, uid, meta_uid=EVENT)
    if association.is_established:
        association.release()
    return int(status.Status) if "Status" in status else None


@contextmanager
def running_manager(
    manager: DimseWorklist | None = None,
    port: int = 0,
    classes: tuple[str, ...] = (PUSH, PULL, WATCH),
) -> Iterator[DimseWorklist]:
    """Run a manager and yield it."""
    manager = manager or DimseWorklist()
    ae = AE(ae_title=TITLE)
    for uid in ("1.2.840.10008.1.1", *classes):
        ae.add_supported_context(uid, _SYNTAXES)
    handlers: list[Any] = [
        (evt.EVT_N_CREATE, manager.on_create),
        (evt.EVT_N_GET, manager.on_get),
        (evt.EVT_N_SET, manager.on_set),
        (evt.EVT_N_ACTION, manager.on_action),
        (evt.EVT_C_FIND, manager.on_find),
    ]
    # The polling of `start_server` costs half a second at the end.
    server: Any = ae.make_server(
        (HOST, port), evt_handlers=handlers, server_class=ThreadedAssociationServer
    )
    manager.port = server.server_address[1]
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield manager
    finally:
        socketserver.BaseServer.shutdown(server)
        server.server_close()
        manager.wait_for_events()
