"""The running daemon on a small file system that fills up and is freed again."""

import os
from pathlib import Path

import pytest

from daemon.receive.reception import Reception
from dicom_io.read.header import read_header
from dicom_io.receive.store_request import StoreStatus
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.records import InstanceState, JobState
from tests.builders.images.films import data_set_bytes, film, received
from tests.builders.stores.new import new_store
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.dicom.raw_peer import RawPeer
from tests.servers.running import RunningDaemon
from tests.servers.watching import deaths, fill, small_disk, spooled
from tests.tools.ports import SENDER
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

DISK_MB = 24
SENDS_ONLY = {"peers": [{"name": "sender", "ae_title": SENDER, "sends": True}]}


def status_of_sending(daemon: RunningDaemon, image: bytes) -> int:
    uid = read_header(image).sop_instance_uid
    with RawPeer(daemon.port, seconds=60) as peer:
        return peer.associate().store(uid, data_set_bytes(image))


def states_of(daemon: RunningDaemon, image: bytes) -> list[InstanceState]:
    uid = read_header(image).study_instance_uid
    with daemon.store() as store:
        return [instance.state for instance in store.results.study(uid).instances]


def await_analysis(daemon: RunningDaemon, image: bytes) -> None:
    wait_until(
        lambda: states_of(daemon, image) == [InstanceState.ANALYSED],
        "every acknowledged image is analysed",
    )


def is_disk_full(line: str) -> bool:
    return " analyst: " in line and "no space left" in line


def images_of(study: str, count: int) -> list[bytes]:
    return [film(f"{study}-{number}") for number in range(count)]


def test_a_disk_that_fills_up_during_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has free space at the check and is full at the write."""
    image = film("half way")
    with (
        small_disk(tmp_path / "disk", 2) as disk,
        new_store(tmp_path / "store.sqlite") as store,
    ):
        reception = Reception(FolderSpool(disk / "spool"), store, 30)
        ballast = fill(disk, leave_bytes=len(image) // 2)
        with monkeypatch.context() as patch:
            patch.setattr(FolderSpool, "free_bytes", lambda _: 1 << 40)
            assert reception.receive(received(image)) is StoreStatus.OUT_OF_RESOURCES
        files = [path for path in (disk / "spool").rglob("*") if path.is_file()]
        assert files == [disk / "spool" / MARKER_NAME]
        assert store.jobs.list() == ()
        ballast.unlink()
        assert reception.receive(received(image)) is StoreStatus.SUCCESS


def _received(daemon: RunningDaemon) -> set[str]:
    """Return the files received; the report of an earlier image may be written meanwhile."""
    return {path for path in spooled(daemon) if not path.startswith("objects/")}


@pytest.mark.slow
def test_no_instance_is_accepted_below_the_free_space_limit(tmp_path: Path, bundle: Path) -> None:
    changes = {**SENDS_ONLY, "spool": {"min_free_mb": 4}}
    with (
        small_disk(tmp_path / "node" / "data", DISK_MB) as disk,
        RunningDaemon(tmp_path / "node", bundle, 0, changes) as daemon,
    ):
        first, refused, again = images_of("watermark", 3)
        assert status_of_sending(daemon, first) == StoreStatus.SUCCESS
        await_analysis(daemon, first)
        kept = _received(daemon)
        ballast = fill(disk, leave_bytes=4 << 20)
        assert status_of_sending(daemon, refused) == StoreStatus.OUT_OF_RESOURCES
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 3 << 20
        assert _received(daemon) == kept
        assert states_of(daemon, refused) == []
        ballast.unlink()
        for image in (refused, again):
            assert status_of_sending(daemon, image) == StoreStatus.SUCCESS
            await_analysis(daemon, image)
        assert deaths(daemon) == []


@pytest.mark.slow
def test_a_disk_that_is_full_to_the_last_byte(
    tmp_path: Path, bundle: Path, pacs: RecordingPacs
) -> None:
    """Files, rows and results cannot be written; no image is lost and no file is left."""
    # A job that cannot be put back waits until its lease expires.
    changes = {"spool": {"min_free_mb": 0}, "analyst": {"lease_seconds": 6}}
    with (
        small_disk(tmp_path / "node" / "data", DISK_MB) as disk,
        RunningDaemon(tmp_path / "node", bundle, pacs.port, changes) as daemon,
    ):
        acknowledged, refused = images_of("acknowledged", 4), images_of("refused", 4)
        for image in acknowledged:
            assert status_of_sending(daemon, image) == StoreStatus.SUCCESS
        # Free space for a few objects and half a film.
        ballast = fill(disk, leave_bytes=50_000)
        statuses = [status_of_sending(daemon, image) for image in refused]
        assert set(statuses) == {StoreStatus.OUT_OF_RESOURCES}
        fill(disk)
        wait_until(
            lambda: any(map(is_disk_full, daemon.log.splitlines())),
            "the analyst logs the full disk",
        )
        assert [states_of(daemon, image) for image in refused] == [[]] * len(refused)
        assert [name for name in spooled(daemon) if name.startswith("tmp/")] == []
        received = [name for name in spooled(daemon) if name.startswith("received/")]
        assert len(received) == len(acknowledged)
        ballast.unlink()
        for image in refused:
            assert status_of_sending(daemon, image) == StoreStatus.SUCCESS
        for image in acknowledged + refused:
            await_analysis(daemon, image)
        count = len(acknowledged + refused)
        wait_until(lambda: len(pacs.of("SR")) == count, "every report")
        with daemon.store() as store:
            assert store.jobs.list(state=JobState.PARKED) == ()
        assert deaths(daemon) == []


@pytest.mark.slow
def test_a_store_whose_disk_is_full(tmp_path: Path, bundle: Path) -> None:
    """The film can be written; its row cannot: the journal of SQLite cannot grow."""
    with small_disk(tmp_path / "disk", 4) as disk:
        url = f"sqlite:///{disk / 'cxrd.sqlite'}"
        changes = {**SENDS_ONLY, "database_url": url}
        with RunningDaemon(tmp_path / "node", bundle, 0, changes) as daemon:
            ballast = fill(disk)
            statuses = {}
            for image in images_of("no-row", 40):
                statuses[image] = status_of_sending(daemon, image)
                if statuses[image] != StoreStatus.SUCCESS:
                    break
            assert set(statuses.values()) <= {StoreStatus.SUCCESS, StoreStatus.OUT_OF_RESOURCES}
            refused = list(statuses)[-1]
            assert statuses[refused] == StoreStatus.OUT_OF_RESOURCES
            received = [name for name in spooled(daemon) if name.startswith(("received/", "tmp/"))]
            assert len(received) == len(statuses) - 1
            ballast.unlink()
            assert status_of_sending(daemon, refused) == StoreStatus.SUCCESS
            wait_until(
                lambda: daemon.log.count("is analysed") == len(statuses),
                "every film that was acknowledged is analysed",
            )
            assert deaths(daemon) == []
