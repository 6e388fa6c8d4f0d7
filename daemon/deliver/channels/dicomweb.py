"""A DICOMweb server as destination: STOW-RS (PS3.18 10.5)."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from types import TracebackType
from typing import Self

from daemon.config.destinations import endpoint_of, picture_syntax
from daemon.config.partners.destination import DestinationConfig
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Probe, Sent
from daemon.errors import ChannelError
from dicom_io.dicomweb.client import DicomwebClient
from dicom_io.dicomweb.sender import SYNTAX_NOT_SUPPORTED, WebSender
from dicom_io.errors import DicomError, HttpError
from dicom_io.objects.classes import HEATMAP_CLASS, PLAIN_SYNTAXES
from dicom_io.objects.compression import picture_for_destination
from dicom_io.send.store_status import DUPLICATE

log = logging.getLogger("courier")


class DicomwebChannel:
    """Requests to a DICOMweb server over one connection. Raises CertificateError.

    A refused token or path is not retryable, as a permanent rejection of an association is not:
    the server would refuse each delivery until an administrator changes one of the sides. The
    delivery is parked with that reason, and the next waits longer.
    """

    def __init__(self, config: Config, destination: DestinationConfig) -> None:
        self._name = destination.name
        self._endpoint = endpoint_of(config, destination)
        self._preferred_syntax = self._picture_syntax = picture_syntax(destination)
        self._opened = ExitStack()
        self._sender: WebSender | None = None

    def __enter__(self) -> Self:
        try:
            client = self._opened.enter_context(DicomwebClient(self._endpoint))
        except HttpError as error:
            raise ChannelError(str(error), retryable=error.retryable) from error
        self._sender = WebSender(client)
        self._picture_syntax = self._preferred_syntax
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sender = None
        self._opened.close()

    @property
    def is_open(self) -> bool:
        """Return True after entering: each request opens a connection if there is none."""
        return self._sender is not None

    def send(self, data: bytes, on_progress: Callable[[], object]) -> Sent:
        """Send one object by STOW-RS, a picture in the form that is preferred for the server."""
        if self._sender is None:
            raise ChannelError("the connection is no longer open", retryable=True)
        try:
            preferred = self._converted(data)
            found = self._sender.send(preferred, on_progress)
            if found.result.status == SYNTAX_NOT_SUPPORTED and self._picture_syntax is not None:
                # STOW-RS has no negotiation, so the refusal is how the server says it.
                self._picture_syntax = None
                plain = self._converted(data)
                if plain != preferred:
                    found = self._sender.send(plain, on_progress)
        except HttpError as error:
            raise ChannelError(
                str(error), retryable=error.retryable, retry_after=error.retry_after
            ) from error
        result = found.result
        return Sent(
            result.disposition,
            result.detail,
            status=result.status,
            answer=found.answer,
            sop_class_uid=result.sop_class_uid,
            # A duplicate is kept under the UID of the delivery before.
            coerced_uid=None if result.status == DUPLICATE else result.coerced_uid,
            is_unmatched=result.is_unmatched,
        )

    def probe(self) -> Probe:
        """Test the server by a query for one study."""
        try:
            with DicomwebClient(self._endpoint) as client:
                client.test()
        except HttpError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return Probe(True, _without_search(self._name), is_warning=True)
            return Probe(False, str(error))
        return Probe(True, f"{self._name} answers a search by QIDO-RS")

    def _converted(self, data: bytes) -> bytes:
        """Return the object in the form that is preferred, else as it is stored."""
        preferred = self._picture_syntax
        syntaxes = PLAIN_SYNTAXES if preferred is None else (*PLAIN_SYNTAXES, preferred)
        try:
            return picture_for_destination(data, preferred, {HEATMAP_CLASS: syntaxes})
        except DicomError as error:
            log.warning("%s: an object is sent as it is stored: %s", self._name, error)
            return data


def _without_search(name: str) -> str:
    return (
        f"{name} answers but refuses a search (HTTP 403); the first delivery shows whether it"
        " stores"
    )
