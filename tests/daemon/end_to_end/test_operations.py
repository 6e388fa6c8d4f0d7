"""Backup, restore, purge and damage: the commands of the operator."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.config.loading import load_config
from daemon.deliver.purge import PeriodicPurge, purge
from daemon.worker.role import RoleContext
from storage.audit.records import AuditKind
from storage.errors import StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.hosts.leases import LeaseName
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film
from tests.builders.outbox import queue_report
from tests.builders.store_rows import LEASE
from tests.builders.stores.new import new_store
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.servers.watching import fill, small_disk
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.paths import ROOT
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a configuration and two studies, one of them delivered."""
    (tmp_path / "config.yaml").write_text("retention: {days: 0.000000001}\n")
    spool = FolderSpool(tmp_path / "data" / "spool")
    with new_store(tmp_path / "data" / "cxrd.sqlite") as store:
        for number in (1, 2):
            queue_report(store, spool, "pacs", number)
        job = store.jobs.claim([JobKind.DELIVER], "courier", LEASE)
        assert job is not None
        store.results.record_delivery(job, 0x0000)
        for number in (1, 2):
            path = store.results.instance(number).spool_path
            assert path == "received/aa/aa.dcm"
        spool.write(path, b"data")
    return tmp_path


def restore_commands(folder: str) -> str:
    """Return the documented commands for this backup, without the start of the daemon."""
    page = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- restore -->\n\n```console\n(.*?)```", page, re.DOTALL)
    assert found
    lines = [line.removeprefix("$ ") for line in found[1].splitlines()]
    assert lines.pop() == "cxrd serve"
    return "\n".join(lines).replace("cxrd-20260301T120000Z", folder)


def run_restore(in_folder: Path, backup: str) -> None:
    own = f'cxrd() {{ PYTHONPATH={ROOT} {sys.executable} -m daemon "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euc", own + restore_commands(backup)],
        cwd=in_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


LEASES = {
    "analyst": {"lease_seconds": 5},
    "courier": {"network_timeout_seconds": 5},
}
"""A job that ran during the backup is done after its lease expires."""


@pytest.mark.slow
def test_a_backup_made_under_load_is_restored_and_its_work_goes_on(
    bundle: Path, pacs: RecordingPacs, tmp_path: Path
) -> None:
    with RunningDaemon(tmp_path / "node", bundle, pacs.port, LEASES) as daemon:
        _back_up_and_restore(daemon, pacs, tmp_path)


def _back_up_and_restore(daemon: RunningDaemon, pacs: RecordingPacs, tmp_path: Path) -> None:
    images = [film(f"backed-up-{number}") for number in range(6)]

    def send() -> None:
        for image in images:
            daemon.send(image)

    sending = threading.Thread(target=send)
    sending.start()
    wait_until(lambda: "instance 2 from" in daemon.log, "some images are there")
    done = daemon.run("backup", "--to", str(tmp_path / "elsewhere" / "backups"))
    assert done.returncode == 0, done.stderr
    sending.join()
    daemon.stop()
    (made,) = (tmp_path / "elsewhere" / "backups").glob("cxrd-*")

    shutil.copy(daemon.config, tmp_path / "elsewhere" / "config.yaml")
    run_restore(tmp_path / "elsewhere", made.name)

    restored = RunningDaemon(tmp_path / "unused", tmp_path, pacs.port)
    restored.config = tmp_path / "elsewhere" / "config.yaml"
    restored.data = tmp_path / "elsewhere" / "data"
    restored.database_url = f"sqlite:///{restored.data / 'cxrd.sqlite'}"
    with restored, restored.store() as store:
        rows = list(store.export.rows())
        assert 2 <= len(rows) <= len(images)
        wait_until(
            lambda: all(pacs.reports_of(row["study_instance_uid"]) for row in rows),
            "a report of every study in the backup",
        )
        wait_until(lambda: not store.jobs.list(state=JobState.QUEUED), "all work is done")
        assert store.jobs.list(state=JobState.PARKED) == ()


def test_the_audit_trail_records_each_backup(house: Path) -> None:
    (house / "file").write_text("x")
    config = load_config(house / "config.yaml")
    assert cxrd("backup", "--to", "file/backups", cwd=house).returncode == 1
    assert cxrd("backup", "--to", "backups", cwd=house).returncode == 1, "files are left out"
    (made,) = (house / "backups").glob("cxrd-*")
    with Store.open(config.resolved_database_url, migrate=False) as store:
        rows = [row for row in store.audit.rows() if row.kind == AuditKind.BACKED_UP]
    assert [row.outcome for row in rows] == ["success", "failure", "success", "success"]
    assert [row.detail.partition(",")[0] for row in rows] == [
        "begun",
        "not made",
        "begun",
        f"made: {Path('backups') / made.name}",
    ]


@pytest.mark.parametrize("days", ["1e7", ".inf", ".nan"])
def test_a_retention_longer_than_the_calendar_is_refused(house: Path, days: str) -> None:
    (house / "config.yaml").write_text(f"retention: {{days: {days}}}\n")
    assert "retention.days" in one_line_of_error(cxrd("purge", cwd=house))


def test_a_dry_run_lists_the_studies_that_purge_deletes(house: Path) -> None:
    shown = cxrd("purge", "--dry-run", cwd=house).stdout.splitlines()
    assert shown[0].split("  ") == ["study of instance 1", "1 image(s)", "1 object(s)", "0.0 MB"]
    assert shown[1].startswith("1 study(ies) would be purged")
    assert shown[2] == "1 older study(ies) stay: work is queued, running or parked"
    assert cxrd("purge", cwd=house).stdout.startswith("1 study(ies) are purged")
    assert "0 study(ies) would be purged" in cxrd("purge", "--dry-run", cwd=house).stdout


def test_the_courier_logs_damaged_files_and_purges(
    house: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = load_config(house / "config.yaml")
    stop = threading.Event()
    with Store.open(config.resolved_database_url, migrate=False) as store:
        context = RoleContext(config, "courier", stop, lambda: None)
        spool = FolderSpool(config.data_dir / "spool")
        second = store.results.object("2.25.72")
        assert second is not None
        spool.delete(second.spool_path)
        working = threading.Thread(target=PeriodicPurge(context, spool, store).run)
        working.start()
        wait_until(lambda: "are free again" in caplog.text, "a purge")
        stop.set()
        working.join(10)
        assert store.results.instance(1).purged_at is not None
        assert store.results.instance(2).purged_at is None
    assert "object 2: its file is missing: restore it from a backup" in caplog.text
    assert "study of instance 1 is purged: 1 image(s), 1 object(s)" in caplog.text
    assert "2.25." not in caplog.text


def test_a_purge_does_not_run_under_a_backup(house: Path) -> None:
    config = load_config(house / "config.yaml")
    with (
        Store.open(config.resolved_database_url, migrate=False) as store,
        store.leases.hold(LeaseName.FILES, 0),
    ):
        with pytest.raises(StoreUnavailableError, match="another backup or purge"):
            next(
                purge(config, store, FolderSpool(config.data_dir / "spool"), "me", wait_seconds=0.1)
            )
        assert store.results.instance(1).purged_at is None


def test_purge_without_retention_days_is_an_error(house: Path) -> None:
    (house / "config.yaml").write_text("{}\n")
    assert "retention.days is not set" in one_line_of_error(cxrd("purge", cwd=house))


def test_backup_and_verify_name_the_damage_and_fail(house: Path) -> None:
    assert cxrd("backup", "--to", "backups", cwd=house).returncode == 1  # altered below
    (made,) = (house / "backups").glob("cxrd-*")
    checked = cxrd("backup", "--verify", str(made), cwd=house)
    assert checked.returncode == 1
    assert "left out when it was made: instance 1" in checked.stdout
    verified = cxrd("verify", cwd=house)
    assert verified.returncode == 1
    assert "instance 1: its file has changed since it was written: have it sent" in verified.stdout
    assert cxrd("verify", "--quick", cwd=house).returncode == 0


@pytest.mark.parametrize("free", [2**16, 2**19])
def test_a_backup_on_a_full_disk_is_one_line(house: Path, free: int) -> None:
    """The disk is full during the copy of the store, and after it."""
    (house / "data" / "spool" / "received" / "aa" / "aa.dcm").write_bytes(bytes(2**20))
    with small_disk(house / "disk", 2) as disk:
        fill(disk, free)
        line = one_line_of_error(cxrd("backup", "--to", "disk/backups", cwd=house))
        assert "no space left for " in line
        assert list((disk / "backups").glob("cxrd-*")) == []


def test_backup_needs_a_folder(house: Path) -> None:
    assert "--to" in one_line_of_error(cxrd("backup", cwd=house))
    assert "not a whole backup" in one_line_of_error(cxrd("backup", "--verify", ".", cwd=house))


@pytest.mark.parametrize("damage", ["header", "missing"])
def test_a_damaged_store_is_not_started_and_not_touched(house: Path, damage: str) -> None:
    store = house / "data" / "cxrd.sqlite"
    if damage == "header":
        store.write_bytes(b"\xff" * 200 + store.read_bytes()[200:])
    else:
        store.unlink()
    before = store.read_bytes() if store.exists() else None
    for command in ("serve", "verify"):
        line = one_line_of_error(cxrd(command, cwd=house))
        assert "restore a backup as docs/backup.md says" in line
    assert (store.read_bytes() if store.exists() else None) == before


@pytest.mark.parametrize("mount_point", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["serve", "verify", "check", "purge", "backup --to backups"])
def test_an_unmounted_spool_is_an_error_and_not_created(
    house: Path, command: str, mount_point: bool
) -> None:
    spool = house / "data" / "spool"
    spool.rename(house / "away")
    if mount_point:
        spool.mkdir()
    done = cxrd(*command.split(), cwd=house)
    assert done.returncode == 1
    assert "none of the files that the store names is there. Mount its" in done.stdout + done.stderr
    assert spool.exists() is mount_point
    assert list(spool.rglob("*")) == []
    with Store.open(f"sqlite:///{house}/data/cxrd.sqlite", migrate=False) as store:
        assert store.results.instance(1).purged_at is None


@pytest.mark.slow
def test_an_unmounted_spool_that_returns_loses_no_image(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    images = [film(f"mounted-again-{number}") for number in range(3)]
    daemon.send(*images)
    spool = daemon.data / "spool"
    spool.rename(daemon.data / "away")
    for role in ("listener", "analyst", "courier"):
        daemon.kill(role)
    wait_until(
        lambda: daemon.log.count("mount its volume") > len(images),
        "each role logs the unmounted spool",
    )
    assert daemon.run("verify").returncode == 1
    assert not spool.exists()
    (daemon.data / "away").rename(spool)
    wait_until(lambda: len(pacs.of("SR")) == len(images), "every report")
    with daemon.store() as store:
        assert {row["state"] for row in store.export.rows()} == {"analysed"}
        assert store.jobs.list(state=JobState.PARKED) == ()
    # As an earlier version left it.
    (spool / MARKER_NAME).unlink()
    daemon.stop()
    daemon.start()
    assert (spool / MARKER_NAME).is_file()
