"""A DICOM node as destination: C-STORE over an association."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from daemon.config.destinations import (
    classes_for,
    destination_of,
    picture_contexts,
    picture_syntax,
)
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.deliver.channels.channel import Probe, Sent
from daemon.errors import ChannelError
from dicom_io.commitment.messages import COMMITMENT_CLASS
from dicom_io.errors import AssociationError, DicomError
from dicom_io.objects.compression import picture_for_destination
from dicom_io.send.sender import Sender, echo
from dicom_io.send.store_status import DUPLICATE, Disposition

log = logging.getLogger("courier")


class DicomChannel:
    """An association with a peer, opened by entering. Raises CertificateError."""

    def __init__(self, config: Config, peer: PeerConfig) -> None:
        self._peer = peer
        self._destination = destination_of(config, peer)
        self._picture_syntax = picture_syntax(peer)
        self._picture_contexts = picture_contexts(peer)
        self._association = ExitStack()
        self._sender: Sender | None = None

    def __enter__(self) -> Self:
        sender = Sender(self._destination, also=self._picture_contexts)
        try:
            self._sender = self._association.enter_context(sender)
        except AssociationError as error:
            raise ChannelError(str(error), retryable=error.retryable) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sender = None
        self._association.close()

    @property
    def is_open(self) -> bool:
        """Return True while the association is established."""
        return self._sender is not None and self._sender.is_open

    def send(self, data: bytes, on_progress: Callable[[], object]) -> Sent:
        """Send one object by C-STORE, a picture in the form that the peer prefers."""
        if self._sender is None:
            raise ChannelError("the association is no longer open", retryable=True)
        try:
            result = self._sender.send(self._converted(data, self._sender), on_progress)
        except AssociationError as error:
            raise ChannelError(str(error), retryable=error.retryable) from error
        is_lost = result.status is None and not result.is_unmatched
        if result.disposition is Disposition.RETRY and is_lost:
            raise ChannelError(result.detail, retryable=True)
        return Sent(
            result.disposition,
            result.detail,
            status=result.status,
            sop_class_uid=result.sop_class_uid,
            # A duplicate is kept under the UID of the delivery before.
            coerced_uid=None if result.status == DUPLICATE else result.coerced_uid,
            is_unmatched=result.is_unmatched,
        )

    def probe(self) -> Probe:
        """Test the peer by C-ECHO and by the presentation contexts that it accepts."""
        peer = self._peer
        proposed = [*classes_for(peer), *([COMMITMENT_CLASS] if peer.commitment else [])]
        answer = echo(self._destination, sop_classes=proposed, also=self._picture_contexts)
        detail = answer.diagnosis
        for sop_class, syntax in self._picture_contexts:
            accepted = answer.accepted.get(sop_class, ())
            if accepted and syntax not in accepted:
                detail += f"; not picture_syntax {peer.picture_syntax}: pictures go uncompressed"
        return Probe(answer.ok, detail)

    def _converted(self, data: bytes, sender: Sender) -> bytes:
        """Return the object in the form that the peer prefers, else as it is stored."""
        try:
            return picture_for_destination(data, self._picture_syntax, sender.accepted)
        except DicomError as error:
            log.warning("%s: an object is sent as it is stored: %s", self._peer.name, error)
            return data
