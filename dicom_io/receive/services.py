"""The services besides Storage that a node offers: storage commitment and workitems.

Both use N-ACTION and N-EVENT-REPORT, for which an association has one handler.
"""

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pynetdicom import evt

from dicom_io.commitment.messages import COMMITMENT_CLASS, MessageStatus, status_response
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.ups.classes import UPS_EVENT, UPS_PUSH
from dicom_io.ups.scp.handlers import WorkitemHandlers


@dataclass(frozen=True, slots=True)
class Services:
    """The handlers of each service, None for a service that is not offered."""

    commitment: CommitmentHandlers | None = None
    workitems: WorkitemHandlers | None = None

    @property
    def events(self) -> tuple[str, ...]:
        """The SOP classes of which a caller may be the SCP."""
        found = (COMMITMENT_CLASS,) if self.commitment else ()
        return (*found, UPS_EVENT) if self.workitems else found

    @property
    def others(self) -> tuple[str, ...]:
        """The SOP classes of which a caller is the SCU alone."""
        offered = self.workitems.sop_classes if self.workitems else ()
        return tuple(uid for uid in offered if uid != UPS_EVENT)

    def bindings(self) -> list[tuple[Any, ...]]:
        """Return the event handlers of an acceptor."""
        if self.commitment is None and self.workitems is None:
            return []
        return [
            (evt.EVT_N_ACTION, self._on_action),
            (evt.EVT_N_EVENT_REPORT, self._on_event_report),
            *(self.workitems.bindings() if self.workitems else ()),
        ]

    def _on_action(self, event: evt.Event) -> tuple[Dataset, None]:
        message: Any = event.request
        handlers = self._of(str(message.RequestedSOPClassUID))
        return handlers.on_action(event) if handlers else _not_offered()

    def _on_event_report(self, event: evt.Event) -> tuple[Dataset, None]:
        message: Any = event.request
        handlers = self._of(str(message.AffectedSOPClassUID))
        return handlers.on_event_report(event) if handlers else _not_offered()

    def _of(self, sop_class_uid: str) -> CommitmentHandlers | WorkitemHandlers | None:
        return self.workitems if sop_class_uid == UPS_PUSH else self.commitment


def _not_offered() -> tuple[Dataset, None]:
    return status_response(MessageStatus.NO_SUCH_CLASS, "the service is not offered"), None
