"""Acts of operators through `daemon.actions` and the commands that use it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.actions.actor import Actor
from daemon.actions.jobs import ChosenJob, discard_jobs, retry_jobs
from daemon.actions.studies import analyse_again, release_study, send_again
from daemon.config.settings import Config
from daemon.errors import UsageError
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState, StudyKey
from storage.store import Store
from tests.builders.outbox import queue_report
from tests.builders.store_rows import SOURCE, claim, new_instance
from tests.builders.stores.new import new_store
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.ports import HOST

ALICE = Actor("alice", "10.0.0.9")
PEERS = [
    {"name": SOURCE, "ae_title": "MODALITY", "sends": True},
    *(
        {"name": name, "ae_title": name, "host": HOST, "port": 4242, "receives": ["report"]}
        for name in ("pacs", "archive")
    ),
    {"name": "other", "ae_title": "OTHER", "sends": True},
    {
        "name": "far",
        "ae_title": "FAR",
        "host": HOST,
        "port": 4242,
        "receives": ["report"],
        "results_of": ["other"],
    },
]
KEY = StudyKey(SOURCE, "2.25.81")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate({"data_dir": tmp_path, "peers": PEERS})


def delivered(store: Store, folder: Path) -> str:
    """Make a study whose report has been delivered to `pacs`; return the report's UID."""
    uid = queue_report(store, FolderSpool(folder / "spool"), "pacs")
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
    return uid


def test_jobs_are_retried_and_discarded_and_the_others_are_refused(
    store: Store, config: Config
) -> None:
    for subject in "12":
        store.jobs.enqueue(JobKind.ANALYSE, subject)
    running = claim(store, JobKind.ANALYSE)
    chosen = [ChosenJob(number) for number in (running.id, 2, 2, 99)]

    done = retry_jobs(config, store, chosen, ALICE)
    gone = discard_jobs(config, store, chosen, ALICE)

    assert done.done == gone.done == (2,)
    reasons = {refused.job: refused.reason for refused in done.refused}
    assert reasons.keys() == {running.id, 99}
    assert "is running" in reasons[running.id]
    assert "there is no job 99" in reasons[99]
    acts = [(row.kind, row.actor, row.host) for row in store.audit.rows()]
    assert acts == [
        ("job_retried", "alice", "10.0.0.9"),
        ("job_discarded", "alice", "10.0.0.9"),
    ]


def test_a_delivery_that_would_be_parked_again_is_not_retried(
    store: Store, config: Config, tmp_path: Path
) -> None:
    queue_report(store, FolderSpool(tmp_path / "spool"), "pacs")
    stranger = new_instance("1.9", study_instance_uid="2.25.81", source=SOURCE, patient_id="P2")
    store.record_instance(stranger, 0)
    (parked,) = store.jobs.list(kind=JobKind.DELIVER)
    (refused,) = retry_jobs(config, store, [ChosenJob(parked.id)], ALICE).refused
    assert refused.reason.startswith("the study is in doubt")
    assert store.jobs.get(parked.id).state is JobState.PARKED

    release_study(config, store, KEY, ["1.9"], ALICE)
    (act,) = [row for row in store.audit.rows() if row.kind == "study_released"]
    assert (act.actor, act.host) == ("alice", "10.0.0.9")


def test_a_report_is_sent_again_and_to_an_added_destination_but_not_beyond_the_table(
    store: Store, config: Config, tmp_path: Path
) -> None:
    uid = delivered(store, tmp_path)
    for name in ("pacs", "archive"):
        assert send_again(config, store, KEY, name, ALICE).queued == (uid,)
    assert send_again(config, store, KEY, "pacs", ALICE).refused == {
        uid: "it waits to be sent already"
    }
    with pytest.raises(UsageError, match=r"'gone' is not a destination; .* pacs, archive, far"):
        send_again(config, store, KEY, "gone", ALICE)
    with pytest.raises(UsageError, match=f"results of {SOURCE} may not go to far"):
        send_again(config, store, KEY, "far", ALICE)
    with pytest.raises(UsageError, match=r"has no result that pacs receives"):
        send_again(config, store, StudyKey(SOURCE, "7.7"), "pacs", ALICE)


def test_a_purged_result_is_not_sent_again(store: Store, config: Config, tmp_path: Path) -> None:
    uid = delivered(store, tmp_path)
    purged_everything(store, tmp_path)
    (reason,) = send_again(config, store, KEY, "archive", ALICE).refused.values()
    assert reason.startswith("it was purged on ")
    (reason,) = analyse_again(config, store, KEY, ALICE).refused.values()
    assert reason.startswith("it was purged on ")
    assert uid


def purged_everything(store: Store, folder: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    assert list(store.retention.purge(FolderSpool(folder / "spool"), later, [], "test"))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a configuration and a store with one delivered study."""
    (tmp_path / "config.yaml").write_text(json.dumps({"peers": PEERS}))
    with new_store(tmp_path / "data" / "cxrd.sqlite") as store:
        delivered(store, tmp_path / "data")
    return tmp_path


def test_the_commands_do_the_same(house: Path) -> None:
    done = cxrd("studies", "analyse-again", "2.25.81", cwd=house)
    assert (done.returncode, done.stdout) == (0, "1 film(s) of 2.25.81 are analysed again\n")
    again = cxrd("studies", "analyse-again", "2.25.81", cwd=house)
    assert again.returncode == 1
    assert "film 2.25.91 stays as it is: its analysis waits already" in again.stderr
    sent = cxrd("studies", "send-again", "2.25.81", "--to", "archive", "--json", cwd=house)
    assert sent.returncode == 0
    assert json.loads(sent.stdout) == {"queued": ["2.25.71"], "refused": []}
    unknown = cxrd("studies", "send-again", "7.7", "--to", "archive", cwd=house)
    assert one_line_of_error(unknown) == "cxrd: there is nothing of study 7.7"


def test_a_discard_of_an_unknown_job_prints_what_was_done(house: Path) -> None:
    cxrd("studies", "send-again", "2.25.81", "--to", "archive", cwd=house)
    with Store.open(f"sqlite:///{house / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        (job,) = store.jobs.list(state=JobState.QUEUED)
    done = cxrd("jobs", "discard", job.id, "4711", "--json", cwd=house)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["discarded"] == [job.id]
    (refused,) = document["refused"]
    assert refused == {"job": 4711, "reason": "there is no job 4711: `cxrd jobs list` shows them"}
    assert one_line_of_error(done).startswith("cxrd: job 4711 stays as it is: there is no job")
    assert cxrd("jobs", "show", "9" * 30, cwd=house).returncode == 2
