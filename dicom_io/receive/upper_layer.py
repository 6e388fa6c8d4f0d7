"""The DICOM upper layer of an accepted connection (PS3.8), with limits on size and time.

pynetdicom's own upper layer reads a PDU of any declared length into memory, several times over, and
waits without a timeout for the rest of it. A malformed PDU raises an exception that ends the thread
and leaves the socket open. Event handlers cannot prevent either. This upper layer copies a PDU in
pieces from the socket into the message that it belongs to. A fault of the peer ends in an A-ABORT,
one reported reason and a closed socket.
"""

import contextlib
import logging
import queue
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import cast

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE, StateMachine
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.receive.association_request import AssociationRequest, checked_request
from dicom_io.receive.limits import (
    MAX_COMMAND_BYTES,
    MAX_CONTROL_BYTES,
    MAX_REQUEST_BYTES,
    AbortReason,
    LimitError,
    Limits,
    MemoryBudget,
    ReceivedData,
    message_timer,
    request_timer,
)
from dicom_io.receive.message_checks import CommandError, checked_command_set

log = logging.getLogger(__name__)

_ASSOCIATE_RQ, _P_DATA = 0x01, 0x04
_CONTROL_PDUS = {
    0x05: (A_RELEASE_RQ, "Evt12"),
    0x06: (A_RELEASE_RP, "Evt13"),
    0x07: (A_ABORT_RQ, "Evt16"),
}
_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_IS_COMMAND, _IS_LAST = 0x01, 0x02

_PIECE_BYTES = 256 << 10

_SOCKET_TIMEOUT_SECONDS = 0.25
"""Timeout of one read or write, so that a thread notices in time that it has to stop."""
_POLL_SECONDS = 0.02
_QUICK_ACKNOWLEDGEMENT: int | None = getattr(socket, "TCP_QUICKACK", None)
"""The option of Linux; other systems have none."""
_LINGER_SECONDS = 0.25
"""Silence after which this side closes, if the peer does not after an A-ABORT or A-ASSOCIATE-RJ."""
_MAX_PENDING = 4
"""Requests read before the first is answered; reading pauses at this number."""


class ConnectionGoneError(Exception):
    """The peer closed the connection, or this side is stopping."""


class _ReadingStoppedError(Exception):
    """This side is about to abort and reads no further."""


class BoundedSocket(AssociationSocket):
    """The socket of an accepted connection; each read and write has a timeout."""

    def __init__(
        self, association: Association, connection: socket.socket, stall_seconds: float
    ) -> None:
        super().__init__(association, client_socket=connection)
        connection.settimeout(_SOCKET_TIMEOUT_SECONDS)
        self._connection = connection
        self._stall_seconds = stall_seconds

    def is_readable(self, seconds: float = 0.0) -> bool:
        """Return True as soon as data or the end of the stream can be read within `seconds`."""
        if not self._is_connected:
            return False
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        poll = select.poll()
        try:
            poll.register(self._connection, select.POLLIN)
        except ValueError:
            # Another thread has just closed the socket: the next read raises.
            return True
        return bool(poll.poll(seconds * 1000))

    def read_into(self, view: memoryview) -> int:
        """Read the bytes that have arrived, at most len(view). Returns 0 after a timeout.

        Raises ConnectionGoneError.
        """
        try:
            count = self._connection.recv_into(view)
            # A sender that holds back a small packet (Nagle's algorithm, as in dcmtk) would wait up
            # to 40 ms for a delayed acknowledgement, at each object. The option does not stay set.
            if _QUICK_ACKNOWLEDGEMENT is not None:
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
        except (TimeoutError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise ConnectionGoneError from error
        if not count:
            raise ConnectionGoneError
        return count

    def send(self, bytestream: bytes) -> None:
        """Send all bytes; report a closed connection if that takes longer than `stall_seconds`."""
        left = memoryview(bytestream)
        deadline = time.monotonic() + self._stall_seconds
        while left:
            try:
                left = left[self._connection.send(left) :]
            except (TimeoutError, ssl.SSLWantWriteError):
                if time.monotonic() < deadline:
                    continue
                self.event_queue.put("Evt17")
                return
            except OSError:
                self.event_queue.put("Evt17")
                return

    def close(self) -> None:
        """Close the connection and queue the event for it."""
        if self._is_connected:
            self._shutdown_socket()
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        """Close the socket even if the peer has closed its side, so that a shutdown fails."""
        self._is_connected = False
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._connection.close()


class TolerantStateMachine(StateMachine):
    """pynetdicom's states and actions; a late event or a failed action raises no exception."""

    dul: "UpperLayer"

    def do_action(self, event: str) -> None:
        """Perform the action of an event in the current state (PS3.8 table 9-10)."""
        action = TRANSITION_TABLE.get((event, self.current_state))
        if action is None:
            self._ignore(event)
            return
        if (event, self.current_state) == ("Evt18", "Sta2"):
            self.dul.report_abort(AbortReason.NO_REQUEST)
        try:
            with suppressed_warnings() if event == "Evt6" else contextlib.nullcontext():
                self.transition(ACTIONS[action][1](self.dul))
        except Exception as error:  # noqa: BLE001 - a peer's bytes can make pynetdicom raise any
            log.debug("action %s failed: %s", action, type(error).__name__)
            self.dul.abort(AbortReason.MALFORMED)

    def _ignore(self, event: str) -> None:
        """Drop an event that comes too late, such as a response on an aborted association."""
        if event == "Evt18":
            # pynetdicom's timer stays expired if it is stopped late: start it once more.
            self.dul.artim_timer.start()
            self.dul.artim_timer.stop()
        elif event in ("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15"):
            with contextlib.suppress(queue.Empty):
                self.dul.to_provider_queue.get_nowait()


class UpperLayer(DULServiceProvider):
    """The thread that reads and writes one connection.

    `requests_in_service` returns the number of requests that the association is answering.
    `on_abort` is called once, with the first reason for which the association ends and its detail.
    `request` is the association request; None before it has arrived.
    """

    socket: BoundedSocket

    def __init__(
        self,
        association: Association,
        limits: Limits,
        budget: MemoryBudget,
        on_abort: Callable[[AbortReason, str], None],
        requests_in_service: Callable[[], int],
    ) -> None:
        super().__init__(association)
        self.daemon = True
        self.state_machine = TolerantStateMachine(self)
        self.request: AssociationRequest | None = None
        self._limits = limits
        self._budget = budget
        self._on_abort = on_abort
        self._requests_in_service = requests_in_service
        self._timer = request_timer(limits)
        self._command = bytearray()
        self._command_context = 0
        self._header = memoryview(bytearray(_PDU_HEADER.size))
        self._is_reported = self._is_aborting = self._is_reading_stopped = False
        self._deadline: float | None = None

    def abort(self, reason: AbortReason, detail: str = "") -> None:
        """End the association: send an A-ABORT, or close the connection if one was sent before."""
        self.report_abort(reason, detail)
        if self._is_aborting:
            self.socket.close()
            self.kill_dul()
            return
        self._is_aborting = True
        self.event_queue.put("Evt19")

    def end_after(self, seconds: float) -> None:
        """Abort the association after this time, whatever the peer sends until then."""
        self._deadline = time.monotonic() + seconds

    def stop_reading(self) -> None:
        """Leave an unfinished message unread: the caller is about to abort the association."""
        self._is_reading_stopped = True

    def report_abort(self, reason: AbortReason, detail: str = "") -> None:
        """Report the reason for the end of the association, unless one was reported before."""
        if not self._is_reported:
            self._is_reported = True
            self._on_abort(reason, detail)

    def run_reactor(self) -> None:
        """Read and write until the connection has ended, then free its memory and its socket."""
        self._timer.restart()
        try:
            super().run_reactor()
        finally:
            self.socket._shutdown_socket()
            message = self.assoc.dimse.message
            if message is not None and isinstance(message.data_set, ReceivedData):
                message.data_set.release()
            if self.assoc.requestor.primitive is None:
                # The association's thread may still wait for a request: wake it.
                cast("queue.Queue[object]", self.to_user_queue).put(None)

    def idle_timer_expired(self) -> bool:
        """Return False: this thread, not the association's, ends an idle association."""
        return False

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta1":
            # The connection is not yet open, or is closed.
            return False
        if self.state_machine.current_state == "Sta13":
            return self._drain()
        if not self._is_aborting and self._is_overdue:
            self.abort(AbortReason.ECHO_TIME)
            return True
        is_serving = self._requests_in_service() > 0 or not self.assoc.dimse.msg_queue.empty()
        if is_serving:
            self._idle_timer.restart()
        if self._has_enough_requests():
            self._timer.restart_window()
            return False
        # Without a request to answer, this thread need not poll a thousand times a second.
        is_idle = self.state_machine.current_state == "Sta6" and not is_serving
        if self.socket.is_readable(_POLL_SECONDS if is_idle else 0):
            self._read_pdus()
            return True
        self._check_timeouts()
        return False

    def _drain(self) -> bool:
        """Drop the bytes that still arrive until the peer closes or is silent, then close.

        Closing while bytes arrive would reset the connection (RFC 1122, 4.2.2.13), and a peer that
        is still sending would receive the reset instead of the A-ABORT.
        """
        try:
            if self.socket.is_readable(_LINGER_SECONDS) and self.socket.read_into(
                memoryview(bytearray(_PIECE_BYTES))
            ):
                return True
        except ConnectionGoneError:
            pass
        self.socket.close()
        return True

    def _has_enough_requests(self) -> bool:
        waiting = self.assoc.dimse.msg_queue.qsize()
        return waiting + self._requests_in_service() >= _MAX_PENDING

    def _check_timeouts(self) -> None:
        if self._is_aborting:
            return
        if self._is_in_message:
            try:
                self._timer.check()
            except LimitError as error:
                self.abort(error.reason, error.detail)
        elif self.state_machine.current_state == "Sta6" and self._idle_timer.expired:
            self.abort(AbortReason.IDLE)

    @property
    def _is_overdue(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    @property
    def _is_in_message(self) -> bool:
        return bool(self._command) or self.assoc.dimse.message is not None

    @property
    def _may_read_on(self) -> bool:
        """Return True if a message is unfinished and no other work waits."""
        queues = (self.to_provider_queue, self.event_queue)
        return self._is_in_message and all(waiting.empty() for waiting in queues)

    def _read_pdus(self) -> None:
        """Read PDUs until other work waits."""
        try:
            self._read_pdu()
            while self._may_read_on and self.socket.is_readable(_POLL_SECONDS):
                self._read_pdu()
        except ConnectionGoneError:
            self.event_queue.put("Evt17")
        except _ReadingStoppedError:
            log.debug("an unfinished message is left unread")
        except LimitError as error:
            self.abort(error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - a peer's bytes can make pynetdicom raise any
            log.debug("a PDU cannot be read: %s", type(error).__name__)
            self.abort(AbortReason.MALFORMED)

    def _read_pdu(self) -> None:
        state = self.state_machine.current_state
        if state == "Sta6" and not self._is_in_message:
            self._timer.restart()
        self._fill(self._header)
        kind, length = _PDU_HEADER.unpack(self._header)
        if kind == _P_DATA and state == "Sta6":
            self._read_data(length)
        elif kind == _ASSOCIATE_RQ and state == "Sta2":
            self._read_request(length)
        elif kind in _CONTROL_PDUS:
            self._read_control(kind, length)
        else:
            reason = AbortReason.NOT_DICOM if state == "Sta2" else AbortReason.MALFORMED
            raise LimitError(reason, f"PDU type 0x{kind:02X}")

    def _read_request(self, length: int) -> None:
        if length > MAX_REQUEST_BYTES:
            raise LimitError(AbortReason.TOO_LARGE, f"A-ASSOCIATE-RQ of {length} bytes")
        pdu, request = A_ASSOCIATE_RQ(), checked_request(self._read(length))
        # pynetdicom would reject another version by itself, and the rejection would not be
        # reported: the reduced request has version 1.
        with suppressed_warnings():
            pdu.decode(bytes(self._header) + request.body)
        self.request = request
        self._timer = message_timer(self._limits)
        self._recv_pdu.put(pdu)
        self.event_queue.put("Evt6")

    def _read_control(self, kind: int, length: int) -> None:
        if length > MAX_CONTROL_BYTES:
            raise LimitError(AbortReason.TOO_LARGE, f"PDU type 0x{kind:02X} of {length} bytes")
        make, event = _CONTROL_PDUS[kind]
        pdu = make()
        pdu.decode(bytes(self._header) + self._read(length))
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _read_data(self, left: int) -> None:
        """Read a P-DATA-TF: data values, each a fragment of a message (PS3.8 9.3.5)."""
        if left > self._limits.max_drained_bytes:
            raise LimitError(AbortReason.TOO_LARGE, f"P-DATA-TF of {left} bytes")
        accepted = {context.context_id for context in self.assoc.accepted_contexts}
        while left > 0:
            length, context, control = _PDV_HEADER.unpack(self._read(_PDV_HEADER.size))
            if not 2 <= length <= left - 4:
                raise LimitError(AbortReason.MALFORMED, f"P-DATA-TF: a fragment of {length} bytes")
            if context not in accepted:
                detail = f"P-DATA-TF: presentation context {context} is not accepted"
                raise LimitError(AbortReason.MALFORMED, detail)
            if control & _IS_COMMAND:
                self._read_command(context, length - 2, is_last=bool(control & _IS_LAST))
            else:
                self._read_data_set(context, length - 2, is_last=bool(control & _IS_LAST))
            left -= 4 + length

    def _read_command(self, context: int, length: int, *, is_last: bool) -> None:
        if self.assoc.dimse.message is not None:
            raise LimitError(AbortReason.MALFORMED, "a command where a data set is due")
        if self._command and context != self._command_context:
            raise LimitError(AbortReason.MALFORMED, "a command in two presentation contexts")
        if len(self._command) + length > MAX_COMMAND_BYTES:
            raise LimitError(AbortReason.TOO_LARGE, "command set")
        self._command += self._read(length)
        self._command_context = context
        if is_last:
            received, self._command = bytes(self._command), bytearray()
            try:
                command = checked_command_set(received)
            except CommandError as error:
                raise LimitError(AbortReason.MALFORMED, f"command set: {error}") from error
            self._deliver(context, _IS_COMMAND | _IS_LAST, command.data)
            message = self.assoc.dimse.message
            if message is not None:
                data = ReceivedData(self._limits, self._budget, command.store_fault)
                message.data_set = data

    def _read_data_set(self, context: int, length: int, *, is_last: bool) -> None:
        message = self.assoc.dimse.message
        if message is None or message.context_id != context:
            raise LimitError(AbortReason.MALFORMED, "a data set where a command is due")
        data = cast(ReceivedData, message.data_set)
        piece = memoryview(bytearray(min(length, _PIECE_BYTES)))
        while length:
            part = piece[: min(length, _PIECE_BYTES)]
            self._fill(part)
            data.write(part)
            length -= len(part)
        if is_last:
            self._deliver(context, _IS_LAST, b"")

    def _deliver(self, context: int, control: int, fragment: bytes) -> None:
        """Pass the last fragment of a command or data set to the DIMSE provider."""
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context, bytes([control]) + fragment))
        with suppressed_warnings():
            self.assoc.dimse.receive_primitive(primitive)

    def _read(self, count: int) -> bytes:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def _fill(self, view: memoryview) -> None:
        while view:
            self._timer.check()
            if self._is_overdue:
                raise LimitError(AbortReason.ECHO_TIME)
            if self._kill_thread:
                raise ConnectionGoneError
            if self._is_reading_stopped:
                raise _ReadingStoppedError
            count = self.socket.read_into(view)
            self._timer.count(count)
            view = view[count:]
