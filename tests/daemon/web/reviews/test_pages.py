"""Reviews by a form and by a program."""

import json
from urllib.parse import urlencode

import pytest

from storage.records import Verdict
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import STUDY, STUDY_KEY, analyse, receive
from tests.servers.website import Answer, Site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

REMARK = "<script>alert(1)</script>\r\nsecond line \u202e"


@pytest.fixture
def film(store: Store) -> int:
    """An analysed film; Mass is called present and Hernia absent."""
    (number,) = receive(store, "1.1")
    analyse(store, utc_now())
    return number


def send(
    site: Site, film: int | str, body: object, study: str = STUDY, api: str = "/api"
) -> Answer:
    return site.post(f"{api}/studies/{study}/films/{film}/review", body)


def test_a_program_reviews_a_film(site: Site, store: Store, film: int) -> None:
    answer = send(site, film, {"verdicts": {"Mass": "agree"}, "remark": REMARK})
    assert answer.status == 200
    kept = {each["label"]: each for each in json.loads(answer.text)["reviews"]}
    assert kept["Mass"]["verdict"] == "agree"
    assert kept["Mass"]["reviewer"]
    assert kept[""]["remark"] == REMARK.replace("\r\n", "\n")
    assert len(store.reviews.of_study(STUDY_KEY)) == 2


def test_a_verdict_can_be_changed_and_taken_back(site: Site, store: Store, film: int) -> None:
    for verdict in ("agree", "disagree"):
        send(site, film, {"verdicts": {"Hernia": verdict}})
    (review,) = store.reviews.of_study(STUDY_KEY)
    assert review.verdict is Verdict.DISAGREE
    send(site, film, {"verdicts": {"Hernia": None}})
    assert store.reviews.of_study(STUDY_KEY) == ()


def test_only_what_differs_is_recorded(site: Site, store: Store, film: int) -> None:
    body = {"verdicts": {"Mass": "agree", "Hernia": None}, "remark": ""}
    for _ in range(2):
        send(site, film, body)
    rows = [row for row in store.audit.rows() if row.kind == "reviewed"]
    assert len(rows) == 1


def test_the_audit_trail_has_no_word_of_a_remark(site: Site, store: Store, film: int) -> None:
    send(site, film, {"remark": "MEIER-4711"})
    rows = list(store.audit.rows())
    assert [row.kind for row in rows if row.kind == "reviewed"]
    assert not any("MEIER" in str(row) for row in rows)


def test_a_form_reviews_and_leads_back_to_the_film(site: Site, store: Store, film: int) -> None:
    fields = {"verdict.Mass": "disagree", "seen.Mass": "1", "verdict.Hernia": "", "remark": "look"}
    answer = send(site, film, urlencode(fields), api="")
    assert answer.status == 303
    assert answer.headers["location"] == (f"../../../../studies/{STUDY}?source=#film-{film}")
    assert {each.label for each in store.reviews.of_study(STUDY_KEY)} == {"Mass", ""}


REFUSED = [
    ({"verdicts": {"Fracture": "agree"}}, 400, "no finding 'Fracture'"),
    ({"verdicts": {"Mass": "perhaps"}}, 400, "verdicts.Mass: Input should be 'agree' or"),
    ({"verdicts": ["Mass"]}, 400, "verdicts: Input should be an object"),
    ({"seen": {"Mass": 1}}, 400, "seen.Mass: Input should be a valid boolean"),
    ({"remark": 5}, 400, "remark: Input should be a valid string"),
    ({"remark": "x" * 2001}, 400, "2000 are allowed"),
    ({"verdict": {}}, 400, "verdict: Unexpected keyword argument"),
    ({"verdicts": {"Mass": "agree"}, "seen": {"Mass": False}}, 409, "look at it once more"),
]


def test_a_review_of_no_use_is_refused_with_its_reason(site: Site, store: Store, film: int) -> None:
    for body, status, words in REFUSED:
        answer = send(site, film, body)
        assert (answer.status, words in answer.text) == (status, True), answer.text
    assert store.reviews.of_study(STUDY_KEY) == ()


def test_an_unknown_film_is_not_found(site: Site, film: int) -> None:
    for number in ("0", "99", "x", "1" * 30, "%C2%B2"):
        assert send(site, number, {}).status == 404
    assert send(site, film, {}, study="1.9").status == 404
