"""A command of an operator is killed at its commit: act and audit row are there, or neither."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.outbox import queue_report
from tests.builders.store_rows import SOURCE, claim, new_instance
from tests.builders.stores.new import new_store
from tests.faults.points import AFTER, BEFORE, FOLDER, ROOT, armed_file
from tests.tools.cli import environment
from tests.tools.ports import HOST

PEERS = [
    {"name": SOURCE, "ae_title": "MODALITY", "sends": True},
    {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": 4242, "receives": ["report"]},
]
REPORT = "2.25.71"
ACTS = {
    "analysis_requested": ("studies.analyse_again", ["studies", "analyse-again", "2.25.81"]),
    "delivery_requested": ("studies.send_again", ["studies", "send-again", "2.25.81", "--to=pacs"]),
    "study_released": ("studies.release", ["studies", "release", "2.25.82", "--drop", "1.9.P2"]),
    "job_retried": ("jobs._change", ["jobs", "retry", "--all-parked"]),
    "job_discarded": ("jobs._change", ["jobs", "discard", "1"]),
}


def fill(folder: Path) -> None:
    """Add a parked analysis, a delivered study and a study of two patients."""
    (folder / "config.yaml").write_text(yaml.safe_dump({"peers": PEERS}))
    with new_store(folder / "data" / "cxrd.sqlite") as store:
        store.jobs.enqueue(JobKind.ANALYSE, "99")
        store.jobs.fail(claim(store, JobKind.ANALYSE), "no answer", None)
        queue_report(store, FolderSpool(folder / "data" / "spool"), "pacs")
        store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
        for patient in ("P1", "P2"):
            uid = f"1.9.{patient}"
            film = new_instance(uid, uid, study_instance_uid="2.25.82", patient_id=patient)
            store.record_instance(film, 0)


def state_of(folder: Path) -> tuple[list[JobState], list[str]]:
    """Return the states of all jobs, and the kinds of the acts that are audited."""
    with Store.open(f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        kinds = [row.kind for row in store.audit.rows() if row.kind in ACTS]
        return [job.state for job in store.jobs.list()], kinds


def killed(folder: Path, command: list[str], point: str, when: str) -> int:
    """Run a command that is killed at the point; return its exit status."""
    faults = folder / "faults"
    (faults / "armed").mkdir(parents=True)
    armed_file(faults, f"supervisor: commit {point}", when).write_text(str(int(signal.SIGKILL)))
    variables = {FOLDER: str(faults), ROOT: str((folder / "data").resolve())}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.serve", *command],
        cwd=folder,
        env={**environment(), **variables, "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        ("delivery_requested", AFTER),
        pytest.param("delivery_requested", BEFORE, marks=pytest.mark.slow),
        *(
            pytest.param(kind, when, marks=pytest.mark.slow)
            for kind in ACTS
            if kind != "delivery_requested"
            for when in (BEFORE, AFTER)
        ),
    ],
)
def test_an_act_is_done_with_its_audit_row_or_not_at_all(
    tmp_path: Path, kind: str, when: str
) -> None:
    fill(tmp_path)
    before = state_of(tmp_path)
    point, command = ACTS[kind]

    assert killed(tmp_path, command, point, when) == -signal.SIGKILL

    states, kinds = state_of(tmp_path)
    if when == BEFORE:
        assert (states, kinds) == before
    else:
        assert kinds == [kind]
        assert states != before[0] or kind == "study_released"
