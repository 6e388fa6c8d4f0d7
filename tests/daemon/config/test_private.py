"""Patient data stays out of logs, pages, errors and files that other users can read.

One daemon meets successes and failures under umask 0. Every identifying attribute of its images
holds a canary: a value that occurs nowhere else.
"""

import io
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit
from pynetdicom import AE, AllStoragePresentationContexts, evt

from daemon.config.files.permissions import readable_by_others
from daemon.config.loading import load_config
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.errors import ConfigError
from dicom_io.send.association import Destination
from dicom_io.send.sender import echo
from storage.records import InstanceState, JobKind, JobState
from tests.builders.images.films import film
from tests.servers.dicom.storage_node import store_raw
from tests.servers.running import RunningDaemon, SpawningDaemon
from tests.servers.website import Site
from tests.tools.cli import cxrd, cxrd_process
from tests.tools.ports import HOST, NODE, PACS, SENDER
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

CANARY = "KANARIE"
UID_CANARY = "1.2.840.99.424242"
BIRTH_DATE = "19010203"
TEXT_ATTRIBUTES = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "IssuerOfPatientID",
    "PatientAddress",
    "PatientComments",
    "PatientBirthName",
    "PatientMotherBirthName",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "OperatorsName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "StationName",
    "DeviceSerialNumber",
    "ProtocolName",
    "ImageComments",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "AdmittingDiagnosesDescription",
)


def marked(number: int) -> Dataset:
    """Return a film of its own study, with canaries in all identifying attributes."""
    ds = dcmread(io.BytesIO(film(f"study{number}")))
    for index, name in enumerate(TEXT_ATTRIBUTES):
        setattr(ds, name, f"{CANARY}{index}")
    ds.PatientBirthDate = BIRTH_DATE
    ds.StudyInstanceUID = f"{UID_CANARY}.{number}"
    ds.SeriesInstanceUID = f"{UID_CANARY}.{number}.1"
    ds.SOPInstanceUID = f"{UID_CANARY}.{number}.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    ds.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
    return ds


def encoded(ds: Dataset) -> bytes:
    written = io.BytesIO()
    ds.save_as(written)
    return written.getvalue()


def wrong_values(number: int) -> bytes:
    """Return a film with words in place of dates, as some senders write them."""
    ds = marked(number)
    ds.StudyDate = BIRTH_DATE
    return encoded(ds).replace(BIRTH_DATE.encode(), f"{CANARY} ".encode())


def undecodable(number: int) -> bytes:
    """Return a film with words in place of JPEG data."""
    ds = marked(number)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([b"\xff\xd8" + CANARY.encode() * 50])
    ds["PixelData"].VR = "OB"
    return encoded(ds)


def truncated(number: int) -> bytes:
    """Return a film with half of its pixels."""
    ds = marked(number)
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 4 * 2]
    return encoded(ds)


def lateral(number: int) -> bytes:
    ds = marked(number)
    ds.ViewPosition = "LL"
    return encoded(ds)


@contextmanager
def pacs_that_names_patients() -> Iterator[int]:
    """An archive that refuses objects, permanently or not, with comments that name the patient."""
    answers = iter(range(10_000))

    def refuse(_: evt.Event) -> Dataset:
        status = Dataset()
        status.Status = 0xA900 if next(answers) % 2 else 0xA700
        status.ErrorComment = f"patient {CANARY} born {BIRTH_DATE} is not known"
        return status

    ae = AE(ae_title=PACS)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


class Run:
    """The running daemon, and the output of the commands."""

    def __init__(self, daemon: RunningDaemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.output: dict[str, str] = {}

    @property
    def site(self) -> Site:
        port = yaml.safe_load(self.daemon.config.read_text())["web"]["port"]
        return Site(port, self.daemon.data, lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("private")
    with pacs_that_names_patients() as port:
        daemon = SpawningDaemon(folder / "node", bundle, port, _peers(port))
        umask = os.umask(0)
        try:
            with daemon:
                run = Run(daemon, folder)
                _exercise(run)
                yield run
        finally:
            os.umask(umask)


def _peers(port: int) -> dict[str, Any]:
    archive = {"name": "pacs", "ae_title": PACS, "host": HOST, "port": port, "commitment": True}
    return {
        "log": {"level": "debug"},
        "peers": [
            {"name": "sender", "ae_title": SENDER, "sends": True},
            {**archive, "receives": ["report", "heatmap"]},
        ],
    }


def _exercise(run: Run) -> None:
    daemon = run.daemon
    objects = [encoded(marked(1)), wrong_values(2), undecodable(3), truncated(4), lateral(5)]
    daemon.send(*objects)
    _send_nonsense(daemon)
    with daemon.store() as store:
        wait_until(lambda: _ended(store, len(objects)), "every image has ended")
        wait_until(
            lambda: bool(store.jobs.list(kind=JobKind.DELIVER, state=JobState.PARKED)),
            "a delivery is parked",
        )
    (run.folder / "film.dcm").write_bytes(undecodable(6))
    (run.folder / "other.dcm").write_bytes(encoded(marked(7)))
    out = run.folder / "out"
    for name, arguments in {
        "check": ["check"],
        "export to a missing folder": ["export", "--out", str(run.folder / "none" / "rows.csv")],
        "export": ["export", "--out", str(run.folder / "rows.csv")],
        "no job": ["jobs", "show", "4711"],
        "analyse": ["analyse", str(run.folder), "--out", str(out)],
    }.items():
        # Libraries that read images could write to stderr, which only a real process shows.
        command = cxrd_process if name in ("check", "analyse") else cxrd
        done = command(*arguments, "--config", daemon.config, cwd=run.folder)
        assert "Traceback" not in done.stderr
        run.output[name] = done.stdout + done.stderr


def _ended(store: Any, number: int) -> bool:
    counts = store.status.instance_counts()
    return bool(
        counts[InstanceState.RECEIVED] == 0
        and counts[InstanceState.ANALYSED] + counts[InstanceState.NOT_ANALYSED] >= number
    )


def _send_nonsense(daemon: RunningDaemon) -> None:
    """Send malformed objects and PDUs that contain canaries."""
    named = encoded(marked(8))
    node: Any = daemon
    for data_set in (
        CANARY.encode() * 20,
        named[named.index(CANARY.encode()) - 8 :],
        b"\x10\x00\x10\x00PN\xff\xff" + CANARY.encode(),
    ):
        assert store_raw(node, data_set, uid=f"{UID_CANARY}.9").Status != 0
    stranger = Destination("node", NODE, HOST, daemon.port, "STRANGER")
    assert not echo(stranger).ok
    for pdu in (
        CANARY.encode() * 20,
        b"\x01\x00\x00\x00\x00\x20" + CANARY.encode() * 20,
        b"\x04\x00\x00\x00\x00\x07" + CANARY.encode(),
    ):
        with socket.create_connection((HOST, daemon.port)) as client:
            client.sendall(pdu)
            client.settimeout(0.3)
            try:
                client.recv(100)
            except OSError:
                continue


def canaries_in(text: str) -> list[str]:
    return re.findall(rf"(?i).*(?:{CANARY}|{re.escape(UID_CANARY)}|{BIRTH_DATE}).*", text)


@pytest.mark.slow
def test_no_log_line_names_a_patient(run: Run) -> None:
    assert "LATERAL" in "".join(row["reason"] for row in _rows(run))
    assert "is parked: status 0xA900" in run.daemon.log
    assert "status 0xA700" in run.daemon.log
    assert "'STRANGER'" in run.daemon.log
    assert canaries_in(run.daemon.log) == []
    letters = re.findall(r"0x([0-9A-F]{2})'", run.daemon.log)
    assert CANARY not in bytes.fromhex("".join(letters)).decode("latin-1")


def _rows(run: Run) -> list[dict[str, str]]:
    with run.daemon.store() as store:
        return list(store.export.rows())


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_no_page_names_a_patient(run: Run, path: str) -> None:
    assert canaries_in(run.site.ask(path).text) == []


@pytest.mark.slow
def test_no_command_prints_a_patient(run: Run) -> None:
    for name, output in run.output.items():
        assert output, name
        assert canaries_in(output) == [], name


@pytest.mark.slow
def test_canaries_are_in_the_store_and_the_export(run: Run) -> None:
    """Without canaries in the store the other tests would be void."""
    (row, *_) = _rows(run)
    assert CANARY in row["patient_id"]
    assert canaries_in((run.folder / "rows.csv").read_text())


def _open_to_others(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder)} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in [folder, *folder.rglob("*")]
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("written", "at_least"), [("node/data", 20), ("out", 3), ("rows.csv", 1)])
def test_written_files_are_closed_to_other_users(run: Run, written: str, at_least: int) -> None:
    place = run.folder / written
    assert len([place, *place.rglob("*")]) >= at_least
    assert place.exists()
    assert _open_to_others(place) == []


@pytest.mark.slow
def test_an_export_to_a_missing_folder_creates_nothing(run: Run) -> None:
    assert run.output["export to a missing folder"].startswith("cxrd: ")
    assert not (run.folder / "none").exists()


def _loosen(folder: Path, mode: int) -> Callable[[], list[str]]:
    folder.mkdir()
    folder.chmod(0o700)
    (folder / "web_token").write_text("x")
    (folder / "web_token").chmod(mode)
    return lambda: readable_by_others(Config(data_dir=folder))


def test_file_that_others_may_read_causes_a_warning(tmp_path: Path) -> None:
    assert _loosen(tmp_path / "closed", 0o640)() == []
    (line,) = _loosen(tmp_path / "open", 0o644)()
    assert "web_token can be read by every user: chmod" in line


def test_file_that_others_may_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="web_token can be changed by every user: chmod"):
        _loosen(tmp_path / "open", 0o646)()


NAMED = """
data_dir: data
database_url_file: url
listener: {tls: true}
tls: {certificate: c.pem, key: k.pem, key_password_file: tls.pw, ca: ca.pem}
web: {certificate: w.pem, key: w.key, key_password_file: web.pw, token_file: token}
syslog: {host: h, certificate: s.pem, key: s.key, key_password_file: syslog.pw, ca: syslog.ca}
"""
SECRETS = ("url", "k.pem", "tls.pw", "w.key", "web.pw", "token", "s.key", "syslog.pw")
TRUSTED = ("config.yaml", "c.pem", "ca.pem", "w.pem", "s.pem", "syslog.ca")


def _warnings_of(folder: Path, name: str, mode: int) -> list[str]:
    """Return the warnings if one of the files that the configuration names has this mode."""
    for each in (*SECRETS, *TRUSTED):
        (folder / each).write_text(f"sqlite:///{folder / 'data' / 'x'}")
        (folder / each).chmod(0o600)
    (folder / "data").mkdir(mode=0o700)
    (folder / "config.yaml").write_text(NAMED)
    (folder / name).chmod(mode)
    return readable_by_others(load_config(folder / "config.yaml"))


@pytest.mark.parametrize("name", SECRETS + TRUSTED)
def test_no_named_file_may_be_changed_by_others(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"/{name} can be changed by every user"):
        _warnings_of(tmp_path, name, 0o602)


@pytest.mark.parametrize("name", SECRETS)
def test_a_named_secret_that_others_may_read_causes_a_warning(tmp_path: Path, name: str) -> None:
    (line,) = _warnings_of(tmp_path, name, 0o604)
    assert f"/{name} can be read by every user" in line


@pytest.mark.parametrize("name", TRUSTED)
def test_a_certificate_may_be_read_by_others(tmp_path: Path, name: str) -> None:
    assert _warnings_of(tmp_path, name, 0o604) == []


@pytest.mark.parametrize(
    "secret",
    [
        "web: {token: aaaaaaaaaaaaaaaaaaaaaaaa}",
        "syslog: {key_password: secret}",
        "database_url: postgresql+psycopg://user:secret@host/name",
        "database_url: postgresql+psycopg://host/name?user=me&password=secret",
    ],
)
def test_configuration_with_a_secret_may_not_be_read(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(secret)
    path.chmod(0o644)
    (line,) = readable_by_others(load_config(path))
    assert f"{path} can be read by every user" in line
    path.write_text("database_url: postgresql+psycopg://user@host/name")
    assert readable_by_others(load_config(path)) == []


GiveTo = Callable[[int, Path], None]


@pytest.fixture
def give_to(monkeypatch: pytest.MonkeyPatch) -> GiveTo:
    """Pretends that a user owns a path; only root could really change the owner."""
    given: dict[Path, int] = {}

    def owned(status: os.stat_result, path: Path) -> os.stat_result:
        values = list(status)
        values[stat.ST_UID] = given.get(path, status.st_uid)
        return os.stat_result(values)

    real_stat, real_lstat = Path.stat, Path.lstat
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **links: owned(real_stat(path, **links), Path(os.path.realpath(path))),
    )
    monkeypatch.setattr(Path, "lstat", lambda path: owned(real_lstat(path), path))
    return lambda user, path: given.update({path: user})


def owned_by(user: int) -> os.stat_result:
    return os.stat_result([0, 0, 0, 0, user, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("name", ["data", *SECRETS, *TRUSTED])
def test_no_named_file_may_belong_to_another_user(
    tmp_path: Path, name: str, give_to: GiveTo
) -> None:
    give_to(4711, tmp_path / name)
    with pytest.raises(ConfigError, match=rf"/{name} belongs to user 4711.*: run cxrd as that us"):
        _warnings_of(tmp_path, "config.yaml", 0o600)


def test_root_may_own_named_files(
    tmp_path: Path, give_to: GiveTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", *SECRETS, *TRUSTED):
        give_to(0, tmp_path / name)
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    monkeypatch.setattr(os, "fstat", lambda _: owned_by(4712))
    assert _warnings_of(tmp_path, "config.yaml", 0o600) == []


@pytest.mark.parametrize("given", ["web_token", "elsewhere"])
def test_neither_a_link_nor_its_target_may_belong_to_another_user(
    tmp_path: Path, given: str, give_to: GiveTo
) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "elsewhere").touch(0o600)
    (tmp_path / "web_token").symlink_to("elsewhere")
    give_to(4711, tmp_path / given)
    with pytest.raises(ConfigError, match="web_token belongs to user 4711"):
        readable_by_others(Config(data_dir=tmp_path))


def test_mount_that_gives_every_file_to_one_user_is_accepted(
    tmp_path: Path, give_to: GiveTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_to(4711, tmp_path)
    tmp_path.chmod(0o700)
    config = Config(data_dir=tmp_path)
    with pytest.raises(ConfigError, match="belongs to user 4711"):
        readable_by_others(config)
    monkeypatch.setattr(os, "fstat", lambda _: owned_by(4711))
    assert readable_by_others(config) == []


def test_folder_in_which_all_users_may_create_files_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ConfigError, match="is open to the files of every user: use a folder"):
        readable_by_others(Config(data_dir=tmp_path))


@pytest.mark.parametrize("name", ["", "s.db", "s.db-wal", "s.db-shm", "s.db-journal"])
def test_store_elsewhere_may_not_be_changed_by_others(tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    (tmp_path / "data").mkdir(mode=0o700)
    place.mkdir(mode=0o755)
    for file in ("s.db", "s.db-wal", "s.db-shm", "s.db-journal"):
        (place / file).touch(0o600)
    url = SecretStr(f"sqlite+pysqlite:///{place / 's.db'}?timeout=5")
    config = Config(data_dir=tmp_path / "data", database_url=url)
    assert readable_by_others(config) == []
    (place / name).chmod((place / name).stat().st_mode | 0o002)
    with pytest.raises(ConfigError, match=f"{place / name} can be changed by every user"):
        readable_by_others(config)


def test_store_elsewhere_may_not_be_read_by_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "s.db").touch()
    (tmp_path / "s.db").chmod(0o644)
    url = SecretStr(f"sqlite:///{tmp_path / 's.db'}")
    (line,) = readable_by_others(Config(data_dir=tmp_path / "data", database_url=url))
    assert "s.db can be read by every user" in line


@pytest.mark.parametrize("name", ["", "card.json", "weights.safetensors"])
def test_model_may_not_be_changed_by_others(tmp_path: Path, name: str) -> None:
    model = tmp_path / "model"
    (tmp_path / "data").mkdir(mode=0o700)
    model.mkdir(mode=0o755)
    for file in ("card.json", "weights.safetensors"):
        (model / file).touch()
        (model / file).chmod(0o644)
    config = Config(data_dir=tmp_path / "data", model=ModelConfig(bundle=str(model)))
    assert readable_by_others(config) == []
    (model / name).chmod((model / name).stat().st_mode | 0o002)
    with pytest.raises(ConfigError, match=f"{model / name} can be changed by every user"):
        readable_by_others(config)
