"""Turns rows of the audit trail into the messages of PS3.15 A.5.3.

An event without a message in the standard becomes a Security Alert of this project's own type. A
message contains neither findings nor a patient's name. It contains the Patient ID, which A.5.3
demands when instances are transferred, accessed or deleted, only if the caller passes it. The last
object of each message is the row, by its hash: an archive of messages shows whether the trail was
altered later.
"""

import json
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from dicom_io import audit_codes as code
from dicom_io.audit_codes import AuditCode, private_code
from dicom_io.audit_message import (
    Action,
    AuditMessage,
    Outcome,
    Participant,
    ParticipantObject,
    hash_uri,
)
from dicom_io.query.services import FIND as STUDY_ROOT_FIND
from storage.audit.records import AuditHead, AuditKind, AuditOutcome, AuditRow, parse_subject
from storage.records import ReceiptOutcome

_SYSTEM, _PERSON = 2, 1
_PATIENT, _REPORT, _MASTER_FILE, _SECURITY_RESOURCE = 1, 3, 5, 13

_SERIOUS = {
    AuditKind.ROLE_FAILED,
    AuditKind.JOB_PARKED,
    AuditKind.INSTANCE_REFUSED,
    AuditKind.STUDY_HELD,
}
_RECEIVED: dict[str, Action] = {
    ReceiptOutcome.NEW: Action.CREATE,
    ReceiptOutcome.DUPLICATE: Action.READ,
    ReceiptOutcome.REVISION: Action.UPDATE,
    ReceiptOutcome.KEPT_AGAIN: Action.CREATE,
    ReceiptOutcome.RENEWED: Action.UPDATE,
}
_DESCRIPTION_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class _Event:
    """The part of a message that depends on the kind of row."""

    event: AuditCode
    action: Action
    participants: tuple[Participant, ...]
    types: tuple[AuditCode, ...] = ()
    objects: tuple[ParticipantObject, ...] = ()


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes messages from the point of view of this node."""

    ae_title: str
    host: str
    peers: Mapping[str, PeerConfig] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> "Reporter":
        """Return the reporter for a configuration on this machine."""
        peers = {peer.name: peer for peer in config.peers}
        return cls(config.listener.ae_title, socket.gethostname(), peers)

    @property
    def name(self) -> str:
        """The name of the audit source."""
        return f"{self.ae_title}@{self.host}"

    def message(self, row: AuditRow, patient_id: str = "") -> AuditMessage:
        """Return the message of an unaltered row."""
        event = self._event(row)
        return AuditMessage(
            event=event.event,
            types=(*event.types, private_code(row.kind)),
            action=event.action,
            at=datetime.fromisoformat(row.recorded_at),
            outcome=_outcome(row),
            description=_description(row),
            participants=event.participants,
            source_id=self.name,
            objects=(*event.objects, *_patient(event, patient_id), _row(row)),
        )

    def _event(self, row: AuditRow) -> _Event:
        names = parse_subject(row.subject)
        match row.kind:
            case AuditKind.APPLICATION_STARTED:
                return self._application(code.APPLICATION_START)
            case AuditKind.APPLICATION_STOPPED | AuditKind.ROLE_FAILED:
                return self._application(code.APPLICATION_STOP)
            case AuditKind.INSTANCE_RECEIVED | AuditKind.INSTANCE_REFUSED if "study" in names:
                return self._received(row)
            case AuditKind.OBJECT_DELIVERED | AuditKind.JOB_PARKED if {"study", "object"} <= (
                names.keys()
            ):
                return self._delivered(row)
            case AuditKind.INSTANCES_RETRIEVED if "study" in names:
                return self._retrieved(row)
            case (
                AuditKind.INSTANCE_ANALYSED
                | AuditKind.INSTANCE_NOT_ANALYSED
                | AuditKind.ANALYSIS_REQUESTED
                | AuditKind.COMMITMENT_RECEIVED
                | AuditKind.JOB_PARKED
                | AuditKind.WORKITEM_CLAIMED
                | AuditKind.WORKITEM_CANCEL_REQUESTED
                | AuditKind.WORKITEM_ENDED
                | AuditKind.STUDY_VIEWED
                | AuditKind.FILM_VIEWED
            ) if "study" in names:
                return self._accessed(row, Action.READ)
            case AuditKind.DELIVERY_REQUESTED if {"study", "destination"} <= names.keys():
                return self._transfer_begun(row, names["destination"])
            case AuditKind.STUDY_REPORTED if "study" in names:
                action = Action.CREATE if "object" in names else Action.READ
                return self._accessed(row, action)
            case (
                AuditKind.INSTANCES_REJECTED
                | AuditKind.PATIENT_CHANGED
                | AuditKind.STUDY_HELD
                | AuditKind.STUDY_RELEASED
                | AuditKind.REVIEWED
            ) if "study" in names:
                return self._accessed(row, Action.UPDATE)
            case AuditKind.PURGED if "study" in names:
                return _Event(
                    code.STUDY_DELETED, Action.DELETE, (self._worker(row),), objects=_study(row)
                )
            case AuditKind.ARCHIVE_QUERIED:
                return self._queried(row)
            case AuditKind.DATA_EXPORTED:
                return self._exported(row)
            case AuditKind.AUDIT_EXPORTED:
                return self._log_used(row)
            case AuditKind.LOGIN:
                person = Participant(row.actor, is_requestor=True, host=row.host or self.host)
                return _Event(
                    code.USER_AUTHENTICATION,
                    Action.EXECUTE,
                    (person, self._self(is_requestor=False)),
                    (code.LOGIN,),
                )
        return self._alert(row)

    def _uri(self, name: str) -> str:
        """Return a URI for this node's trail or configuration, which has no file of its own."""
        return uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.host}/cxrd/{name}").urn

    def _self(self, *, is_requestor: bool, roles: tuple[AuditCode, ...] = ()) -> Participant:
        return Participant(
            self.name, is_requestor, roles, ae_title=self.ae_title, name="cxrd", host=self.host
        )

    def _worker(self, row: AuditRow) -> Participant:
        """Return the process or the person that caused the event."""
        return Participant(row.actor or self.name, is_requestor=True, host=row.host or self.host)

    def _application(self, kind: AuditCode) -> _Event:
        own = self._self(is_requestor=False, roles=(code.APPLICATION,))
        return _Event(code.APPLICATION_ACTIVITY, Action.EXECUTE, (own,), (kind,))

    def _received(self, row: AuditRow) -> _Event:
        sender = Participant(
            row.actor, is_requestor=True, roles=(code.SOURCE,), ae_title=row.actor, host=row.host
        )
        own = self._self(is_requestor=False, roles=(code.DESTINATION,))
        receipt = row.detail.partition(",")[0]
        # A refused instance creates no object on this node.
        refused = row.kind != AuditKind.INSTANCE_RECEIVED
        action = Action.READ if refused else _RECEIVED.get(receipt, Action.READ)
        return _Event(code.INSTANCES_TRANSFERRED, action, (sender, own), objects=_study(row))

    def _delivered(self, row: AuditRow) -> _Event:
        peer = self.peers.get(row.actor)
        destination = Participant(
            row.actor,
            is_requestor=False,
            roles=(code.DESTINATION,),
            ae_title=peer.ae_title if peer else "",
            host=(peer.host or "") if peer else "",
        )
        own = self._self(is_requestor=True, roles=(code.SOURCE,))
        # R: only the receiver knows whether it held the object before (PS3.15 A.5.3.7).
        return _Event(
            code.INSTANCES_TRANSFERRED, Action.READ, (own, destination), objects=_study(row)
        )

    def _retrieved(self, row: AuditRow) -> _Event:
        """Name the client that fetched instances: it asked for the transfer (PS3.15 A.5.3.7)."""
        client = Participant(row.actor, is_requestor=True, roles=(code.DESTINATION,), host=row.host)
        own = self._self(is_requestor=False, roles=(code.SOURCE,))
        return _Event(code.INSTANCES_TRANSFERRED, Action.READ, (client, own), objects=_study(row))

    def _transfer_begun(self, row: AuditRow, destination: str) -> _Event:
        """Name the person who asked for the transfer besides its two ends (PS3.15 A.5.3.3)."""
        # A subject holds no white space.
        named = [peer for name, peer in self.peers.items() if "".join(name.split()) == destination]
        receiver = Participant(
            destination,
            is_requestor=False,
            roles=(code.DESTINATION,),
            ae_title=named[0].ae_title if named else "",
            host=(named[0].host or "") if named else "",
        )
        own = self._self(is_requestor=False, roles=(code.SOURCE,))
        return _Event(
            code.TRANSFER_BEGUN,
            Action.EXECUTE,
            (own, receiver, self._worker(row)),
            objects=_study(row),
        )

    def _accessed(self, row: AuditRow, action: Action) -> _Event:
        return _Event(code.INSTANCES_ACCESSED, action, (self._worker(row),), objects=_study(row))

    def _queried(self, row: AuditRow) -> _Event:
        """Name the keys of a query, not their values: these may be a patient's (A.5.3.10)."""
        name = parse_subject(row.subject).get("destination", "")
        archive = Participant(
            name or "unknown", is_requestor=False, roles=(code.DESTINATION,), ae_title=name
        )
        own = self._self(is_requestor=False, roles=(code.SOURCE,))
        query = ParticipantObject(
            STUDY_ROOT_FIND,
            code.SOP_CLASS_UID,
            "",
            _SYSTEM,
            _REPORT,
            query=row.detail or "no keys",
        )
        return _Event(
            code.QUERY, Action.EXECUTE, (self._worker(row), own, archive), objects=(query,)
        )

    def _exported(self, row: AuditRow) -> _Event:
        person = Participant(row.actor, is_requestor=True, roles=(code.SOURCE,), host=self.host)
        media = Participant(
            row.detail,
            is_requestor=False,
            roles=(code.DESTINATION_MEDIA,),
            media_type=code.MEDIA_URI,
        )
        return _Event(code.EXPORT, Action.READ, (person, media))

    def _log_used(self, row: AuditRow) -> _Event:
        log = ParticipantObject(
            self._uri("audit"),
            code.URI,
            "Security Audit Log",
            _SYSTEM,
            _SECURITY_RESOURCE,
        )
        return _Event(code.AUDIT_LOG_USED, Action.READ, (self._worker(row),), objects=(log,))

    def _alert(self, row: AuditRow) -> _Event:
        own = self._self(is_requestor=False)
        other = Participant(row.actor, is_requestor=False, host=row.host)
        types: tuple[AuditCode, ...] = ()
        objects: tuple[ParticipantObject, ...] = ()
        match row.kind:
            case AuditKind.ASSOCIATION_ACCEPTED | AuditKind.ASSOCIATION_REFUSED:
                types = (code.NODE_AUTHENTICATION,)
                other = Participant(
                    row.actor, is_requestor=False, ae_title=row.actor, host=row.host
                )
                if row.host:
                    objects = (ParticipantObject(row.host, code.NODE_ID, row.actor, _SYSTEM),)
            case AuditKind.CONFIGURATION_CHANGED:
                types = (code.SOFTWARE_CONFIGURATION,)
                uri = self._uri("configuration")
                objects = (ParticipantObject(uri, code.URI, row.subject, _SYSTEM, _MASTER_FILE),)
            case (
                AuditKind.JOB_RETRIED
                | AuditKind.JOB_DISCARDED
                | AuditKind.JOB_PRIORITY_CHANGED
                | AuditKind.RETRIEVAL_ORDERED
                | AuditKind.RETRIEVAL_STOPPED
            ):
                types = (code.USE_OF_RESTRICTED_FUNCTION,)
        return _Event(
            code.SECURITY_ALERT,
            Action.EXECUTE,
            (own, other) if row.actor else (own,),
            types,
            objects,
        )


def _outcome(row: AuditRow) -> Outcome:
    if row.outcome == AuditOutcome.SUCCESS:
        return Outcome.SUCCESS
    return Outcome.SERIOUS_FAILURE if row.kind in _SERIOUS else Outcome.MINOR_FAILURE


def _description(row: AuditRow) -> str:
    """Return the detail of a row, without findings and configuration values."""
    match row.kind:
        case AuditKind.INSTANCE_ANALYSED:
            return ""
        case AuditKind.CONFIGURATION_CHANGED:
            return f"changed: {', '.join(_changed_keys(row.detail)) or 'recorded first'}"
    return row.detail[:_DESCRIPTION_LENGTH]


def _changed_keys(detail: str) -> list[str]:
    try:
        return sorted(json.loads(detail)["changed"])
    except (ValueError, KeyError, TypeError):
        return ["not readable"]


def _study(row: AuditRow) -> tuple[ParticipantObject, ...]:
    names = parse_subject(row.subject)
    study = ParticipantObject(
        names["study"],
        code.STUDY_UID,
        "study",
        _SYSTEM,
        _REPORT,
        sop_class_uid=names.get("sop_class", ""),
        sop_instance_uid=names.get("instance") or names.get("object", ""),
    )
    return (study,)


def _patient(event: _Event, patient_id: str) -> tuple[ParticipantObject, ...]:
    if not patient_id or not any(item.id_type == code.STUDY_UID for item in event.objects):
        return ()
    return (ParticipantObject(patient_id, code.PATIENT_NUMBER, "not given", _PERSON, _PATIENT),)


def _row(row: AuditRow) -> ParticipantObject:
    head = AuditHead(row.number, row.hash)
    return ParticipantObject(hash_uri(row.hash), code.URI, str(head), _SYSTEM, _SECURITY_RESOURCE)
