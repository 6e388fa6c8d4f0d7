"""The running daemon against dcmtk, checked with dciodvfy and dsrdump."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_model.findings import LABELS
from cxr_model.predict.transform import reduced_shape
from daemon.config.picture_form import DEFAULT_MAX_SIDE
from dicom_io.objects.codes import finding_code
from dicom_io.read.header import read_dataset, read_header
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from tests.builders.images.films import film
from tests.servers.running import RunningDaemon
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, NODE, SENDER, free_port
from tests.tools.validation import new_errors
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]
PACS = "DCMTKPACS"
JPEG_BASELINE, JPEG_2000_LOSSY = "-xy", "-xw"
CHEST_FILMS = {"01": JPEG_BASELINE, "03": JPEG_2000_LOSSY}

# What each file of `dicom/real` is to the gate; None: analysed.
REAL_FILES = {
    "01": None,
    "02": None,
    "03": None,
    "04": None,
    "05": "NOT_CHEST",
    "06": "NOT_CHEST",
    "07": "UNSUPPORTED_SOP_CLASS",
    "08": "UNSUPPORTED_SOP_CLASS",
    "09": "UNSUPPORTED_SOP_CLASS",
    "10": "UNSUPPORTED_SOP_CLASS",
    "11": "UNSUPPORTED_SOP_CLASS",
    "12": "NOT_RADIOGRAPH",
    "13": "UNSUPPORTED_SOP_CLASS",
    "14": "UNSUPPORTED_SOP_CLASS",
    "15": "NO_PIXELS",
}


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("received")


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, bundle: Path, received: Path
) -> Iterator[RunningDaemon]:
    """A daemon that delivers to storescp of dcmtk."""
    port = free_port()
    command = [require_tool("storescp"), "-aet", PACS, "-od", str(received), str(port)]
    peers = [
        {"name": "storescu", "ae_title": SENDER, "sends": True},
        {
            "name": "storescp",
            "ae_title": PACS,
            "host": HOST,
            "port": port,
            "receives": ["report", "heatmap"],
        },
    ]
    with subprocess.Popen(command) as storescp:
        try:
            folder = tmp_path_factory.mktemp("node")
            with RunningDaemon(folder, bundle, port, {"peers": peers}) as running:
                yield running
        finally:
            storescp.terminate()


def real_file(data_folder: Path, number: str) -> Path:
    (path,) = (data_folder / "dicom" / "real").glob(f"{number}_*")
    return path


def storescu(daemon: RunningDaemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            require_tool("storescu"),
            "-aet",
            SENDER,
            "-aec",
            NODE,
            HOST,
            str(daemon.port),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def objects_of(received: Path, study_instance_uid: str, prefix: str) -> list[Path]:
    """Return the complete files of a study; storescp names them after their class."""
    return [
        path
        for path in received.glob(f"{prefix}.*")
        if read_header(path).study_instance_uid == study_instance_uid
    ]


@pytest.mark.parametrize("number", CHEST_FILMS)
def test_storescu_to_storescp(
    daemon: RunningDaemon, received: Path, data_folder: Path, number: str
) -> None:
    film = real_file(data_folder, number)
    done = storescu(daemon, CHEST_FILMS[number], str(film))
    assert done.returncode == 0, done.stderr
    study = read_header(film).study_instance_uid
    with daemon.store() as store:
        wait_until(lambda: bool(store.results.study(study).reports), "the study is reported")
        (instance,) = store.results.study(study).instances
        wait_until(lambda: not _undelivered(daemon), "everything is delivered")
    (report,) = objects_of(received, study, "SR3")
    heatmaps = objects_of(received, study, "SC")
    assert len(heatmaps) == len(instance.objects) > 0
    for path in (report, *heatmaps):
        assert new_errors(path, film) == []
    for path in heatmaps:
        heatmap, source = read_dataset(path), read_dataset(film)
        # The legend is a strip below the film.
        rows, columns = reduced_shape(source.Rows, source.Columns, DEFAULT_MAX_SIDE)
        assert heatmap.Columns == columns
        assert heatmap.Rows > rows
        assert heatmap.PatientID == source.PatientID
    _check_dump(report, daemon)


def _undelivered(daemon: RunningDaemon) -> bool:
    with daemon.store() as store:
        return any(job.lane and job.state != "done" for job in store.jobs.list(limit=None))


def _check_dump(report: Path, daemon: RunningDaemon) -> None:
    """Check the findings and the model in the output of dsrdump."""
    done = subprocess.run(
        [require_tool("dsrdump"), "+Pl", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for label in LABELS:
        meaning = finding_code(label).concept.meaning
        answers = [line for line in done.stdout.splitlines() if f',"{meaning}")=(' in line]
        assert len(answers) == 1, label
        assert "Present" in answers[0] or "Absent" in answers[0]
    assert done.stdout.count('"Probability")=') == len(LABELS)
    assert done.stdout.count('"Threshold Value")=') == len(LABELS)
    with daemon.store() as store:
        (instance, *_) = store.results.study(read_header(report).study_instance_uid).instances
    assert f"Model bundle sha256: {instance.model_sha256}" in done.stdout
    assert 'Name")="random"' in done.stdout
    assert 'Algorithm Version")="1"' in done.stdout
    assert "research use only" in done.stdout.lower()


def test_storescu_that_combines_its_transfer_syntaxes(
    daemon: RunningDaemon, data_folder: Path
) -> None:
    film = real_file(data_folder, "01")
    done = storescu(daemon, "+C", JPEG_BASELINE, str(film))
    assert done.returncode == 0, done.stderr


def test_a_stranger_may_echo_and_not_store(daemon: RunningDaemon, tmp_path: Path) -> None:
    echoscu = require_tool("echoscu")
    for title in (SENDER, "STRANGER"):
        echo = [echoscu, "-aet", title, HOST, str(daemon.port)]
        assert subprocess.run(echo, check=False).returncode == 0
    path = tmp_path / "film.dcm"
    path.write_bytes(film("stranger"))
    store = [require_tool("storescu"), "-aet", "STRANGER", HOST, str(daemon.port), str(path)]
    done = subprocess.run(store, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stderr


def test_every_real_file_ends_in_a_named_state(daemon: RunningDaemon, data_folder: Path) -> None:
    destination = Destination("cxrd", NODE, HOST, daemon.port, SENDER)
    ends: dict[str, str | None] = {}
    sent: dict[str, str] = {}
    for number in REAL_FILES:
        data = real_file(data_folder, number).read_bytes()
        with Sender(destination, sop_classes=(), also=[pair_of(data)]) as sender:
            result = sender.send(data)
        if result.disposition is Disposition.DELIVERED:
            sent[number] = read_header(data).sop_instance_uid
        else:
            ends[number] = result.detail
    with daemon.store() as store:

        def all_settled() -> bool:
            return all(row["state"] != "received" for row in store.export.rows())

        wait_until(all_settled, "every image has its result")
        rows = {row["sop_instance_uid"]: row for row in store.export.rows()}
    for number, uid in sent.items():
        ends[number] = rows[uid]["reason"] or None
        assert rows[uid]["state"] == ("not_analysed" if ends[number] else "analysed")
    assert ends == REAL_FILES
    assert "Traceback" not in daemon.log
