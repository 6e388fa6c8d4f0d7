"""An output of the model that is not a finite number is never a result."""

import datetime
import json
from pathlib import Path

import cv2
import pytest

from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Film
from daemon.analyst import Analyst
from daemon.batch.analyse_files import analyse_files
from daemon.batch.csv_report import REPORT_FILE
from daemon.config.loading import load_config
from daemon.config.sections.work import ModelConfig
from daemon.errors import ModelFailedError
from daemon.preflight.model import check_model
from daemon.web.health.checks import Health, Level, Part
from storage.files.folder_spool import FolderSpool
from storage.records import InstanceState, JobKind, JobState, StudyStatus
from storage.tables.clock import utc_now
from tests.builders.bench import Bench
from tests.builders.images.films import film
from tests.builders.made_models import build_failing_bundle
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
NO_RESULT = "the model's output for Mass is not a result (logit"


@pytest.fixture(scope="module")
def failing(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle that fails on `film("fails")` only after the reference film."""
    read = pipeline.read(film("fails"))
    assert isinstance(read, Film)
    folder = tmp_path_factory.mktemp("failing") / "bundle"
    build_failing_bundle(folder, read.pose.to_display(read.picture))
    return folder


def model(bundle: Path) -> ModelConfig:
    return ModelConfig(bundle=str(bundle), device="cpu", threads=1)


def test_its_job_is_parked_and_nothing_is_recorded(bench: Bench, failing: Path) -> None:
    uid = bench.receive(film("fails"))
    good = bench.analyst
    pipeline = Pipeline.open(model(failing))
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)
    with pytest.raises(ModelFailedError, match=r"no film is analysed: .*`cxrd jobs retry 1`"):
        bench.work()
    (job,) = bench.store.jobs.list(kind=JobKind.ANALYSE)
    assert job.state is JobState.PARKED
    assert (job.last_error or "").startswith(NO_RESULT)
    (instance,) = bench.study(uid).instances
    assert (instance.state, instance.findings) == (InstanceState.RECEIVED, ())
    assert bench.study(uid).reports == ()

    # With another bundle the film is analysed and reported: it was not lost.
    bench.analyst = good
    bench.store.jobs.retry(job.id)
    bench.work()
    assert bench.study(uid).status is StudyStatus.REPORTED
    assert bench.study(uid).instances[0].state is InstanceState.ANALYSED


@pytest.mark.slow
def test_analyse_writes_no_row_and_names_the_file(
    pipeline: Pipeline, failing: Path, tmp_path: Path
) -> None:
    read = pipeline.read(film("fails"))
    assert isinstance(read, Film)
    (tmp_path / "films").mkdir()
    cv2.imwrite(str(tmp_path / "films" / "a.png"), read.pose.to_display(read.picture))
    with pytest.raises(ModelFailedError, match=r"^a\.png: the model's output for Mass .* no row"):
        analyse_files(
            [tmp_path / "films"], tmp_path / "out", model(failing), now=NOW, echo=lambda line: None
        )
    report = (tmp_path / "out" / REPORT_FILE).read_text(encoding="utf-8-sig").splitlines()
    assert len(report) == 1


@pytest.mark.slow
@pytest.mark.daemon
@pytest.mark.network
def test_the_analyst_stops_and_health_says_so(
    tmp_path: Path, failing: Path, pacs: RecordingPacs
) -> None:
    with RunningDaemon(tmp_path / "node", failing, pacs.port) as node:
        node.send(film("fails"))
        wait_until(lambda: "analyst stopped for good" in node.log, "the analyst stops")
        node.send(film("later"))
        config = load_config(node.config)
        with node.store() as store:
            health = Health(config, store, FolderSpool(config.data_dir / "spool"), utc_now)
            wait_until(lambda: health.report().level is Level.FAILING, "health says so")
            (role,) = [c for c in health.report().of(Part.ROLE) if c.subject == "analyst"]
            assert role.level is Level.FAILING
            assert "no film is analysed: the model's output for Mass" in role.detail
            assert "Run `cxrd check`" in role.detail
            states = [job.state for job in store.jobs.list(kind=JobKind.ANALYSE)]
            assert sorted(states) == sorted([JobState.PARKED, JobState.QUEUED])
        assert node.log.count("analyst started") == 1
        out = tmp_path / "rows.csv"
        assert node.run("export", "--out", str(out), "--status", "analysed").returncode == 0
        assert len(out.read_text(encoding="utf-8-sig").splitlines()) == 1


@pytest.mark.slow
def test_check_says_whether_the_outputs_are_verified(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"data_dir: data\nmodel:\n  bundle: {bundle}\n")
    result = check_model(load_config(tmp_path / "config.yaml"))
    assert result.passed
    assert "verified: the reference film gives the card's outputs within" in result.detail

    other = tmp_path / "other"
    other.mkdir()
    card = json.loads((bundle / "card.json").read_bytes())
    card["reference"]["outputs"][0] += 0.1
    (other / "card.json").write_text(json.dumps(card))
    (other / "weights.safetensors").write_bytes((bundle / "weights.safetensors").read_bytes())
    (tmp_path / "config.yaml").write_text(f"data_dir: data\nmodel:\n  bundle: {other}\n")
    result = check_model(load_config(tmp_path / "config.yaml"))
    assert not result.passed
    assert "gives other outputs here than where it was made" in result.detail
