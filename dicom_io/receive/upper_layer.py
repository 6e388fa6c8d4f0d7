"""The DICOM upper layer of an accepted connection (PS3.8), within limits of size and time.

pynetdicom's own reads a PDU of any declared length into memory, several times over, and waits for
the rest of it without end; what a peer sends wrong surfaces as an exception that ends its thread
and leaves the socket open. None of that can be bounded from its event handlers. Here a PDU is
taken off the socket piece by piece straight into the message it belongs to, and whatever a peer
does ends in an A-ABORT, one reason and a closed socket.
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

from dicom_io.read.warnings_off import quietly
from dicom_io.receive import limits as limit
from dicom_io.receive.limits import AbortReason, LimitError, Limits, MemoryBudget, ReceivedData
from dicom_io.receive.message_checks import CommandError, check_items, checked

_WAKE_SECONDS = 0.25
"""How often a thread that waits for a peer looks whether it shall end."""


class ServedAssociation(Association):
    """The parts of an accepted association that its upper layer and its connection use."""

    dul: "UpperLayer"
    being_served: int
    """Number of requests of the peer that are being answered."""

    @property
    def is_busy(self) -> bool:
        """Return True while a request of the peer is being answered."""
        return self.being_served > 0

    def has_asked(self) -> None:
        """Record that the association request was read completely."""
        raise NotImplementedError


class ConnectionGoneError(Exception):
    """The peer closed the connection, or this side is stopping."""


class Wire(AssociationSocket):
    """The socket of an accepted connection; it never waits for its peer without end."""

    def __init__(
        self, association: ServedAssociation, connection: socket.socket, stall_seconds: float
    ) -> None:
        super().__init__(association, client_socket=connection)
        connection.settimeout(_WAKE_SECONDS)
        self._connection = connection
        self._stall_seconds = stall_seconds

    @property
    def ready(self) -> bool:
        """Whether there is something to read, or the end of it."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds`."""
        if not self._is_connected:
            return False
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        poll = select.poll()
        try:
            poll.register(self._connection, select.POLLIN)
        except ValueError:
            # Closed this instant by another thread: reading will say so.
            return True
        return bool(poll.poll(seconds * 1000))

    def take(self, view: memoryview) -> int:
        """Read what is there, at most what fits; 0 where nothing came for a moment.

        Raises ConnectionGoneError.
        """
        try:
            count = self._connection.recv_into(view)
        except (TimeoutError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise ConnectionGoneError from error
        if not count:
            raise ConnectionGoneError
        return count

    def send(self, bytestream: bytes) -> None:
        """Send all of it; a peer that has not taken it within `stall_seconds` counts as gone."""
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
        """Close the connection and say so."""
        if self._is_connected:
            self._shutdown_socket()
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        """Close the socket also where its peer was faster, when it cannot be shut down."""
        self._is_connected = False
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._connection.close()


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

_PIECE = 256 << 10

_PAUSE_SECONDS = 0.02

_LINGER_SECONDS = 0.25
"""How long nothing may come from a peer that has been told the end and does not close."""

_MAX_UNSERVED = 4
"""Messages taken in before the first is answered; a peer that sends more has to wait."""


class _TakingStoppedError(Exception):
    """This side wants to abort rather than to read on."""


class UpperLayer(DULServiceProvider):
    """The thread that reads and writes one connection."""

    socket: Wire

    def __init__(
        self,
        association: ServedAssociation,
        limits: Limits,
        budget: MemoryBudget,
        on_abort: Callable[[AbortReason], None],
    ) -> None:
        super().__init__(association)
        self.daemon = True
        self.state_machine = Machine(self)
        self._association = association
        self._limits = limits
        self._budget = budget
        self._on_abort = on_abort
        self._pace = limit.request_pace(limits)
        self.speaks_version_1 = False
        self._command = bytearray()
        self._command_context = 0
        self._buffer = memoryview(bytearray(_PDU_HEADER.size))
        self._reported = self._refused = self._taking_stopped = False

    def refuse(self, reason: AbortReason) -> None:
        """End the association: an A-ABORT if there is still somebody to hear it."""
        self.report(reason)
        if self._refused:
            self.socket.close()
            self.kill_dul()
            return
        self._refused = True
        self.event_queue.put("Evt19")

    def stop_taking(self) -> None:
        """Leave what is coming in half read: the association is about to be aborted."""
        self._taking_stopped = True

    def report(self, reason: AbortReason) -> None:
        """Tell the owner why it ended: the first reason only."""
        if not self._reported:
            self._reported = True
            self._on_abort(reason)

    def run_reactor(self) -> None:
        """Read and write until the connection has ended; leave nothing behind."""
        self._pace.begin()
        try:
            super().run_reactor()
        finally:
            self.socket._shutdown_socket()
            message = self._association.dimse.message
            if message is not None and isinstance(message.data_set, ReceivedData):
                message.data_set.let_go()
            if self._association.requestor.primitive is None:
                # Its thread may still be waiting for a request that cannot come any more.
                self.to_user_queue.put(None)

    def idle_timer_expired(self) -> bool:
        """Never for the association's thread: the connection's own ends what is idle."""
        return False

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state == "Sta1":
            # The connection has not been taken up yet, or has been left.
            return False
        if self.state_machine.current_state == "Sta13":
            return self._discard()
        is_serving = self._association.is_busy or not self._association.dimse.msg_queue.empty()
        if is_serving:
            self._idle_timer.restart()
        if self._has_enough_to_do():
            self._pace.forgive()
            return False
        # Where no answer of this side is due, its thread need not look a thousand times a second.
        is_quiet = self.state_machine.current_state == "Sta6" and not is_serving
        if self.socket.wait(_PAUSE_SECONDS if is_quiet else 0):
            self._read_pdu_data()
            return True
        self._watch_the_clock()
        return False

    def _discard(self) -> bool:
        """Waiting for the end of the connection: what still comes is of no interest.

        Closing while something comes would reset the connection (RFC 1122, 4.2.2.13), and a peer
        in the middle of sending would meet that instead of the A-ABORT.
        """
        try:
            if self.socket.wait(_LINGER_SECONDS) and self.socket.take(
                memoryview(bytearray(_PIECE))
            ):
                return True
        except ConnectionGoneError:
            pass
        self.socket.close()
        return True

    def _has_enough_to_do(self) -> bool:
        association = self._association
        return association.dimse.msg_queue.qsize() + association.being_served >= _MAX_UNSERVED

    def _watch_the_clock(self) -> None:
        if self._refused:
            return
        if self._in_message:
            try:
                self._pace.check()
            except LimitError as error:
                self.refuse(error.reason)
        elif self.state_machine.current_state == "Sta6" and self._idle_timer.expired:
            self.refuse(AbortReason.IDLE)

    @property
    def _in_message(self) -> bool:
        return bool(self._command) or self._association.dimse.message is not None

    @property
    def _is_undisturbed(self) -> bool:
        """Whether there is nothing else to do than to go on with the message that is coming."""
        queues = (self.to_provider_queue, self.event_queue)
        return self._in_message and all(waiting.empty() for waiting in queues)

    def _read_pdu_data(self) -> None:
        """Take PDUs until there is something else to do."""
        try:
            self._take_pdu()
            while self._is_undisturbed and self.socket.wait(_PAUSE_SECONDS):
                self._take_pdu()
        except ConnectionGoneError:
            self.event_queue.put("Evt17")
        except _TakingStoppedError:
            log.debug("what was coming in is left half read")
        except LimitError as error:
            self.refuse(error.reason)
        except Exception as error:  # noqa: BLE001 - whatever a peer's bytes make pynetdicom raise
            log.debug("a PDU cannot be read: %r", error)
            self.refuse(AbortReason.MALFORMED)

    def _take_pdu(self) -> None:
        state = self.state_machine.current_state
        if state == "Sta6" and not self._in_message:
            self._pace.begin()
        self._fill(self._buffer)
        kind, length = _PDU_HEADER.unpack(self._buffer)
        if kind == _P_DATA and state == "Sta6":
            self._take_data(length)
        elif kind == _ASSOCIATE_RQ and state == "Sta2":
            self._take_request(length)
        elif kind in _CONTROL_PDUS:
            self._take_control(kind, length)
        else:
            raise LimitError(AbortReason.NOT_DICOM if state == "Sta2" else AbortReason.MALFORMED)

    def _take_request(self, length: int) -> None:
        if length > limit.MAX_REQUEST_BYTES:
            raise LimitError(AbortReason.TOO_LARGE)
        pdu, body = A_ASSOCIATE_RQ(), self._read(length)
        check_items(body)
        with quietly():
            pdu.decode(bytes(self._buffer) + body)
        # Each bit stands for a version (PS3.8 9.3.2). pynetdicom would reject others by itself, and
        # nobody would hear of it.
        self.speaks_version_1 = bool(pdu.protocol_version & 1)
        pdu.protocol_version = 1
        self._pace = limit.message_pace(self._limits)
        self._recv_pdu.put(pdu)
        self.event_queue.put("Evt6")

    def _take_control(self, kind: int, length: int) -> None:
        if length > limit.MAX_CONTROL_BYTES:
            raise LimitError(AbortReason.TOO_LARGE)
        make, event = _CONTROL_PDUS[kind]
        pdu = make()
        pdu.decode(bytes(self._buffer) + self._read(length))
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _take_data(self, left: int) -> None:
        """One P-DATA-TF: presentation data values, each a fragment of a message (PS3.8 9.3.5)."""
        if left > self._limits.max_drained_bytes:
            raise LimitError(AbortReason.TOO_LARGE)
        while left > 0:
            length, context, control = _PDV_HEADER.unpack(self._read(_PDV_HEADER.size))
            if not 2 <= length <= left - 4 or context not in self._association._accepted_cx:
                raise LimitError(AbortReason.MALFORMED)
            if control & _IS_COMMAND:
                self._take_command(context, length - 2, is_last=bool(control & _IS_LAST))
            else:
                self._take_data_set(context, length - 2, is_last=bool(control & _IS_LAST))
            left -= 4 + length

    def _take_command(self, context: int, length: int, *, is_last: bool) -> None:
        if self._association.dimse.message is not None:
            raise LimitError(AbortReason.MALFORMED)
        if self._command and context != self._command_context:
            raise LimitError(AbortReason.MALFORMED)
        if len(self._command) + length > limit.MAX_COMMAND_BYTES:
            raise LimitError(AbortReason.TOO_LARGE)
        self._command += self._read(length)
        self._command_context = context
        if is_last:
            command, self._command = bytes(self._command), bytearray()
            try:
                self._hand_over(context, _IS_COMMAND | _IS_LAST, checked(command))
            except CommandError as error:
                raise LimitError(AbortReason.MALFORMED) from error
            message = self._association.dimse.message
            if message is not None:
                message.data_set = ReceivedData(self._limits, self._budget)

    def _take_data_set(self, context: int, length: int, *, is_last: bool) -> None:
        message = self._association.dimse.message
        if message is None or message.context_id != context:
            raise LimitError(AbortReason.MALFORMED)
        data = cast(ReceivedData, message.data_set)
        piece = memoryview(bytearray(min(length, _PIECE)))
        while length:
            part = piece[: min(length, _PIECE)]
            self._fill(part)
            data.write(part)
            length -= len(part)
        if is_last:
            self._hand_over(context, _IS_LAST, b"")

    def _hand_over(self, context: int, control: int, fragment: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context, bytes([control]) + fragment))
        with quietly():
            self._association.dimse.receive_primitive(primitive)

    def _read(self, count: int) -> bytes:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def _fill(self, view: memoryview) -> None:
        while view:
            self._pace.check()
            if self._kill_thread:
                raise ConnectionGoneError
            if self._taking_stopped:
                raise _TakingStoppedError
            count = self.socket.take(view)
            self._pace.arrived(count)
            view = view[count:]
