"""An HL7 system as destination: ORU messages over MLLP, delivered when they are acknowledged."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.hl7_messages import (
    Acknowledgement,
    ProcessingId,
    ResultStatus,
    SentCharset,
)
from daemon.config.settings import Config
from daemon.config.tls import partner_context
from daemon.deliver.channels.channel import Probe, Sent
from daemon.errors import ChannelError, Hl7Error, MllpError
from daemon.hl7.acknowledgement import Acknowledged, read_acknowledgement
from daemon.hl7.client import MllpClient
from daemon.hl7.oru import MessageSettings, Outgoing, result_message
from dicom_io.errors import ObjectError
from dicom_io.send.store_status import Disposition

MAX_REFUSALS = 5
"""A message is parked after so many answers that its receiver cannot take it now."""

_MOST_COUNTED = 1000


class Hl7Channel:
    """A connection to an MLLP server. Raises CertificateError."""

    def __init__(self, config: Config, destination: DestinationConfig) -> None:
        self._name = destination.name
        self._settings = _settings(config, destination)
        context = partner_context(destination) if destination.tls else None
        self._where = f"{destination.host}:{destination.port}"
        self._client = MllpClient(
            destination.host or "",
            destination.port or 0,
            context,
            seconds=config.courier.network_timeout_seconds,
        )
        self._is_encrypted = context is not None
        self._opened = ExitStack()
        self._refusals: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Self:
        try:
            self._opened.enter_context(self._client)
        except MllpError as error:
            raise self._failed(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @property
    def is_open(self) -> bool:
        """Return True while the server keeps the connection open."""
        return self._client.is_open

    def send(self, data: bytes, on_progress: Callable[[], object]) -> Sent:
        """Send the message of a report, and return what its acknowledgement says.

        Delivered are AA and CA. Any other code parks the message, but for the conditions 206 and
        207 of the receiver itself: these are retried up to MAX_REFUSALS times. Without an answer,
        and after one to another message, the same message is sent again with the same control ID.
        """
        try:
            message = result_message(data, self._settings)
        except (Hl7Error, ObjectError) as error:
            return Sent(Disposition.PARK, str(error))
        try:
            answer = self._client.exchange(message.data, on_progress)
            found = read_acknowledgement(answer)
        except MllpError as error:
            raise self._failed(error) from error
        except Hl7Error as error:
            self._client.close()
            return Sent(
                Disposition.RETRY,
                f"{self._where} gave no acknowledgement: {error}; see its log",
                is_unmatched=True,
            )
        if found.control_id != message.control_id:
            self._client.close()
            return Sent(
                Disposition.RETRY,
                f"{self._where} acknowledged another message than the one that was sent; if this"
                " goes on, tell the vendor of its software",
                is_unmatched=True,
            )
        return self._sent(message, found)

    def probe(self) -> Probe:
        """Test that the server takes a connection, with TLS where that is configured.

        MLLP has no message for a test, and a result is not sent.
        """
        try:
            with self._client:
                secured = "TLS" if self._is_encrypted else "without TLS"
                return Probe(
                    True,
                    f"{self._where} takes an MLLP connection ({secured});"
                    " no message is sent to test it",
                )
        except MllpError as error:
            return Probe(False, str(self._failed(error)))

    def _sent(self, message: Outgoing, found: Acknowledged) -> Sent:
        answer = f"{found.code} {message.control_id}"
        if found.code.accepts:
            self._refusals.pop(message.control_id, None)
            return Sent(Disposition.DELIVERED, answer=answer)
        detail = f"{self._where} answered {found.code}: {found.reason}; see its log"
        if found.may_pass and self._count(message.control_id) < MAX_REFUSALS:
            return Sent(Disposition.RETRY, detail, answer=answer)
        self._refusals.pop(message.control_id, None)
        return Sent(Disposition.PARK, detail, answer=answer)

    def _count(self, control_id: str) -> int:
        """Return how often this process was told that a message cannot be taken now."""
        self._refusals[control_id] = self._refusals.get(control_id, 0) + 1
        if len(self._refusals) > _MOST_COUNTED:
            self._refusals.popitem(last=False)
        return self._refusals[control_id]

    def _failed(self, error: MllpError) -> ChannelError:
        return ChannelError(f"no acknowledgement from {self._where}: {error}", retryable=True)


def _settings(config: Config, destination: DestinationConfig) -> MessageSettings:
    return MessageSettings(
        destination=destination.name,
        receiving_application=destination.receiving_application or "",
        receiving_facility=destination.receiving_facility or "",
        sending_application=destination.sending_application or config.listener.ae_title,
        sending_facility=destination.sending_facility or "",
        processing_id=destination.processing_id or ProcessingId.PRODUCTION,
        result_status=destination.result_status or ResultStatus.PRELIMINARY,
        acknowledgement=destination.acknowledgement or Acknowledgement.ORIGINAL,
        charset=destination.charset or SentCharset.UTF_8,
    )
