"""The kept numbers of ended jobs and of images."""

import pytest

from daemon.web.overview import totals
from daemon.web.overview.totals import FRESH_SECONDS, KEEP_SECONDS, KeptTotals
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import claim
from tests.tools.waiting import wait_until


def end_job(store: Store, subject: str) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, subject)
    store.jobs.finish(claim(store, JobKind.ANALYSE))


def test_a_fast_count_is_made_for_each_page(store: Store) -> None:
    kept = KeptTotals(store, lambda: 0.0)
    for number in (1, 2):
        end_job(store, str(number))
        assert sum(kept.totals().ended.values()) == number


def test_a_slow_count_is_kept_and_repeated_in_the_background(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "FAST_SECONDS", -1.0)
    now = 0.0
    kept = KeptTotals(store, lambda: now)

    def count() -> int:
        return sum(kept.totals().ended.values())

    end_job(store, "1")
    assert count() == 1
    end_job(store, "2")
    now = FRESH_SECONDS
    assert count() == 1
    now = FRESH_SECONDS + 1
    wait_until(lambda: count() == 2, "the count is repeated", 10)
    end_job(store, "3")
    now += KEEP_SECONDS + 1
    assert count() == 3
