"""Malformed objects: each is answered with a status or ends in a named state."""

import csv
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.filereader import _read_file_meta_info, read_preamble

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from dicom_io.gate.reasons import Reason
from dicom_io.read.header import read_header
from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.receive.store_request import StoreStatus
from storage.records import HoldReason, InstanceState, JobKind, JobState
from tests.builders.images.films import film
from tests.builders.images.mutations import SYNTAXES, Mutation, mutations
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.dicom.raw_sender import raw_sender
from tests.servers.running import RunningDaemon
from tests.tools.ports import PACS
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

CT, CR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
ANSWERS = frozenset({*StoreStatus})


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The answers by status, and the acknowledged objects by reason."""

    answers: Counter[int]
    reasons: Counter[str]

    def __str__(self) -> str:
        answers = ", ".join(f"0x{status:04X} {n}" for status, n in sorted(self.answers.items()))
        reasons = ", ".join(f"{reason} {n}" for reason, n in self.reasons.most_common())
        return f"{self.answers.total()} sent; answers: {answers}; ended as: {reasons}"


@pytest.fixture(scope="module")
def sparse(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random bundle with thresholds that few findings reach: fewer objects to draw."""
    loaded = Bundle.load(bundle)
    thresholds = {label: 0.5 if number < 3 else 0.999999 for number, label in enumerate(LABELS)}
    folder = tmp_path_factory.mktemp("sparse") / "bundle"
    card = dataclasses.replace(loaded.card, thresholds=thresholds)
    Bundle.build(loaded.network(), card).save(folder)
    return folder


@contextmanager
def all_products(tmp_path: Path, bundle: Path) -> Iterator[tuple[RunningDaemon, RecordingPacs]]:
    """Run a daemon that makes every kind of object."""
    with RecordingPacs(tmp_path / "pacs") as pacs:
        peers: list[dict[str, Any]] = [
            {"name": "sender", "ae_title": "STORESCU", "sends": True},
            {
                "name": "pacs",
                "ae_title": PACS,
                "host": "127.0.0.1",
                "port": pacs.port,
                "receives": [
                    "report",
                    "heatmap",
                    "summary",
                    "presentation_state",
                    "segmentation",
                ],
                "picture_syntax": "jpeg_baseline",
            },
        ]
        changes = {"peers": peers, "analyst": {"retry_seconds": 0.1, "decode_seconds": 20}}
        with RunningDaemon(tmp_path / "node", bundle, pacs.port, changes) as daemon:
            yield daemon, pacs


def send_all(daemon: RunningDaemon, sent: Iterable[Mutation]) -> Counter[int]:
    answers: Counter[int] = Counter()
    pairs = itertools.product((CT, CR, DX), SYNTAXES)
    with suppressed_warnings(), raw_sender(daemon.port, pairs) as sender:
        for one in sent:
            status = sender.send(one.sop_class_uid, one.syntax, one.sop_instance_uid, one.data_set)
            assert status is not None, f"{one.name} got no answer"
            assert status in ANSWERS, f"{one.name} was answered 0x{status:04X}"
            answers[status] += 1
    return answers


def settle(daemon: RunningDaemon, seconds: float) -> None:
    """Wait until every image has its result and every study its report."""

    def settled() -> bool:
        with daemon.store() as store:
            counts = store.status.job_counts()
        return not any(
            number
            for group, number in counts.items()
            if group.kind is not JobKind.DELIVER
            and group.state in {JobState.QUEUED, JobState.RUNNING}
        )

    wait_until(settled, "every image and every study is done", seconds)


def check(
    daemon: RunningDaemon, pacs: RecordingPacs, answers: Counter[int], folder: Path
) -> Outcome:
    """Check that no role crashed, no job is parked, and a good image is still reported."""
    out = folder / "export.csv"
    exported = daemon.run("export", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    reasons = Counter(
        row["reason"] if row["state"] == InstanceState.NOT_ANALYSED else row["state"]
        for row in rows
    )
    outcome = Outcome(answers, reasons)
    failed = [row["detail"] for row in rows if row["reason"] == Reason.ANALYSIS_FAILED]
    assert not failed, f"{failed[:5]}\n{daemon.log[-6000:]}"
    assert set(reasons) <= {InstanceState.ANALYSED, *Reason}
    # A second object with the same bytes is stored once.
    copies = daemon.log.count("duplicate, revision")
    assert reasons.total() + copies == answers[StoreStatus.SUCCESS]
    with daemon.store() as store:
        parked = [
            job
            for job in store.jobs.list(state=JobState.PARKED)
            # A mutated Patient ID or UID makes two patients of one, or moves a film.
            if not (job.last_error or "").startswith(tuple(HoldReason))
        ]
    assert not parked, (parked, daemon.log[-6000:])
    for role in ("listener", "analyst"):
        assert daemon.log.count(f"{role} started") == 1, daemon.log[-6000:]
    assert "Traceback" not in daemon.log
    assert "UserWarning" not in daemon.log, "a warning may quote the header"
    good = film("good after bad")
    daemon.send(good)
    study = read_header(good).study_instance_uid
    wait_until(lambda: bool(pacs.reports_of(study)), "the report on a good image")
    with daemon.store() as store:
        (instance,) = store.results.study(study).instances
    assert instance.state is InstanceState.ANALYSED
    return outcome


def malformed(folder: Path) -> Iterator[Mutation]:
    """Yield every file as it is, and as a chest film, which passes the gate."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == 342
    with suppressed_warnings():
        yield from _as_sent(files)


def _as_sent(files: Sequence[Path]) -> Iterator[Mutation]:
    for number, path in enumerate(files):
        data = path.read_bytes()
        syntax, uid = EXPLICIT, f"2.25.{number + 1}"
        try:
            with path.open("rb") as file:
                read_preamble(file, force=False)
                meta = _read_file_meta_info(file)
                # A file without a data set is sent whole.
                data = file.read() or data
            declared = str(meta.get("TransferSyntaxUID", ""))
            syntax = declared if declared in SYNTAXES else EXPLICIT
            uid = str(dcmread(path, specific_tags=["SOPInstanceUID"])[0x00080018].value)
        except Exception:  # noqa: BLE001, S110 - most of these files are broken just there
            pass
        if not uid or len(uid) > 64 or not uid.replace(".", "").isdigit():
            uid = f"2.25.{number + 1}"
        yield Mutation(path.name, CT, uid, syntax, data)
        as_film = data.replace(CT.encode(), CR.encode()).replace(b"CS\x02\x00CT", b"CS\x02\x00CR")
        yield Mutation(path.name, CR, uid, syntax, as_film)


@pytest.mark.parametrize("count", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_mutations_end_in_named_states(tmp_path: Path, sparse: Path, count: int) -> None:
    with all_products(tmp_path, sparse) as (daemon, pacs):
        answers = send_all(daemon, list(mutations(seed=1, count=count)))
        settle(daemon, 200)
        print(check(daemon, pacs, answers, tmp_path))


@pytest.mark.slow
def test_malformed_files_end_in_named_states(
    tmp_path: Path, sparse: Path, data_folder: Path
) -> None:
    with all_products(tmp_path, sparse) as (daemon, pacs):
        answers = send_all(daemon, list(malformed(data_folder / "dicom" / "malformed"))[::7])
        settle(daemon, 200)
        print(check(daemon, pacs, answers, tmp_path))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_five_thousand_mutations_and_every_malformed_file(
    tmp_path: Path, sparse: Path, data_folder: Path
) -> None:
    with all_products(tmp_path, sparse) as (daemon, pacs):
        files = list(malformed(data_folder / "dicom" / "malformed"))
        answers = send_all(daemon, files)
        print(f"342 malformed files, each twice: {Outcome(answers, Counter())}")
        answers += send_all(daemon, mutations(seed=2, count=5000))
        settle(daemon, 7000)
        print(check(daemon, pacs, answers, tmp_path))
