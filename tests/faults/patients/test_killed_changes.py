"""The process that follows a message about a patient is killed at a commit: none is half done."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.images.patient_changes import Patients
from storage.patients.records import Applied, ChangeKind, ChangeOutcome, PatientChange
from storage.records import JobKind
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import new_instance
from tests.builders.stores.new import new_store
from tests.faults.points import AFTER, BEFORE, FOLDER, ROOT, armed_file, install
from tests.tools.cli import environment

STUDIES = 5
AT = datetime(2026, 3, 1, tzinfo=UTC)
CHANGE = PatientChange(
    ChangeKind.MERGE, "A40", "ADT", "1", "digest", ("",), AT, "B", prior_patient_id="A"
)
APPLY = "commit patient_changes.apply"
FINISH = "commit patient_changes._finish"


def killed(folder: Path, url: str, point: str, when: str) -> int:
    """Follow the merge in a process that is killed at the point; return its exit status."""
    faults = folder / "faults"
    (faults / "armed").mkdir(parents=True)
    armed_file(faults, f"supervisor: {point}", when).write_text(str(int(signal.SIGKILL)))
    variables = {FOLDER: str(faults), ROOT: str(folder), "HOME": os.environ["HOME"]}
    command = [sys.executable, "-m", "tests.faults.patients.test_killed_changes", url]
    done = subprocess.run(
        command, env={**environment(), **variables}, capture_output=True, check=False
    )
    return done.returncode


def state_of(store: Store) -> list[tuple[str, bool]]:
    """Return the patient of each study, and True if its report is due."""
    found = []
    for number in range(STUDIES):
        (film,) = store.results.study(f"1.2.{number}").instances
        (job,) = [
            job for job in store.jobs.list(kind=JobKind.REPORT) if job.subject == f"1.2.{number}@"
        ]
        found.append((film.patient_id, job.generation > 1))
    return found


@pytest.mark.parametrize(
    ("point", "when", "changed"),
    [
        (APPLY, AFTER, 2),
        pytest.param(APPLY, BEFORE, 0, marks=pytest.mark.slow),
        pytest.param(FINISH, BEFORE, 2, marks=pytest.mark.slow),
        pytest.param(FINISH, AFTER, 4, marks=pytest.mark.slow),
    ],
)
def test_a_study_is_changed_with_its_audit_row_or_not_at_all(
    tmp_path: Path, point: str, when: str, changed: int
) -> None:
    path = tmp_path / "store.db"
    with new_store(path) as store:
        for number in range(STUDIES):
            film = new_instance(
                f"1.{number}", str(number), patient_id="A", study_instance_uid=f"1.2.{number}"
            )
            store.record_instance(film, 0)

    assert killed(tmp_path, f"sqlite:///{path}", point, when) == -signal.SIGKILL

    with Store.open(f"sqlite:///{path}", migrate=False) as store:
        patients = [patient for patient, _ in state_of(store)]
        assert patients == ["B"] * changed + ["A"] * (STUDIES - changed)
        audited = [row for row in store.audit.rows() if row.kind == "patient_changed"]
        assert len(audited) == changed
        again = store.patients.apply(CHANGE)
        assert again == Applied(ChangeOutcome.APPLIED, STUDIES, STUDIES)
        assert [patient for patient, _ in state_of(store)] == ["B"] * STUDIES
        audited = [row for row in store.audit.rows() if row.kind == "patient_changed"]
        assert len(audited) == STUDIES + 1
        assert store.patients.apply(CHANGE).outcome is ChangeOutcome.REPEATED


if __name__ == "__main__":
    # The process that is killed: it follows the merge, two studies at a time.
    install()
    with open_database(sys.argv[1]) as database:
        Patients(database, database.now, studies_at_once=2).apply(CHANGE)
