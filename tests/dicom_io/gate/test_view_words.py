"""Views in the words of many languages, and in codes."""

from typing import Any

import pytest
from pydicom import Dataset

from dicom_io.gate.anatomy import FILM_TEXTS, View, anatomy_of
from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason, Verdict
from dicom_io.gate.rules import Rules
from tests.builders.images.headers import film_header


def judge(**attributes: Any) -> Verdict:
    return assess(film_header(**{"ViewPosition": None, **attributes}))


def code(value: str, meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


LATERAL = [
    "CHEST LATERAL",
    "Chest LAT",
    "Chest, lat. erect",
    "LLAT",
    "W Chest Lat",
    "chestLAT",
    "X-Table lateral",
    "Thorax seitlich",
    "Thorax seitl.",
    "Seitenaufnahme",
    "Thorax de profil",
    "Profil gauche",
    "Thorax latérale",
    "TORAX PERFIL",
    "Tórax lateral",
    "Torace laterale",
    "Torace latero-laterale",
    "Torace L-L",
    "TORACE LL",
    "Tórax em perfil",
    "Thorax lateraal",
    "Thorax zijdelings",
    "Thorax dwars",
    "Klatka piersiowa boczne",
    "Klatka z boku",
    "Hrudník boční",
    "Hrudník bočná projekcia",
    "Pluća bočna",
    "Грудная клетка боковая",
    "ОГК бок",
    "Бічна проекція",
    "胸部側面",
    "胸部 側面 R→L",
    "胸部 L→R",
    "胸部侧位",
    "흉부 측면",
    "صدر جانبي",
    "חזה צד",
    "Sidobild",
    "Sivukuva",
    "Oldalirányú",
    "Mellkas oldalfelv.",
    "Thorax sivusuunta",
    "Akciğer yan",
    "Θώρακας πλάγια",
    "Ngực nghiêng",
    "NA_chest_auto_lat_CES",
]


@pytest.mark.parametrize("words", LATERAL)
def test_words_for_a_lateral_film(words: str) -> None:
    verdict = judge(SeriesDescription=words)
    assert verdict.reason is Reason.LATERAL_VIEW, verdict
    assert verdict.detail.startswith("SeriesDescription says '")


@pytest.mark.parametrize("keyword", FILM_TEXTS)
@pytest.mark.parametrize("words", ["CHEST, LATERAL", "Thorax seitlich", "胸部側面"])
def test_every_text_of_a_film_names_its_view(keyword: str, words: str) -> None:
    verdict = judge(**{keyword: words})
    assert verdict.reason is Reason.LATERAL_VIEW
    assert verdict.detail.startswith(f"{keyword} says '")


@pytest.mark.parametrize(
    "value",
    [
        "L",
        "R",
        "LL",
        "RL",
        "LAT",
        "LATL",
        "LATR",
        "LLAT",
        "RLAT",
        "LLATERAL",
        "RLATERAL",
        "L LAT",
        "LT LATERAL",
        "LATERAL",
        "LEFT LATERAL",
        "LATERAL LEFT",
        "LARGE LATERAL",
        "SEITL",
        "PROFIL",
        "PERFIL",
        "L-LAT",
        "LAT L",
        "BOCZNE",
        "lateral",
    ],
)
def test_values_of_view_position_for_a_lateral_film(value: str) -> None:
    verdict = judge(ViewPosition=value)
    assert verdict.reason is Reason.LATERAL_VIEW
    assert verdict.detail.startswith("ViewPosition says '")


@pytest.mark.parametrize(
    ("item", "view"),
    [
        (code("R-10236", "left lateral"), View.LATERAL),
        (code("399198007"), View.LATERAL),
        (code("399067008"), View.LATERAL),
        (code("99X", "Thorax seitlich"), View.LATERAL),
        (code("399348003"), View.FRONTAL),
        (code("R-10214"), View.FRONTAL),
        (code("99Y", "postero-anterior"), View.FRONTAL),
        (code("399135007"), View.OBLIQUE),
        (code("99Z", "left lateral decubitus"), View.DECUBITUS),
        (code("99Z", "semi-erect"), View.UNKNOWN),
    ],
)
def test_codes_of_views(item: Dataset, view: View) -> None:
    film = film_header(ViewPosition=None, ViewCodeSequence=[item])
    assert anatomy_of(film).view is view


@pytest.mark.parametrize(
    "words",
    [
        "Chest bilateral",
        "Chest bi-lateral",
        "ipsi-lateral",
        "Unilateral",
        "Vastus lateralis",
        "Laterality unknown",
        "CHEST 2 VIEWS",
        "Lateral wall",
        "Decúbito supino",
        "Chest",
        "Contralateral",
        "Latex",
        "Plateau",
        "Collateral",
        "Lateral ribs pain",
    ],
)
def test_words_that_name_no_view(words: str) -> None:
    verdict = judge(SeriesDescription=words)
    assert verdict.is_eligible
    assert any(note.startswith("view not named: ViewPosition is absent") for note in verdict.notes)


@pytest.mark.parametrize(
    "words",
    [
        "PA/LAT",
        "Chest PA & Lateral",
        "Thorax p.a. und seitl.",
        "Face et profil",
        "PA y lateral",
        "AP e LL",
        "胸部正側位 正面 側面",
        "CHEST 2V FRONTAL/LATERAL",
        "boczne i PA",
    ],
)
@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName"])
def test_a_text_of_both_views_does_not_tell_this_one(words: str, keyword: str) -> None:
    verdict = judge(**{keyword: words})
    assert verdict.is_eligible
    assert f"{keyword} names several views" in verdict.notes
    assert judge(ViewPosition="LL", **{keyword: words}).reason is Reason.LATERAL_VIEW
    assert judge(ViewPosition="PA", **{keyword: words}).is_eligible


@pytest.mark.parametrize("keyword", ["StudyDescription", "RequestedProcedureDescription"])
def test_the_text_of_a_study_is_only_noted(keyword: str) -> None:
    assert (
        judge(ViewPosition="PA", **{keyword: "CHEST PA AND LATERAL"}).notes
        == judge(ViewPosition="PA").notes
    )
    verdict = judge(**{keyword: "Chest lateral"})
    assert verdict.is_eligible
    assert f"{keyword} says 'LATERAL'" in verdict.notes


@pytest.mark.parametrize(
    ("words", "view"),
    [
        ("Chest left lateral decubitus", View.DECUBITUS),
        ("Linksseitenlage", View.DECUBITUS),
        ("胸部側臥位", View.DECUBITUS),
        ("Decúbito lateral izquierdo", View.DECUBITUS),
        ("Chest oblique", View.OBLIQUE),
        ("Thorax schräg", View.OBLIQUE),
        ("胸部 斜位", View.OBLIQUE),
        ("Thorax p.a.", View.FRONTAL),
        ("Thorax de face", View.FRONTAL),
        ("胸部正面", View.FRONTAL),
        ("прямая проекция", View.FRONTAL),
        ("CHESTPA", View.FRONTAL),
    ],
)
def test_other_views(words: str, view: View) -> None:
    film = film_header(ViewPosition=None, SeriesDescription=words)
    assert anatomy_of(film).view is view


def test_the_first_attribute_decides_and_a_contradiction_is_noted() -> None:
    verdict = judge(ViewPosition="PA", SeriesDescription="Chest lateral")
    assert verdict.is_eligible
    assert "ViewPosition says 'PA', but SeriesDescription says 'LATERAL'" in verdict.notes
    verdict = judge(SeriesDescription="Chest lateral", ProtocolName="Chest PA")
    assert verdict.reason is Reason.LATERAL_VIEW


def test_an_unknown_view_position_is_noted_and_counts_as_absent() -> None:
    verdict = judge(ViewPosition="STANDING")
    assert verdict.is_eligible
    assert any("ViewPosition 'STANDING' is not known" in note for note in verdict.notes)
    film = film_header(ViewPosition="STANDING")
    assert assess(film, Rules(require_view=True)).reason is Reason.VIEW_NOT_SAID
    named = judge(ViewPosition="STANDING", SeriesDescription="Thorax seitlich")
    assert named.reason is Reason.LATERAL_VIEW
