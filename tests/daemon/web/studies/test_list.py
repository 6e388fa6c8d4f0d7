"""The list of studies: the page, the CSV file and the JSON twin."""

import csv
import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import analyse, claim, new_instance
from tests.servers.website import Site, cells, running_site
from tests.tools.ports import free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

HOSTILE = "<script>alert(1)</script>\u202e\x1b"


def receive(store: Store, study: str, **changes: Any) -> int:
    film = new_instance(f"{study}.1", study_instance_uid=study, **changes)
    return store.record_instance(film, 0).instance_id


@pytest.fixture
def studies(store: Store) -> Store:
    """An analysed, a refused and a waiting study."""
    receive(store, "1.1", patient_id="PAT-1", accession_number="ACC-1", patient_name="Doe^Jane")
    analyse(store, utc_now())
    receive(store, "1.2", patient_id=HOSTILE, accession_number="", patient_name="=cmd()^Evil")
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(refused, int(refused.subject), "LATERAL_VIEW", "")
    receive(
        store,
        "1.3",
        patient_id="=1+1",
        accession_number="ACC-3",
        patient_sex="F",
        patient_birth_date="19600302",
    )
    return store


def test_the_page_lists_studies_with_findings_and_reasons(site: Site, studies: Store) -> None:
    answer = site.ask("/studies")
    assert answer.status == 200
    rows = {re.findall(r"studies/([\d.]+)", row)[0]: row for row in answer.text.split("<tr>")[2:]}
    assert "Mass <b>0.80</b>" in rows["1.1"]
    assert "A lateral film; the model reads frontal ones." in rows["1.2"]
    assert "waiting for analysis" in rows["1.3"]
    assert [row[3] for row in cells(answer.text) if "=1+1" in row] == ["F, 65 y"]
    assert "3 studies" in answer.text
    assert 'aria-sort="descending"' in answer.text


def test_text_of_peers_is_neutral(site: Site, studies: Store) -> None:
    text = site.ask("/studies").text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;⟨U+202E⟩␛</bdi>" in text


def test_names_are_not_shown_unless_configured(site: Site, studies: Store) -> None:
    for path in ("/studies", "/studies.csv", "/api/studies.csv", "/api/studies", "/studies?q=Jane"):
        text = site.ask(path).text
        assert "Doe" not in text
        assert 'patient_name": "' not in text
    assert "web.patient_names is false" in unescape(site.ask("/studies?name=Doe").text)


def test_names_are_shown_and_searched_if_configured(tmp_path: Path, studies: Store) -> None:
    with running_site(tmp_path, web={"port": free_port(), "patient_names": True}) as site:
        text = site.ask("/studies?name=doe").text
        assert "Doe, Jane" in text
        assert "1 study found" in text
        assert "'=cmd()^Evil" in site.ask("/studies.csv").text


def test_a_search_narrows_the_list_and_its_url_is_the_page(site: Site, studies: Store) -> None:
    text = site.ask("/studies?q=acc&sort=accession_number&order=asc").text
    assert re.findall(r'href="\./studies/([\d.]+)"', text) == ["1.1", "1.3"]
    assert "studies.csv?q=acc&amp;sort=accession_number&amp;order=asc" in text
    assert "No study fits all of these: Search." in site.ask("/studies?q=nothing").text
    assert "first page" in site.ask("/studies?page=7").text


def test_a_value_of_no_use_is_explained_beside_its_field(site: Site, studies: Store) -> None:
    answer = site.ask("/studies?from=yesterday&q=x")
    assert answer.status == 400
    assert 'aria-describedby="p-from"' in answer.text
    assert "a date is written YYYY-MM-DD" in answer.text
    assert 'value="yesterday"' in answer.text
    for path in (
        "/api/studies.csv?state=lost",
        "/api/studies?state=lost",
        "/api/studies?acession=1",
    ):
        assert site.ask(path).status == 400
    assert "state: is one of" in site.ask("/api/studies?state=lost").text
    assert site.ask("/api/studies?limit=9999").status == 400


def test_the_csv_holds_the_selection_with_formulas_neutralised(site: Site, studies: Store) -> None:
    answer = site.ask("/studies.csv?sort=accession_number&order=asc")
    assert answer.headers["content-disposition"] == 'attachment; filename="studies.csv"'
    rows = {row["study_instance_uid"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert list(rows) == ["1.2", "1.1", "1.3"]
    assert (rows["1.1"]["prob_Mass"], rows["1.1"]["prob_Hernia"]) == ("0.800000", "0.020000")
    assert (rows["1.1"]["findings"], rows["1.1"]["prob_Edema"]) == ("Mass 0.8000", "")
    assert rows["1.2"]["reasons"] == "LATERAL_VIEW"
    assert rows["1.3"]["patient_id"] == "'=1+1"
    (only,) = csv.DictReader(io.StringIO(site.ask("/api/studies.csv?q=ACC-3").text))
    assert only["films"] == "1"


def test_an_export_is_audited_without_the_search(site: Site, studies: Store) -> None:
    site.ask("/studies?q=PAT-1")
    site.ask("/studies.csv?q=PAT-1&modality=DX")
    rows = list(studies.audit.rows())
    (exported,) = [row for row in rows if row.kind == "data_exported"]
    assert exported.detail == "the list of studies as CSV; searched by: Search, Modality"
    assert not any("PAT-1" in str(row) for row in rows)


def test_the_json_twin_says_the_same(site: Site, studies: Store) -> None:
    answer = json.loads(site.ask("/api/studies?limit=1&offset=2&sort=study_date&order=asc").text)
    assert (answer["total"], answer["offset"], len(answer["studies"])) == (3, 2, 1)
    (study,) = json.loads(site.ask("/api/studies?q=acc-1").text)["studies"]
    assert study["findings"] == [{"label": "Mass", "probability": 0.8}]
    assert (study["state"], study["patient_name"]) == ("analysed", None)


def test_an_empty_store_says_what_to_do(site: Site) -> None:
    assert "No study has come yet" in site.ask("/studies").text
