"""Waits of jobs: counted at each claim, kept over restarts, added up over processes."""

from datetime import timedelta
from pathlib import Path

import pytest

from daemon.worker.waits.counts import WaitCounts, waits_here
from daemon.worker.waits.histogram import SECONDS, Histogram
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import LEASE, claim, receive
from tests.tools.clock import Clock


def count_and_sum(folder: Path, kind: JobKind) -> tuple[float, float]:
    histogram = waits_here(folder)[kind]
    return histogram.buckets()[-1][1], histogram.total


def work(store: Store, clock: Clock, folder: Path, uid: str, wait: float) -> None:
    """Receive a film, and claim its analysis after a while as a process of its own."""
    receive(store, uid)
    clock.advance(wait)
    with WaitCounts(folder, "analyst") as waits:
        store.jobs.watch_claims(waits.add)
        store.jobs.finish(claim(store, JobKind.ANALYSE))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed_store(tmp_path: Path, clock: Clock) -> Store:
    return Store.open(f"sqlite:///{tmp_path / 'timed.sqlite'}", clock=clock, migrate=True)


def test_waits_are_kept_over_restarts(tmp_path: Path, timed_store: Store, clock: Clock) -> None:
    folder = tmp_path / "run"
    assert count_and_sum(folder, JobKind.ANALYSE) == (0, 0)
    with timed_store:
        work(timed_store, clock, folder, "1.2.3.1", 3)
        work(timed_store, clock, folder, "1.2.3.2", 40)
    assert count_and_sum(folder, JobKind.ANALYSE) == (2, 43)
    assert count_and_sum(folder, JobKind.REPORT) == (0, 0)


def test_processes_of_one_role_do_not_lose_the_counts_of_each_other(
    tmp_path: Path, store: Store
) -> None:
    folder = tmp_path / "run"
    receive(store, "1.2.3.1")
    job = claim(store, JobKind.ANALYSE)
    with WaitCounts(folder, "analyst") as one, WaitCounts(folder, "analyst") as two:
        one.add(job, timedelta(seconds=1))
        two.add(job, timedelta(seconds=2))
        two.add(job, timedelta(seconds=-1))
    assert count_and_sum(folder, JobKind.ANALYSE) == (3, 3)


def test_a_host_whose_name_begins_like_this_one_is_not_counted(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, "1.2.3.1")
    job = claim(store, JobKind.ANALYSE)
    for host in ("node", "node-2"):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        with WaitCounts(tmp_path, "analyst") as waits:
            waits.add(job, timedelta(seconds=1))
    monkeypatch.setattr("socket.gethostname", lambda: "node")
    assert count_and_sum(tmp_path, JobKind.ANALYSE) == (1, 1)


def test_a_file_that_cannot_be_read_counts_nothing(tmp_path: Path, store: Store) -> None:
    receive(store, "1.2.3.1")
    with WaitCounts(tmp_path, "analyst") as waits:
        waits.add(claim(store, JobKind.ANALYSE), LEASE)
    (path,) = [one for one in tmp_path.glob("waits-*") if one.suffix != ".lock"]
    for content in ("", "{", '{"analyse": [[1], 2]}', '{"dance": [[], 0]}', "[]"):
        path.write_text(content)
        assert count_and_sum(tmp_path, JobKind.ANALYSE) == (0, 0)


def test_a_folder_that_cannot_be_written_stops_no_role(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("in the way")
    receive(store, "1.2.3.1")
    with WaitCounts(tmp_path / "run", "analyst") as waits:
        waits.add(claim(store, JobKind.ANALYSE), LEASE)
    assert "the waits of jobs are not counted" in caplog.text


def test_a_duration_is_in_the_buckets_that_end_at_it_or_later() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.5, 0.51, 14_400.0, 20_000.0):
        histogram.add(seconds)
    buckets = dict(histogram.buckets())
    assert len(buckets) == len(SECONDS) + 1
    assert [buckets[end] for end in ("0.5", "1.0", "3600.0", "14400.0", "+Inf")] == [2, 3, 3, 4, 5]
    assert histogram.total == 34_401.01
