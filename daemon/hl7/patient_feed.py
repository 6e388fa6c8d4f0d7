"""The use of received messages: patients are changed, then the message is acknowledged.

A message is acknowledged as accepted only when its change is committed. A message that cannot be
kept now gets no answer and the connection is closed: the sender repeats it.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from daemon.config.partners.hl7 import Hl7SenderConfig
from daemon.errors import Hl7Error
from daemon.hl7 import charsets
from daemon.hl7.acknowledgement import Code, Fault, acknowledgement
from daemon.hl7.adt import MessageRefusedError, Origin, patient_change
from daemon.hl7.grammar import Message, Segment
from daemon.hl7.server import Answer, MllpCaller, Refused
from dicom_io.peer.peers import is_same_host
from storage.errors import NoPatientError, PatientMessageError, StorageError
from storage.patients.records import Applied, ChangeOutcome, PatientChange

log = logging.getLogger("hl7")

PRODUCTION = "P"
_CLOSED = Answer(None, closes=True)
_IGNORED = "this event has no effect here"
_OUTCOMES = {
    ChangeOutcome.APPLIED: "applied",
    ChangeOutcome.UNCHANGED: "no film changed",
    ChangeOutcome.UNKNOWN_PATIENT: "no film of this patient yet",
    ChangeOutcome.REPEATED: "applied before",
}


class Patients(Protocol):
    """The part of the store that changes patients (`store.patients`)."""

    def apply(self, change: PatientChange) -> Applied:
        """Commit a change, once for each sender and control ID. Raises StorageError."""


class RefusalAudit(Protocol):
    """Records what was not accepted. Both return at once."""

    def connection(self, reason: str, host: str) -> None:
        """Record a closed connection."""

    def message(self, reason: str, sender: str, host: str) -> None:
        """Record a message that was answered with an error."""


class PatientFeed:
    """Answers the messages of the configured senders. The `Handler` of an `MllpServer`."""

    def __init__(
        self,
        senders: tuple[Hl7SenderConfig, ...],
        patients: Patients,
        audit: RefusalAudit,
        on_change: Callable[[Applied], object],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`on_change` is called after a change that was committed."""
        self._senders = senders
        self._patients = patients
        self._audit = audit
        self._on_change = on_change
        self._clock = clock

    def admits_host(self, host: str) -> bool:
        """Return True if the host is one of a sender."""
        return any(_has_host(sender, host) for sender in self._senders)

    def admits(self, caller: MllpCaller) -> bool:
        """Return True if host and certificate are those of a sender."""
        return any(_may_use(sender, caller) for sender in self._senders)

    def refused(self, reason: Refused, host: str) -> None:
        """Log and record a connection that was closed."""
        log.warning("HL7 connection from %s is closed: %s", host, reason)
        self._audit.connection(reason, host)

    def answer(self, message: bytes, caller: MllpCaller) -> Answer:
        """Return the acknowledgement of a message, after its change is committed."""
        try:
            read = Message.parsed(charsets.decoded(message, self._charset_of(caller)))
        except Hl7Error as error:
            fault = Fault("100", str(error), "MSH", 0)
            return self._refuse(_header_alone(message), Code.AR, fault, caller)
        try:
            sender = self._sender_of(read.header, caller)
            _check_header(read.header)
            origin = Origin(sender.name, caller.host, sender.sources, sender.issuer_of_films)
            change = patient_change(read, message, origin)
        except MessageRefusedError as refused:
            return self._refuse(read, refused.code, refused.fault, caller)
        if change is None:
            log.info("%s: an event %s has no effect", sender.name, _known(read.header.value(9, 2)))
            return self._accept(read, _IGNORED)
        try:
            applied = self._patients.apply(change)
        except NoPatientError:
            fault = Fault("204", "a Patient ID stands for an unknown patient", "PID", 3)
            return self._refuse(read, Code.AE, fault, caller)
        except PatientMessageError:
            fault = Fault("205", "MSH-10 was that of another message", "MSH", 10)
            return self._refuse(read, Code.AE, fault, caller)
        except StorageError as error:
            log.error(
                "%s: an HL7 message is not answered, so that it comes again: %s", sender.name, error
            )
            return _CLOSED
        log.info(
            "%s: %s %s, %d film(s) in %d study(ies)",
            sender.name,
            change.event,
            _OUTCOMES[applied.outcome],
            applied.films,
            applied.studies,
        )
        if applied.outcome is ChangeOutcome.APPLIED:
            self._on_change(applied)
        return self._accept(read, _OUTCOMES[applied.outcome])

    def _charset_of(self, caller: MllpCaller) -> str:
        """Return the character set of the sender's messages that name none."""
        return next((one.charset or "" for one in self._senders if _may_use(one, caller)), "")

    def _sender_of(self, header: Segment, caller: MllpCaller) -> Hl7SenderConfig:
        for sender in self._senders:
            if (
                _may_use(sender, caller)
                and sender.sending_application in (None, header.value(3))
                and sender.sending_facility in (None, header.value(4))
            ):
                return sender
        raise MessageRefusedError(
            Fault("204", "MSH-3 and MSH-4 are not those of a sender of this host", "MSH", 3),
            Code.AR,
        )

    def _accept(self, read: Message, said: str) -> Answer:
        return self._answered(read, Code.AA, None, said)

    def _refuse(self, read: Message | None, code: Code, fault: Fault, caller: MllpCaller) -> Answer:
        place = f" at {fault.segment}" + (f"-{fault.field}" if fault.field else "")
        reason = f"{code} {fault.condition}{place if fault.segment else ''}: {fault.text}"
        names = [one.name for one in self._senders if _may_use(one, caller)]
        name = names[0] if len(names) == 1 else ""
        log.warning("an HL7 message from %s is refused: %s", caller.host, reason)
        self._audit.message(reason, name, caller.host)
        return self._answered(read, code, fault)

    def _answered(
        self, read: Message | None, code: Code, fault: Fault | None, said: str = ""
    ) -> Answer:
        """Return the ACK in the mode that the message asks for (MSH-15, MSH-16; 2.9.3).

        In enhanced mode the accept acknowledgement tells the outcome, because it is sent after the
        commit; an application acknowledgement follows only if no accept acknowledgement is wanted.
        """
        accept = read.header.value(15) if read is not None else ""
        application = read.header.value(16) if read is not None else ""
        wanted = application
        if accept not in ("", "NE"):
            wanted = accept
            code = {Code.AA: Code.CA, Code.AE: Code.CE, Code.AR: Code.CR}[code]
        elif accept == "NE" and not application:
            wanted = "NE"
        if wanted == "NE" or wanted == ("ER" if code.accepts else "SU"):
            return Answer(None)
        return Answer(acknowledgement(read, code, self._clock(), fault, said))


def _check_header(header: Segment) -> None:
    """Check message type, processing ID and version; MessageRefusedError with AR (2.9.2.2)."""
    if header.value(9) != "ADT":
        fault = Fault("200", "this node reads ADT messages only", "MSH", 9)
    elif header.value(11) != PRODUCTION:
        fault = Fault("202", "MSH-11 is not P: a test message changes no patient", "MSH", 11)
    elif not header.value(12).startswith("2."):
        fault = Fault("203", "MSH-12 is no version 2 of HL7", "MSH", 12)
    else:
        return
    raise MessageRefusedError(fault, Code.AR)


def _has_host(sender: Hl7SenderConfig, host: str) -> bool:
    return any(is_same_host(one, host) for one in sender.hosts)


def _may_use(sender: Hl7SenderConfig, caller: MllpCaller) -> bool:
    pins = sender.certificate_sha256
    return _has_host(sender, caller.host) and (not pins or caller.certificate in pins)


def _known(event: str) -> str:
    """Return the name of an event for the log; a value that is none is not repeated."""
    return event if len(event) == 3 and event[0] == "A" and event[1:].isdecimal() else "of ADT"


def _header_alone(message: bytes) -> Message | None:
    """Return the MSH segment of a message whose text cannot be read, to answer it; None without."""
    first = message.lstrip(b"\r\n").partition(b"\r")[0]
    try:
        return Message.parsed(first.decode("ascii", "replace"))
    except Hl7Error:
        return None
