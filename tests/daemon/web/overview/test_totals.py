"""The kept numbers of ended jobs and of images."""

import threading
from collections.abc import Collection

import pytest

from daemon.web.overview import totals
from daemon.web.overview.totals import FRESH_SECONDS, KEEP_SECONDS, KeptTotals
from storage.records import JobKind, JobState
from storage.status import JobGroup
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import claim
from tests.tools.waiting import wait_until


def end_job(store: Store, subject: str) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, subject)
    store.jobs.finish(claim(store, JobKind.ANALYSE))


def test_a_fast_count_is_made_for_each_page(store: Store) -> None:
    kept = KeptTotals(store, utc_now, lambda: 0.0)
    for number in (1, 2):
        end_job(store, str(number))
        assert sum(kept.totals().ended.values()) == number


def test_a_slow_count_is_kept_and_repeated_in_the_background(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "FAST_SECONDS", -1.0)
    now = 0.0
    kept = KeptTotals(store, utc_now, lambda: now)

    def count() -> int:
        return sum(kept.totals().ended.values())

    end_job(store, "1")
    assert count() == 1
    end_job(store, "2")
    now = FRESH_SECONDS
    assert count() == 1
    now = FRESH_SECONDS + 1
    wait_until(lambda: count() == 2, "the count is repeated", 10)


def test_a_page_after_a_long_time_waits_for_the_new_count_but_not_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "FAST_SECONDS", -1.0)
    now = 0.0
    kept = KeptTotals(store, utc_now, lambda: now)
    end_job(store, "1")
    first = kept.totals()
    monkeypatch.setattr(totals, "WAIT_SECONDS", 10.0)
    end_job(store, "2")
    now = KEEP_SECONDS + 1
    second = kept.totals()
    assert sum(second.ended.values()) == 2
    assert second.counted_at > first.counted_at

    monkeypatch.setattr(totals, "WAIT_SECONDS", 0.01)
    may_end, count = threading.Event(), store.status.job_counts

    def slow(states: Collection[JobState]) -> dict[JobGroup, int]:
        may_end.wait(10)
        return count(states)

    monkeypatch.setattr(store.status, "job_counts", slow)
    end_job(store, "3")
    now += KEEP_SECONDS + 1
    assert kept.totals() == second
    may_end.set()
    wait_until(lambda: sum(kept.totals().ended.values()) == 3, "the count ends", 10)
