"""Objects in the outbox, made without a model, and workers that deliver them."""

import dataclasses

from daemon.config.partners.destination import DestinationConfig
from daemon.config.peers import PeerConfig
from daemon.config.receivers import PictureSyntax, Product
from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.deliver.delivery_worker import DeliveryWorker
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.report.document import build_report
from storage.files.folder_spool import FolderSpool
from storage.files.spool import object_path
from storage.records import Delivery, Job, JobKind, JobState, StudyStatus
from storage.store import Store
from tests.builders.objects import NOW, full_header, report_content
from tests.builders.store_rows import SOURCE, claim, made_object, new_instance
from tests.servers.workers import Workers
from tests.tools.ports import HOST, PACS


def queue_report(
    store: Store, spool: FolderSpool, destination: str, number: int = 1, source: str = SOURCE
) -> str:
    """Queue a real report for `destination` and return its SOP Instance UID."""
    uid = f"2.25.7{number}"
    return queue_object(store, spool, destination, uid, report_bytes(uid), number, source)


def report_bytes(uid: str) -> bytes:
    """Return the file of a report with this SOP Instance UID."""
    identity = Identity(uid, f"{uid}.1", 9900, 1, NOW)
    return to_bytes(build_report(report_content(full_header(), identity=identity)))


def queue_object(
    store: Store,
    spool: FolderSpool,
    destination: str,
    uid: str,
    data: bytes,
    number: int = 1,
    source: str = SOURCE,
) -> str:
    """Queue a file with this SOP Instance UID for `destination` and return the UID."""
    study = f"2.25.8{number}"
    stored = spool.write(object_path(uid, data), data)
    film = new_instance(f"2.25.9{number}", study_instance_uid=study, source=source)
    instance = store.record_instance(film, quiet_seconds=0).instance_id
    store.results.record_refusal(claim(store, JobKind.ANALYSE), instance, "NOT_CHEST", "")
    record = dataclasses.replace(
        made_object(uid),
        study_instance_uid=study,
        source=source,
        spool_path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
    )
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [record],
        [Delivery(uid, destination)],
    )
    return uid


class Outbox(Workers):
    """A store with objects to deliver, and the workers that deliver them."""

    def deliver_to(
        self,
        name: str,
        port: int,
        syntax: PictureSyntax = PictureSyntax.UNCOMPRESSED,
        *,
        retry_seconds: float = 0.2,
        timeout_seconds: float = 5.0,
    ) -> None:
        """Start delivering to one destination."""
        peer = PeerConfig(
            name=name,
            ae_title=PACS,
            host=HOST,
            port=port,
            receives=(Product.REPORT, Product.HEATMAP),
            picture_syntax=syntax,
        )
        self.deliver_over(peer, retry_seconds=retry_seconds, timeout_seconds=timeout_seconds)

    def deliver_over(
        self,
        receiver: PeerConfig | DestinationConfig,
        *,
        retry_seconds: float = 0.2,
        timeout_seconds: float = 5.0,
    ) -> None:
        """Start delivering to a receiver of any kind."""
        courier = CourierConfig(
            retry_seconds=retry_seconds,
            retry_max_seconds=2 * retry_seconds,
            network_timeout_seconds=timeout_seconds,
        )
        peers = [PeerConfig(name=SOURCE, ae_title="MODALITY", sends=True)]
        destinations: list[DestinationConfig] = []
        if isinstance(receiver, PeerConfig):
            peers.append(receiver)
        else:
            destinations.append(receiver)
        config = Config(peers=tuple(peers), destinations=tuple(destinations), courier=courier)
        context = self.context(config, f"worker-{receiver.name}")
        self.start(DeliveryWorker(context, receiver, self.spool, self.store).run)

    def deliveries(self, state: JobState) -> list[Job]:
        return list(self.store.jobs.list(state=state, kind=JobKind.DELIVER))

    def jobs(self, state: JobState) -> list[Job]:
        return list(self.store.jobs.list(state=state))
