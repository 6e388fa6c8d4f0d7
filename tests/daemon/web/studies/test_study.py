"""The page of one study, its JSON twin, its report and its objects."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_model.finding_text import NOT_CALIBRATED
from daemon.web.studies.timeline_words import steps_of
from daemon.words.deliveries import answer_words, delivery_state
from dicom_io.objects.encode import to_bytes
from dicom_io.report.document import build_report
from storage.files.folder_spool import FolderSpool
from storage.records import (
    Delivery,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    StudyStatus,
    Verdict,
)
from storage.reviews import FILM, NewReview
from storage.search.study_records import TimelineEvent, TimelineKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.objects import two_image_content
from tests.builders.store_rows import analysis, claim, new_instance
from tests.servers.website import Site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

STUDY, REPORT = "1.2.3", "2.25.77"
HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def receive(store: Store, uid: str, **changes: str) -> int:
    return store.record_instance(new_instance(uid, **changes), 0).instance_id


@pytest.fixture
def film(store: Store, tmp_path: Path) -> int:
    """An analysed and a refused film of one study, with a report that is on its way."""
    number = receive(store, "1.2.3.1", patient_id=HOSTILE, patient_name="Doe^Jane")
    job = claim(store, JobKind.ANALYSE)
    notes = ["low resolution", NOT_CALIBRATED, "a note of the future"]
    store.results.record_analysis(job, number, replace(analysis(utc_now()), notes=notes))
    refused = receive(store, "1.2.3.2", patient_id=HOSTILE, patient_name="Doe^Jane")
    store.results.record_refusal(
        claim(store, JobKind.ANALYSE), refused, "LATERAL_VIEW", f"ViewPosition says {HOSTILE}"
    )
    FolderSpool(tmp_path / "spool")
    data = to_bytes(build_report(two_image_content()))
    stored = FolderSpool(tmp_path / "spool", 0).write("objects/aa/report.dcm", data)
    record = ObjectRecord(
        REPORT,
        "1.2.840.10008.5.1.4.1.1.88.34",
        ObjectKind.REPORT,
        STUDY,
        None,
        None,
        stored.path,
        stored.size,
        stored.sha256,
    )
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [record],
        [Delivery(REPORT, "pacs")],
    )
    return number


def test_the_page_tells_what_was_found_and_why_not(site: Site, store: Store, film: int) -> None:
    answer = site.ask(f"/studies/{STUDY}")
    assert answer.status == 200
    text = answer.text
    for words in (
        "1</b> of 2 findings present",
        "A rounded density of more than 3 cm",
        "not calibrated",
        "The film has less than 512 pixels a side",
        "A note of another version of this software.",
        "LATERAL_VIEW</code> A lateral film",
        "What to do:",
        "another model than the one that is configured now",
        "Film 1 received from MODALITY",
        "Report 1 made",
        "2 frontal chest radiographs analysed by AI",
        "1 waiting",
    ):
        assert words in text, words
    assert HOSTILE not in text
    assert "\u202e" not in text
    assert "Doe" not in text
    assert f'action="../studies/{STUDY}/films/{film}/review"' in text


def test_the_json_twin_says_the_same(site: Site, film: int) -> None:
    study = json.loads(site.ask(f"/api/studies/{STUDY}").text)
    assert study["patient_name"] is None
    assert study["patient_id"] == HOSTILE
    first, second = study["films"]
    assert [one["label"] for one in first["findings"] if one["present"]] == ["Mass"]
    assert (second["advice"]["code"], second["state"]) == ("LATERAL_VIEW", "not_analysed")
    assert study["objects"][0]["deliveries"][0]["words"] == "waiting"
    assert study["timeline"][-1]["words"] == "Report 1 made"


def test_a_look_is_audited_once_and_a_file_each_time(site: Site, store: Store, film: int) -> None:
    for _ in range(2):
        site.ask(f"/studies/{STUDY}")
        assert site.ask_bytes(f"/studies/{STUDY}/objects/{REPORT}")[128:132] == b"DICM"
    rows = list(store.audit.rows())
    assert [row.subject for row in rows if row.kind == "study_viewed"] == [f"study={STUDY}"]
    exported = [row for row in rows if row.kind == "data_exported"]
    assert [row.detail for row in exported] == ["report as a file"] * 2
    assert not any("Doe" in str(row) or "<img" in str(row) for row in rows)


def test_a_report_is_a_page_and_a_missing_file_is_told(
    site: Site, film: int, tmp_path: Path
) -> None:
    assert "Pleural effusion" in site.ask(f"/studies/{STUDY}/reports/{REPORT}").text
    (tmp_path / "spool" / "objects" / "aa" / "report.dcm").write_bytes(b"altered")
    answer = site.ask(f"/studies/{STUDY}/objects/{REPORT}")
    assert (answer.status, "damaged or lost" in answer.text) == (404, True)
    assert site.ask(f"/studies/{STUDY}/objects/2.25.1").status == 404
    assert site.ask(f"/studies/{STUDY}").status == 200


def test_an_unknown_study_is_not_found(site: Site, film: int) -> None:
    for uid in ("9.9", "x", "%00", "..%2f..%2fetc"):
        for path in (f"/studies/{uid}", f"/api/studies/{uid}"):
            assert site.ask(path).status == 404
    assert "No study with this UID is here" in site.ask("/studies/9.9").text


def test_a_study_of_two_sources_is_chosen(site: Site, store: Store, film: int) -> None:
    receive(store, "1.2.3.1", source="<b>north</b>")
    text = site.ask(f"/studies/{STUDY}").text
    assert "Which study?" in text
    assert "&lt;b&gt;north" in text
    assert site.ask(f"/api/studies/{STUDY}").status == 409
    assert "Film 1" in site.ask(f"/studies/{STUDY}?source=").text
    assert site.ask(f"/studies/{STUDY}?source=south").status == 404


def test_reviews_are_shown_with_who_and_when(site: Site, store: Store, film: int) -> None:
    store.reviews.record(NewReview(film, "Mass", Verdict.DISAGREE, "", "dr <b>who</b>"))
    store.reviews.record(NewReview(film, FILM, None, HOSTILE, "dr <b>who</b>"))
    text = site.ask(f"/studies/{STUDY}").text
    assert "disagrees: <bdi>dr &lt;b&gt;who&lt;/b&gt;</bdi>" in text
    assert "<bdi>&lt;img src=x onerror=alert(1)&gt;⟨U+202E⟩</bdi>" in text


@pytest.mark.parametrize("state", JobState)
def test_every_state_of_a_delivery_has_words(state: JobState) -> None:
    for delivered in (False, True):
        for held in (False, True):
            found = delivery_state(state, 1, delivered=delivered, committed=False, held=held)
            assert found.words
    assert answer_words(0xB007) == "stored, though it does not match its class (0xB007)"
    assert answer_words(0xB123) == "stored, with a warning (0xB123)"
    assert answer_words(0xA700) == "refused (0xA700)"
    assert answer_words(None) == ""


def test_every_kind_of_event_has_words_and_repeats_are_counted() -> None:
    now = utc_now()
    events = [TimelineEvent(now, kind, "1.1", "", "ines") for kind in TimelineKind]
    steps = steps_of([*events, *events], {"1.1": 3}, {})
    assert len(steps) == len(TimelineKind)
    assert all(step.words.endswith("(2 times)") for step in steps)
    assert "Film 3 analysed (2 times)" in [step.words for step in steps]
