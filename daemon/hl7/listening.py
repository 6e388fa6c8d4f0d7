"""The MLLP server of the listener role, from its configuration."""

import logging
import ssl
import threading
from types import TracebackType
from typing import Self

from daemon.audit.refused_messages import RefusedMessages
from daemon.config.partners.hl7 import Hl7Config
from daemon.config.settings import Config
from daemon.config.tls import hl7_context
from daemon.hl7.patient_feed import PatientFeed
from daemon.hl7.server import MllpLimits, MllpServer
from daemon.worker.bell import Bell, BellName
from dicom_io.errors import CertificateDateError
from storage.errors import StorageError
from storage.store import Store

log = logging.getLogger("hl7")


class PatientListener:
    """The server with its audit. A context manager; `start` raises PortInUseError."""

    def __init__(self, config: Config, port: int, store: Store, tls: ssl.SSLContext | None) -> None:
        self._store = store
        self._report = Bell.of(config, BellName.REPORT, store)
        self._audit = RefusedMessages(store.audit)
        self._server = MllpServer(
            config.hl7.host,
            port,
            PatientFeed(
                config.hl7.senders, store.patients, self._audit, lambda _: self._report.ring()
            ),
            limits_of(config.hl7),
            tls=tls,
            reuse_port=config.listener.reuse_port,
        )

    def __enter__(self) -> Self:
        self._audit.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._audit.__exit__(kind, error, trace)

    def start(self) -> None:
        """Listen; finish in a thread the changes that a stop had cut off."""
        self._server.start()
        threading.Thread(target=self._resume, name="hl7 resume", daemon=True).start()

    def _resume(self) -> None:
        try:
            finished = self._store.patients.resume()
        except StorageError as error:
            # The sender has no answer to it, and sends the message again.
            log.warning("a change of a patient is not complete yet: %s", error)
            return
        if finished:
            log.info("%d change(s) of patients completed", finished)
            self._report.ring()


def patient_listener(config: Config, store: Store) -> PatientListener | None:
    """Return the server, not yet listening; None if it is off.

    A certificate that is not valid today leaves it off. Raises CertificateError for one that is
    unusable on any day.
    """
    port = config.hl7.port
    if port is None:
        return None
    try:
        return PatientListener(config, port, store, hl7_context(config))
    except CertificateDateError as error:
        log.error("%s; HL7 port disabled until restart", error)
        return None


def limits_of(hl7: Hl7Config) -> MllpLimits:
    """Return the limits of the server."""
    return MllpLimits(
        max_connections=hl7.max_connections,
        max_message_bytes=hl7.max_message_kb * 1024,
        idle_seconds=hl7.idle_seconds,
        message_seconds=hl7.message_seconds,
    )
