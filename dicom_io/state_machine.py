"""The states of the upper layer (PS3.8 9.2), deaf to what comes too late or cannot be acted on."""

import contextlib
import logging
import queue
from typing import TYPE_CHECKING

from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE, StateMachine

from dicom_io.limits import AbortReason
from dicom_io.quiet import quietly

if TYPE_CHECKING:
    from dicom_io.upper_layer import UpperLayer

log = logging.getLogger(__name__)


class Machine(StateMachine):
    """pynetdicom's states and actions, without exceptions for what a race or a peer can cause."""

    dul: "UpperLayer"

    def do_action(self, event: str) -> None:
        action = TRANSITION_TABLE.get((event, self.current_state))
        if action is None:
            self._ignore(event)
            return
        if (event, self.current_state) == ("Evt18", "Sta2"):
            self.dul.report(AbortReason.NO_REQUEST)
        try:
            with quietly() if event == "Evt6" else contextlib.nullcontext():
                self.transition(ACTIONS[action][1](self.dul))
        except Exception as error:  # noqa: BLE001 - whatever a peer's bytes make pynetdicom raise
            log.debug("action %s failed: %r", action, error)
            self.dul.refuse(AbortReason.MALFORMED)

    def _ignore(self, event: str) -> None:
        """What comes too late, such as an answer on an association that has just been ended."""
        if event == "Evt18":
            # Restarted, as pynetdicom's timer stays expired if it is stopped after it has expired.
            self.dul.artim_timer.start()
            self.dul.artim_timer.stop()
        elif event in ("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"):
            try:
                self.dul.to_provider_queue.get_nowait()
            except queue.Empty:
                return
