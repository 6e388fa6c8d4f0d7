"""Events that managers report about their workitems (PS3.4 CC.2.4; RAD-87)."""

import logging

from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.settings import Config
from daemon.worker.bell import Bell, BellName
from daemon.worklist.pushed import Shelf, requesters
from dicom_io.commitment.messages import MessageStatus
from dicom_io.peer.peers import Caller, Peer
from dicom_io.ups.scp.handlers import WorkitemHandlers
from dicom_io.ups.workitems import EventKind, StepState, WorkitemEvent
from storage.errors import StorageError
from storage.store import Store

log = logging.getLogger("worklist")


def managers_that_call(config: Config) -> tuple[Peer, ...]:
    """Return the managers that may report events, and the peers that may create workitems."""
    managers = (_peer(one) for one in config.worklists if one.subscribe and one.ae_title)
    return (*managers, *requesters(config))


def _peer(worklist: WorklistConfig) -> Peer:
    return Peer(worklist.ae_title or "", worklist.host, sends=False, tls=worklist.tls)


class Events:
    """Takes the events of all managers, and wakes the work that they ask for."""

    def __init__(self, config: Config, store: Store) -> None:
        self._store = store
        self._bell = Bell.of(config, BellName.COURIER, store)
        self._shelf = Shelf(config, store) if requesters(config) else None
        self._managers = [
            (_peer(one), one.name)
            for one in config.worklists
            if one.kind is WorklistKind.DIMSE and one.subscribe
        ]

    @property
    def handlers(self) -> WorkitemHandlers | None:
        """The handlers of the listener; None if no manager and no requester may call."""
        if not self._managers and self._shelf is None:
            return None
        return WorkitemHandlers(self._answer, self._shelf)

    def _answer(self, event: WorkitemEvent, caller: Caller) -> MessageStatus:
        try:
            return (
                MessageStatus.SUCCESS if self.take(event, caller) else MessageStatus.NOT_AUTHORISED
            )
        except StorageError as error:
            log.error("an event of %s about a workitem is refused: %s", caller.ae_title, error)
            return MessageStatus.RESOURCE_LIMITATION

    def take(self, event: WorkitemEvent, caller: Caller) -> bool:
        """Take an event; return False if it is not of a manager of this node. Raises StorageError.

        An event says too little to act on it: it only ends a wait. The manager is asked then.
        """
        names = [name for peer, name in self._managers if peer.matches(caller)]
        workitems = self._store.workitems
        for name in names:
            if event.kind is EventKind.CANCEL_REQUESTED:
                if workitems.request_cancel(name, event.uid, host=caller.address):
                    log.warning("%s asks to cancel a workitem", name)
            elif not workitems.wake(name, event.uid) and _may_be_new(event):
                workitems.want_turn(name)
        if names:
            self._bell.ring()
        return bool(names)


def _may_be_new(event: WorkitemEvent) -> bool:
    """Return True if an event of an unknown workitem may mean that there is work to find."""
    if event.kind is EventKind.STATE_REPORT:
        return event.state is StepState.SCHEDULED
    return event.kind is EventKind.ASSIGNED
