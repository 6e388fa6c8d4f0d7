"""Keeps the instances of a STOW-RS request, by the same steps as those of a C-STORE.

Imported at the first request: it loads pydicom and pynetdicom.
"""

import logging
from dataclasses import dataclass

from daemon.audit.network import NetworkAudit
from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.config.peers import PeerPriority
from daemon.config.settings import Config
from daemon.receive.reception import Reception
from daemon.receive.ringing import ringing
from daemon.worker.logs.setup import silence_libraries
from dicom_io.dicomweb.multipart import DICOM_FILE, Part
from dicom_io.receive.events import RefusedObject
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.receive.stored.part import FailureReason, PartRefusedError, instance_of_part
from storage.files.spool import Spool
from storage.store import Store

log = logging.getLogger("web")


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of one part; `failure` is None if the instance is on disk."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    failure: int | None = None

    @property
    def is_short_of_resources(self) -> bool:
        """True if the same part may be stored later."""
        return self.failure == FailureReason.OUT_OF_RESOURCES


class Storing:
    """Keeps parts; thread-safe."""

    def __init__(self, config: Config, store: Store, spool: Spool) -> None:
        silence_libraries()
        self._clients = {client.name: client for client in config.dicomweb.storing}
        self._from_header = config.priority.from_header
        self._audit = NetworkAudit(store.audit)
        self._reception = Reception(
            spool,
            store,
            config.study.quiet_seconds,
            lambda name, _host: self._clients[name].effective_source,
            ringing(config, store),
            self._is_stat,
        )

    def keep(
        self, part: Part, client: DicomwebClientConfig, host: str, study: str | None
    ) -> Stored:
        """Keep the instance of a part durably, or say why not; `study` is that of the path."""
        try:
            if part.media_type.name != DICOM_FILE:
                message = f"its Content-Type is not {DICOM_FILE}"
                raise PartRefusedError(message, FailureReason.CANNOT_UNDERSTAND)
            instance = instance_of_part(
                part.data, caller=client.name, host=host, study_instance_uid=study
            )
            if self._reception.receive(instance) is not StoreStatus.SUCCESS:
                raise PartRefusedError(
                    "it could not be written",
                    FailureReason.OUT_OF_RESOURCES,
                    instance.sop_class_uid,
                    instance.sop_instance_uid,
                )
        except PartRefusedError as error:
            return self._refused(error, client, host)
        return Stored(
            instance.sop_class_uid, instance.sop_instance_uid, instance.header.study_instance_uid
        )

    def _refused(self, error: PartRefusedError, client: DicomwebClientConfig, host: str) -> Stored:
        log.warning(
            "a part of a STOW-RS request of %s is answered 0x%04X: %s",
            client.name,
            error.reason,
            error,
        )
        self._audit.refused(
            RefusedObject(
                error.reason,
                str(error),
                error.sop_class_uid,
                error.sop_instance_uid,
                client.name,
                host,
            )
        )
        return Stored(error.sop_class_uid, error.sop_instance_uid, "", error.reason)

    def _is_stat(self, received: ReceivedInstance) -> bool:
        priority = self._clients[received.calling_ae_title].priority
        if priority is not None:
            return priority is PeerPriority.STAT
        return received.header.is_urgent and self._from_header
