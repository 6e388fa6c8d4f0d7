"""`cxrd` commands: each does its work, or prints the reason in one line."""

import json
from pathlib import Path

import pytest

from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import claim
from tests.builders.stores.new import new_store
from tests.tools.cli import cxrd, cxrd_process, one_line_of_error

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def test_config_typo_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("listener: {prot: 104}\n")
    line = one_line_of_error(cxrd("serve", cwd=tmp_path))
    assert "config.yaml: unknown key listener.prot; did you mean listener.port?" in line


@pytest.mark.slow
def test_missing_bundle_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {bundle: gone}\n")
    done = cxrd_process("serve", "--only", "analyst", cwd=tmp_path)
    assert done.returncode == 1
    assert f"cxrd: no bundle at {tmp_path / 'gone'}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_unknown_role_is_one_line_on_stderr_of_the_process(tmp_path: Path) -> None:
    done = cxrd_process("serve", "--only", "listner", cwd=tmp_path)
    assert "no role is called 'listner'; the roles are listener" in one_line_of_error(done)
    assert done.stdout == ""


@pytest.mark.parametrize("command", [["jobs", "list"], ["export", "--out", "audit.csv"]])
def test_missing_store_is_one_line(tmp_path: Path, command: list[str]) -> None:
    assert "cxrd.sqlite" in one_line_of_error(cxrd(*command, cwd=tmp_path))


def states(folder: Path) -> list[str]:
    """Return the sorted states of the deliveries."""
    with Store.open(f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        return sorted(job.state for job in store.jobs.list() if job.lane)


def test_process_lists_parked_jobs_and_succeeds(parked: Path) -> None:
    listed = cxrd_process("jobs", "list", "--state", "parked", cwd=parked)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "deliver to pacs" in listed.stdout


def test_parked_jobs_are_listed_shown_and_retried(parked: Path) -> None:
    listed = cxrd("jobs", "list", "--state", "parked", cwd=parked)
    line, total = listed.stdout.strip().splitlines()
    assert "deliver to pacs" in line
    assert total == "1 of 1 job(s)"
    assert "status 0xA900: not wanted" in line
    number = line.split()[0]
    shown = cxrd("jobs", "show", number, cwd=parked)
    assert "2.25.7" in shown.stdout
    assert states(parked) == ["parked", "queued"]
    assert cxrd("jobs", "retry", "--all-parked", cwd=parked).returncode == 0
    assert states(parked) == ["queued", "queued"]


def test_control_characters_of_a_peer_are_not_printed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with new_store(tmp_path / "data" / "cxrd.sqlite") as store:
        store.jobs.enqueue(JobKind.REPORT, "1.2")
        job = claim(store, JobKind.REPORT)
        error = "status 0xA700: \x1b]0;x\x07\x1b[2Jdone\nstate done\u202e\x9b1m, \u00fcber"
        store.jobs.fail(job, error, None)
    shown = "status 0xA700: ␛]0;x␇␛[2Jdone␊state done⟨U+202E⟩⟨U+009B⟩1m, \u00fcber"
    for command in (["list"], ["show", str(job.id)]):
        done = cxrd("jobs", *command, cwd=tmp_path)
        assert any(line.endswith(shown) for line in done.stdout.splitlines())
        assert done.stdout.replace("\n", "").isprintable()


def test_discarded_job_stays_as_a_record(parked: Path) -> None:
    parked_one = cxrd("jobs", "list", "--state", "parked", cwd=parked).stdout.split()[0]
    assert cxrd("jobs", "discard", parked_one, cwd=parked).returncode == 0
    assert states(parked) == ["discarded", "queued"]
    assert "is discarded: nothing to discard" in one_line_of_error(
        cxrd("jobs", "discard", parked_one, cwd=parked)
    )
    lines = cxrd("jobs", "list", "--state", "queued", cwd=parked).stdout.strip().splitlines()
    numbers = [line.split()[0] for line in lines if "deliver to" in line]
    done = cxrd("jobs", "discard", *numbers, cwd=parked)
    assert done.stdout == "".join(f"job {number} is discarded\n" for number in numbers)
    assert states(parked) == ["discarded", "discarded"]


def test_the_priority_of_a_job_is_changed(parked: Path) -> None:
    number = cxrd("jobs", "list", "--state", "queued", cwd=parked).stdout.split()[0]
    assert cxrd("jobs", "priority", number, "stat", cwd=parked).stdout == f"job {number} is stat\n"
    assert " STAT " in cxrd("jobs", "list", "--state", "queued", cwd=parked).stdout
    shown = json.loads(cxrd("jobs", "show", number, "--json", cwd=parked).stdout)
    assert shown["priority"] == "stat"
    assert "write stat, routine or backfill" in one_line_of_error(
        cxrd("jobs", "priority", number, "high", cwd=parked)
    )


def test_jobs_are_listed_with_what_needs_a_person_first(parked: Path) -> None:
    listed = cxrd("jobs", "list", cwd=parked).stdout.strip().splitlines()
    assert listed[0].split()[1] == "parked"
    short = cxrd("jobs", "list", "--limit", "1", cwd=parked).stdout.strip().splitlines()
    assert short == [listed[0], f"1 of {len(listed) - 1} job(s): --limit shows more"]


def test_unknown_job_is_one_line(parked: Path) -> None:
    assert "there is no job 999" in one_line_of_error(cxrd("jobs", "show", "999", cwd=parked))


def test_export_filters_by_time(parked: Path) -> None:
    assert "2 row(s)" in cxrd("export", "--out", "all.csv", cwd=parked).stdout
    future = ["--since", "2999-01-01"]
    assert "0 row(s)" in cxrd("export", "--out", "none.csv", *future, cwd=parked).stdout
    assert (parked / "none.csv").read_text().startswith("received_at,")
