"""The same SOP Instance UID on many associations at once."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.audit.network import NetworkAudit
from daemon.config.sections.roles import ListenerConfig
from daemon.config.settings import Config
from daemon.listener import open_node
from daemon.receive.reception import Reception
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.files.folder_spool import FolderSpool
from storage.files.spool import RECEIVED
from storage.records import JobKind
from storage.store import Store
from tests.builders.images.films import film
from tests.tools.ports import HOST, SENDER, free_port

pytestmark = pytest.mark.network

ASSOCIATIONS = 16


@pytest.fixture
def spool(tmp_path: Path) -> FolderSpool:
    return FolderSpool(tmp_path / "spool")


@pytest.fixture
def port(spool: FolderSpool, store: Store) -> Iterator[int]:
    """Port of a node that stores instances."""
    config = Config(listener=ListenerConfig(port=free_port()))
    with open_node(config, Reception(spool, store, 30), NetworkAudit(store.audit)) as node:
        yield node.port


def send_at_once(port: int, images: Sequence[bytes]) -> list[Disposition]:
    """Send each image on its own association, after all associations are open."""
    open_together = threading.Barrier(len(images))

    def send(image: bytes) -> Disposition:
        destination = Destination("cxrd", "CXRD", HOST, port, SENDER)
        with Sender(destination, sop_classes=(), also=[pair_of(image)]) as sender:
            open_together.wait(30)
            return sender.send(image).disposition

    with ThreadPoolExecutor(len(images)) as senders:
        return list(senders.map(send, images))


def files(spool: FolderSpool) -> list[str]:
    return [path for batch in spool.batches(RECEIVED) for path in batch]


def test_the_same_bytes_on_sixteen_associations_are_one_file_and_one_job(
    port: int, spool: FolderSpool, store: Store
) -> None:
    image = film("same")
    assert set(send_at_once(port, [image] * ASSOCIATIONS)) == {Disposition.DELIVERED}
    assert len(files(spool)) == 1
    assert len(store.jobs.list(kind=JobKind.ANALYSE)) == 1
    spool.verify(*path_and_digest(store, 1))


def test_other_bytes_under_the_same_uid_are_new_revisions(
    port: int, spool: FolderSpool, store: Store
) -> None:
    images = [film("same", seed=7), altered(film("same", seed=7))] * (ASSOCIATIONS // 2)
    assert set(send_at_once(port, images)) == {Disposition.DELIVERED}
    assert len(files(spool)) == 2
    assert len(store.jobs.list(kind=JobKind.ANALYSE)) == 2
    for number in (1, 2):
        spool.verify(*path_and_digest(store, number))
    assert [store.results.instance(number).revision for number in (1, 2)] == [1, 2]


def altered(image: bytes) -> bytes:
    """Return the image with another last pixel."""
    return image[:-2] + bytes([image[-2] ^ 1]) + image[-1:]


def path_and_digest(store: Store, number: int) -> tuple[str, str]:
    instance = store.results.instance(number)
    return instance.spool_path, instance.sha256
