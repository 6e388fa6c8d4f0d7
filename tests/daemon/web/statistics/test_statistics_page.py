"""The page of statistics and its JSON twin."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from daemon.statistics import drift
from daemon.statistics.counter import Count, FilmCounter
from daemon.statistics.drift_report import BaselineRule
from daemon.statistics.drift_watch import DriftWatch
from daemon.statistics.vocabulary import Vocabulary
from daemon.web.access.roles import Role
from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import claim, new_instance
from tests.builders.stores.new import new_store
from tests.daemon.statistics.films import days_of, result
from tests.daemon.statistics.streams import stream
from tests.daemon.web.access.asgi import House, Reply, house_of

HOSTILE = '<b>"DR&'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "cxrd.sqlite") as opened:
        yield opened


@pytest.fixture
def counter(store: Store) -> FilmCounter:
    return FilmCounter(store, utc_now)


@pytest.fixture
def house(tmp_path: Path, store: Store, counter: FilmCounter) -> House:
    return house_of(tmp_path, store, counter)


def fill(store: Store) -> None:
    """One film with a finding, one without a result, one that waits."""
    for uid, sender in (("1.1", "MODALITY"), ("1.2", HOSTILE), ("1.3", "MODALITY")):
        film = new_instance(uid, calling_ae_title=sender, patient_id="PAT4711")
        store.record_instance(replace(film, patient_name="DOE^JANE"), 0)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_analysis(job, int(job.subject), result(utc_now(), "Pleural_Thickening"))
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")


def ask(house: House, path: str) -> Reply:
    return house.ask(path, headers=house.bearer(Role.VIEWER))


def answer(house: House, query: str = "") -> dict[str, Any]:
    reply = ask(house, f"/api/statistics{query}")
    assert reply.status == 200, reply.text
    found: dict[str, Any] = json.loads(reply.text)
    return found


def test_during_the_first_count_the_page_says_so(house: House, counter: FilmCounter) -> None:
    reply = ask(house, "/statistics")
    assert reply.status == 200
    assert "being counted for the first time" in reply.text
    assert answer(house)["figures"]["as_of"] is None
    counter.refresh()
    assert "No film of this choice was received" in ask(house, "/statistics").text


def test_the_page_shows_every_chart(house: House, store: Store, counter: FilmCounter) -> None:
    fill(store)
    counter.refresh()
    text = ask(house, "/statistics").text
    for words in (
        "Pathology distribution",
        "Films with each finding, of 1: Pleural Thickening 1",
        "No finding: 0; One or more findings: 1, of 1",
        "Pleural Thickening: 1 of 1 images at or above the threshold of 0.500",
        "Films with both of two findings",
        "LATERAL_VIEW",
        "The baseline is being gathered: 1 films of the 500",
        "These are calls of the model, not diagnoses",
    ):
        assert words in text, words
    assert text.count("<svg") == 1 + 1 + 1 + 14 + 3 + 2, "no weeks with enough films"
    assert "style=" not in text
    assert "&lt;b&gt;&#34;DR&amp;" in text
    assert HOSTILE not in text
    for private in ("PAT4711", "DOE", "1.2.3"):
        assert private not in text


def test_a_period_and_a_sender_are_chosen_by_the_url(
    house: House, store: Store, counter: FilmCounter
) -> None:
    fill(store)
    counter.refresh()
    today = utc_now().date()
    assert answer(house)["figures"]["received"] == 3
    assert answer(house, "?sender=MODALITY")["figures"]["received"] == 2
    assert answer(house, f"?sender=MODALITY&until={today}")["figures"]["analysed"] == 1
    assert answer(house, "?source=-")["figures"]["received"] == 3
    assert answer(house, "?source=north")["figures"]["received"] == 0
    assert answer(house, "?until=2001-01-01")["figures"]["received"] == 0
    assert answer(house, "?from=0001-01-01&until=9999-12-31")["figures"]["received"] == 3
    page = ask(house, "/statistics?sender=MODALITY").text
    assert "<option selected>MODALITY</option>" in page


@pytest.mark.parametrize(
    "query", ["?from=yesterday", "?until=2026-02-30", "?from=2026-03-02&until=2026-03-01"]
)
def test_a_period_that_is_none_is_refused(house: House, query: str) -> None:
    for path in ("/statistics", "/api/statistics"):
        assert ask(house, path + query).status == 400


@pytest.fixture
def drifting(house: House, counter: FilmCounter, monkeypatch: pytest.MonkeyPatch) -> House:
    """60 days of films of which the last 12 have more Edema."""
    monkeypatch.setattr(drift, "SPAN", 1000)
    monkeypatch.setattr(drift, "DRAWS", 40)
    films = stream(np.random.default_rng(4), 1200).shifted(960, 9, 1.0)
    days = MappingProxyType(days_of(films, 20, first=utc_now().date() - timedelta(days=59)))
    words = Vocabulary.empty()
    words.senders.number("BED")
    words.sources.number("north")
    words.models.number("ab" * 32)
    report = DriftWatch(BaselineRule(days=20, films=300)).report(days, words.models.all())
    count = Count(days, words, datetime.now(UTC), drift=report)
    monkeypatch.setattr(type(counter), "count", property(lambda _: count))
    return house


def test_drift_is_said_with_its_meaning_and_rate(drifting: House) -> None:
    text = " ".join(ask(drifting, "/statistics").text.split())
    for words in (
        "have left the baseline",
        "calls rose",
        "It does not say that the model is wrong",
        "in at most 5 of 100 spans of 2,500 films",
        "Views: since the change",
        "Mean probability of Edema by week",
        "▼",
    ):
        assert words in text, words
    found = answer(drifting)["drift"]
    assert found["alarms"] == len([one for one in found["report"]["episodes"] if not one["until"]])
    assert {one["label"] for one in found["report"]["episodes"]} == {"Edema"}
    assert (found["false_alarm_rate"], found["false_alarm_films"]) == (0.05, 2500)
    assert len(found["report"]["weeks"]) >= 9


def test_weeks_outside_the_period_are_not_drawn(drifting: House) -> None:
    today = utc_now().date()
    text = ask(drifting, f"/statistics?from={today - timedelta(days=13)}").text
    monday = today - timedelta(days=today.weekday())
    assert f'<th scope="row">{monday - timedelta(days=7)}' in text
    assert f'<th scope="row">{monday - timedelta(days=35)}' not in text


def test_a_viewer_is_needed(house: House) -> None:
    for role, status in ((Role.STATUS, 403), (Role.METRICS, 403), (Role.VIEWER, 200)):
        assert house.ask("/statistics", headers=house.bearer(role)).status == status


def test_charts_have_their_style_sheets(house: House) -> None:
    for name in ("charts.css", "statistics.css"):
        assert house.ask(f"/static/{name}").headers["content-type"].startswith("text/css")


def test_dates_of_the_answer_are_days(house: House, counter: FilmCounter) -> None:
    counter.refresh()
    chosen = answer(house, "?from=2026-01-01&until=2026-01-31")["figures"]["selection"]
    assert date.fromisoformat(chosen["first"]) == date(2026, 1, 1)
    assert chosen["sender"] is None
