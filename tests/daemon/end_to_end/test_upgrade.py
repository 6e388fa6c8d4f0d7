"""A node of version 0.1.0, with its configuration, its store and its files, under this version.

That version sent the results of every sender to every destination. The store of the routing tests
is the snapshot of its revision: the results of a study of MODALITY, for PACS and ARCHIVE, and a
film being analysed. The last test continues a data folder that version 0.1.0 itself wrote.
"""

import contextlib
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.config.routing import sources_by_title
from daemon.deliver.routes import park_refused
from daemon.errors import ConfigError
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.read.header import read_header
from dicom_io.report.document import build_report
from storage.files.folder_spool import FolderSpool
from storage.files.spool import object_path, received_path
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film
from tests.builders.objects import NOW, full_header, report_content
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.storage.tables.release import restore
from tests.tools.cli import cxrd_process
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

SHIPPED = ROOT / "tests" / "daemon" / "config" / "released" / "config-0.1.0.yaml"
"""The config.yaml of version 0.1.0."""
REVISION = "0004"
"""The revision of the store of version 0.1.0."""
DATA = Path(__file__).with_name("released") / "data-0.1.0.tar.xz"
"""The data folder of a node of version 0.1.0, killed while it analysed a film.

It received five drawn films of four studies from STORESCU. Two studies are delivered to PACS, and
parked for ARCHIVE, which refused the AE title. The results of the third wait for both.
"""

SENDS = {"name": "modality", "ae_title": "MODALITY", "sends": True}


def archive(name: str, ae_title: str, port: int = 104, **keys: Any) -> dict[str, Any]:
    values = {"host": HOST, "port": port, "sends": True, "receives": ["report", "heatmap"]}
    return {"name": name, "ae_title": ae_title, **values, **keys}


HOSPITALS = [archive("PACS", "MODALITY"), archive("ARCHIVE", "SOUTH")]


def old_configuration(folder: Path, peers: list[dict[str, Any]]) -> Path:
    """Write the configuration of version 0.1.0 with these peers."""
    values = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**values, "peers": peers}), encoding="utf-8")
    return path


def old_store(folder: Path) -> Path:
    """Restore the store, with the deliveries to PACS not yet made. Return its file."""
    path = folder / "data" / "cxrd.sqlite"
    path.parent.mkdir()
    restore(REVISION, path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE deliveries SET delivered_at = NULL WHERE destination = 'PACS'")
        database.execute("UPDATE jobs SET state = 'queued' WHERE lane = 'PACS'")
        database.execute("DELETE FROM jobs WHERE kind = 'commit'")
        database.commit()
    return path


def test_the_shipped_configuration_sends_where_it_did() -> None:
    config = load_config(SHIPPED)
    assert config.routing.table == {"storescu": ("pacs",), "pacs": ("pacs",)}
    assert config.routing.crossings == ()


def test_a_choice_that_was_left_open_is_refused_with_the_lines_to_add(tmp_path: Path) -> None:
    path = old_configuration(tmp_path, [SENDS, archive("north", "N"), archive("south", "S")])
    done = cxrd_process("serve", "--config", path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"cxrd: {path}: peers: the results of modality have no certain destination, as north and"
        " south send and receive: say in `peers` which of these gets them:\n"
        "  - name: north\n"
        "    results_of: [north, modality]\n"
        "or\n"
        "  - name: south\n"
        "    results_of: [south, modality]\n"
        "or, to send them to no peer, for each of north and south:\n"
        "    results_of: own\n"
    )
    assert not (tmp_path / "data").exists()


def test_senders_that_look_alike_are_refused(tmp_path: Path) -> None:
    alike = [SENDS, {**SENDS, "name": "second"}]
    with pytest.raises(ConfigError, match="cannot be told apart by their host: give both the same"):
        load_config(old_configuration(tmp_path, alike))


@pytest.mark.parametrize(
    ("peers", "parked", "reason"),
    [
        (
            [SENDS, archive("PACS", "ONE"), archive("ARCHIVE", "TWO", sends=False)],
            "PACS",
            "results of modality may not go to PACS",
        ),
        (
            [SENDS, archive("PACS", "ONE", sends=False), archive("ARCHIVE", "TWO", sends=False)],
            "",
            "",
        ),
        (HOSPITALS, "ARCHIVE", "results of PACS may not go to ARCHIVE"),
        (
            [
                archive("PACS", "MODALITY", host="192.0.2.1"),
                archive("ARCHIVE", "MODALITY", host="192.0.2.2"),
            ],
            "PACS ARCHIVE",
            "the source of this result is not known",
        ),
        (
            [archive("PACS", "ONE"), archive("ARCHIVE", "TWO")],
            "PACS ARCHIVE",
            "the source of this result is not known",
        ),
    ],
    ids=["two kinds", "receivers", "hospitals", "one title", "sender removed"],
)
def test_queued_deliveries_that_the_table_does_not_allow_are_parked(
    tmp_path: Path, peers: list[dict[str, Any]], parked: str, reason: str
) -> None:
    config = load_config(old_configuration(tmp_path, peers))
    with Store.open(f"sqlite:///{old_store(tmp_path)}", migrate=True) as store:
        before = {job.id for job in store.jobs.list(state=JobState.QUEUED, kind=JobKind.DELIVER)}
        store.adopt_sources(sources_by_title(config.peers))
        park_refused(config, store)
        found = {job.lane for job in store.jobs.list(state=JobState.PARKED) if job.id in before}
        assert found == set(parked.split())
        for job in store.jobs.list(state=JobState.PARKED):
            assert job.id not in before or reason in (job.last_error or "")
        deliveries = store.jobs.list(kind=JobKind.DELIVER)
        assert {job.subject for job in deliveries} == {
            f"{uid}@{name}" for uid in ("9.9", "5.1") for name in ("PACS", "ARCHIVE")
        }


def _fill_spool(store_file: Path, film_bytes: bytes) -> None:
    """Give the queued objects and the film that is being analysed their files."""
    spool = FolderSpool(store_file.parent / "spool")
    header = read_header(film_bytes)
    path = received_path(header.study_instance_uid, header.sop_instance_uid, "a")
    kept = spool.write(path, film_bytes)
    made = {}
    for number, uid in enumerate(("9.9", "5.1")):
        identity = Identity(f"2.25.7{number}", f"2.25.7{number}.1", 9900, 1, NOW)
        data = to_bytes(build_report(report_content(full_header(), identity=identity)))
        made[uid] = spool.write(object_path(uid, data), data)
    with contextlib.closing(sqlite3.connect(store_file)) as database:
        for uid, file in made.items():
            database.execute(
                "UPDATE objects SET spool_path = ?, size = ?, sha256 = ?"
                " WHERE sop_instance_uid = ?",
                (file.path, file.size, file.sha256, uid),
            )
        database.execute("DELETE FROM findings WHERE instance_id = 3")
        database.execute("DELETE FROM instances WHERE id = 3")
        database.execute("DELETE FROM jobs WHERE kind = 'analyse' AND subject = '3'")
        database.execute(
            "UPDATE instances SET sop_instance_uid = ?, study_instance_uid = ?,"
            " series_instance_uid = ?, sop_class_uid = ?, spool_path = ?, size = ?, sha256 = ?,"
            " patient_id = ?, revision = 1, received_at = datetime('now') || '.000000'"
            " WHERE id = 4",
            (
                header.sop_instance_uid,
                header.study_instance_uid,
                header.series_instance_uid,
                header.sop_class_uid,
                kept.path,
                kept.size,
                kept.sha256,
                header.patient_id,
            ),
        )
        database.execute(
            "UPDATE jobs SET subject = ? WHERE kind = 'report' AND subject = '1.2.4'",
            (header.study_instance_uid,),
        )
        database.commit()


@pytest.mark.slow
def test_an_upgraded_node_sends_nothing_anywhere_new(tmp_path: Path, bundle: Path) -> None:
    image = film("in-work")
    study = read_header(image).study_instance_uid
    with (
        RecordingPacs(tmp_path / "north", ae_title="MODALITY") as north,
        RecordingPacs(tmp_path / "south", ae_title="SOUTH") as south,
    ):
        peers = [archive("PACS", "MODALITY", north.port), archive("ARCHIVE", "SOUTH", south.port)]
        daemon = RunningDaemon(tmp_path, bundle, free_port(), {"peers": peers})
        _fill_spool(old_store(tmp_path), image)
        with daemon:
            wait_until(lambda: len(north.reports_of(study)) == 1, "the film is reported", 60)
            wait_until(lambda: len(north.counts) > 2, "the queued results are delivered")
            with daemon.store() as store:
                wait_until(
                    lambda: not store.jobs.list(state=JobState.QUEUED), "no work is left", 30
                )
                parked = {job.subject: job for job in store.jobs.list(state=JobState.PARKED)}
            assert parked.keys() == {"9.9@ARCHIVE", "5.1@ARCHIVE"}
            assert "results of PACS may not go to ARCHIVE" in (
                parked["5.1@ARCHIVE"].last_error or ""
            )
            retried = daemon.run("jobs", "retry", "--all-parked")
            assert retried.stdout == "0 job(s) queued again\n"
            assert retried.stderr.count("stays as it is: results of PACS may not go") == 2
            assert "2 study(ies) of an earlier version have a source now" in daemon.log
            assert "ARCHIVE: 1 delivery(ies) are parked" in daemon.log
    assert {"2.25.70", "2.25.71"} <= north.counts.keys()
    assert not south.counts


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


_FINDINGS = "SELECT instance_id, label, logit, probability, threshold, present FROM findings"
_DELIVERED = "SELECT sop_instance_uid, destination FROM deliveries WHERE delivered_at IS NOT NULL"
_FILMS = "SELECT id, sop_instance_uid, sha256, received_at FROM instances"
_TRAIL = "SELECT number, kind, subject, hash FROM audit_events ORDER BY number"


@pytest.mark.slow
def test_a_data_folder_of_version_0_1_0_goes_on_without_loss(tmp_path: Path, bundle: Path) -> None:
    with tarfile.open(DATA) as archived:
        archived.extractall(tmp_path, filter="data")
    path = tmp_path / "data" / "cxrd.sqlite"
    findings, delivered = _rows(path, _FINDINGS), set(_rows(path, _DELIVERED))
    wanted = set(_rows(path, _DELIVERED.partition(" WHERE")[0])) - delivered
    trail = _rows(path, _TRAIL)
    films = _rows(path, _FILMS)
    assert (len(films), len(delivered), len(wanted)) == (5, 9, 7)
    with (
        RecordingPacs(tmp_path / "north", ae_title="ORTHANC") as pacs,
        RecordingPacs(tmp_path / "south", ae_title="ARCHIVE") as other,
    ):
        peers = [
            {"name": "modality", "ae_title": "STORESCU", "sends": True},
            archive("pacs", "ORTHANC", pacs.port, results_of=["pacs", "modality"]),
            archive("archive", "ARCHIVE", other.port, sends=False, receives=["report"]),
        ]
        with RunningDaemon(tmp_path, bundle, free_port(), {"peers": peers}) as daemon:
            assert daemon.run("jobs", "retry", "--all-parked").stdout == "2 job(s) queued again\n"
            with daemon.store() as store:
                unfinished = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)
                wait_until(
                    lambda: not any(store.jobs.list(state=state) for state in unfinished),
                    "no work is left",
                    60,
                )
            for command in (("verify",), ("audit", "verify")):
                done = daemon.run(*command)
                assert done.returncode == 0, done.stderr
    arrived = {(uid, "pacs") for uid in pacs.counts} | {(uid, "archive") for uid in other.counts}
    assert wanted <= arrived
    assert not delivered & arrived
    assert {*pacs.counts.values(), *other.counts.values()} == {1}
    assert len(other.counts) == 4, "a report for each study"
    assert set(_rows(path, _DELIVERED)) == arrived | delivered
    assert set(findings) < set(_rows(path, _FINDINGS))
    assert _rows(path, _FILMS) == films
    assert _rows(path, _TRAIL)[: len(trail)] == trail
    states = _rows(path, "SELECT state, reason FROM instances ORDER BY state")
    assert states == [("analysed", None)] * 4 + [("not_analysed", "LATERAL_VIEW")]
