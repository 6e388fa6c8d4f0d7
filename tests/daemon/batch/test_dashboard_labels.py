"""The figures of a dashboard with a table of labels: right, and never better than they are."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr_model.data.outcomes import Outcomes, read_outcomes
from cxr_model.data.patients import PatientSet
from cxr_model.errors import DataError
from cxr_model.evaluate.outcomes.measured import measure_outcomes
from cxr_model.findings import LABELS, NO_FINDING
from cxr_model.predict.card import Card
from daemon.batch.csv_report import Row
from daemon.batch.dashboard.labelled import measure_labels
from daemon.batch.dashboard.overview import Overview
from daemon.batch.dashboard.page import render_dashboard
from dicom_io.gate.reasons import Reason
from tests.builders.made_models import made_card

MASS = LABELS.index("Mass")
NOW = datetime.datetime(2026, 3, 4, tzinfo=datetime.UTC)


@pytest.fixture
def card() -> Card:
    return made_card(name="a model")


def rows_of(count: int = 40) -> list[Row]:
    """Return rows `0.png` to `N.png`, with probabilities that rise."""
    return [
        Row(
            f"{i}.png", ((i + 0.5) / count,) * len(LABELS), NO_FINDING, identifiers=("", "", "", "")
        )
        for i in range(count)
    ]


def outcomes_of(names: list[str], mass: list[float], patients: list[str] | None = None) -> Outcomes:
    values = np.full((len(names), len(LABELS)), np.nan)
    values[:, MASS] = mass
    return Outcomes(tuple(names), tuple(patients or [""] * len(names)), values)


def test_the_figures_are_those_of_the_films_with_outcomes() -> None:
    p = np.array([[0.1], [0.4], [0.35], [0.8], [0.9], [0.3], [0.7]])
    y = np.array([[0], [0], [1], [1], [1], [0], [np.nan]])
    patients = np.array(list("abcdefg"), dtype=object)
    measured = measure_outcomes(["Mass"], p, y, patients, {"Mass": 0.5}, resamples=50)
    (mass,) = measured.labels
    assert (mass.films, mass.positives) == (6, 3)
    assert mass.auc.value == pytest.approx(8 / 9)
    assert mass.auc.bounds.low <= 8 / 9 <= mass.auc.bounds.high
    assert mass.brier.value == pytest.approx(((p - y)[:6] ** 2).mean())
    assert mass.roc[0] == pytest.approx((0, 0))
    assert mass.roc[-1] == pytest.approx((1, 1))
    assert mass.operating == pytest.approx((0, 2 / 3))
    area = sum((x2 - x1) * y2 for (x1, _), (x2, y2) in zip(mass.roc, mass.roc[1:], strict=False))
    assert area == pytest.approx(8 / 9), "no probability occurs twice"
    assert measured.labels_in_mean == 1
    assert measured.mean_auc.value == pytest.approx(8 / 9)


def test_too_few_films_have_no_auc() -> None:
    """The AUC of one film with the finding is 0 or 1 by chance."""
    p = np.linspace(0.1, 0.9, 20)[:, None]
    y = (p > 0.84).astype(float)
    assert y.sum() == 2
    patients = np.arange(20).astype(str).astype(object)
    measured = measure_outcomes(["Mass"], p, y, patients, {"Mass": 0.5}, resamples=20)
    assert np.isnan(measured.labels[0].auc.value)
    assert measured.labels[0].roc == ()
    assert measured.labels_in_mean == 0


def test_a_bin_has_twenty_films_or_is_the_only_one() -> None:
    for films, bins in ((8, 1), (65, 3), (1000, 10)):
        p = np.random.default_rng(0).random((films, 1))
        y = (np.arange(films) % 3 == 0).astype(float)[:, None]
        patients = np.arange(films).astype(str).astype(object)
        (mass,) = measure_outcomes(*(["Mass"], p, y, patients, {"Mass": 0.5}), resamples=5).labels
        assert len(mass.bins) == bins
        assert sum(one.count for one in mass.bins) == films
        assert all(0 <= one.low <= one.rate <= one.high <= 1 for one in mass.bins)
        assert len(mass.roc) <= 201


def test_films_are_found_by_name_uid_or_file_name(card: Card) -> None:
    rows = [
        Row("ward/a.png", (0.5,) * 14, NO_FINDING, identifiers=("", "", "", "")),
        Row("b.dcm.gz", (0.5,) * 14, NO_FINDING, identifiers=("", "", "", "")),
        Row("c", (0.5,) * 14, NO_FINDING, identifiers=("", "", "1.2.840.7", "")),
        Row("d.png", (0.5,) * 14, NO_FINDING, identifiers=("", "", "", "")),
        Row("e.dcm", reason=Reason.LATERAL_VIEW),
    ]
    names = ["a.png", "B.PNG", "1.2.840.7", "d.jpg", "d.tif", "other.png"]
    found = measure_labels(outcomes_of(names, [0.0] * 6), rows, card)
    assert (found.films, found.without, found.unused) == (3, 1, 3)
    assert not found.patients_named


def test_patients_of_the_training_are_left_out(card: Card) -> None:
    seen = PatientSet.of(["P0", "P1"]).to_json()
    card = replace(card, provenance={"fitted_on": [seen]})
    names = [f"{i}.png" for i in range(40)]
    patients = [f"P{i // 2}" for i in range(40)]
    outcomes = outcomes_of(names, [float(i % 2) for i in range(40)], patients)
    found = measure_labels(outcomes, rows_of(), card)
    assert (found.films, found.patients, found.trained_on) == (36, 18, 4)
    everything = replace(card, provenance={"fitted_on": [PatientSet.of(patients).to_json()]})
    none = measure_labels(outcomes, rows_of(), everything)
    assert (none.films, none.trained_on, none.labels) == (0, 40, ())


def test_the_page_shows_curves_figures_and_how_to_read_them(card: Card) -> None:
    names = [f"{i}.png" for i in range(40)]
    labelled = measure_labels(
        outcomes_of(names, [float(i > 20) for i in range(40)]), rows_of(), card
    )
    page = render_dashboard(Overview.of(rows_of()), card, "ab" * 32, NOW, labelled)
    words = " ".join(page.split())
    assert "40 analysed films have labels, each counted as a patient of its own" in words
    assert 'aria-label="ROC curve of Mass: Mass; marked point' in page
    assert 'aria-label="Reliability of Mass:' in page
    assert "How to read the diagrams" in words
    assert "1.000 (1.000 to 1.000)" in words
    assert "not from these images" not in words, "the card of this model has no metrics"


@pytest.mark.parametrize(
    ("text", "mass", "patients"),
    [
        ("image,y_Mass,y_Edema\na.png,1,\nb.png,0,1\n", [1, 0], ["", ""]),
        ("file,patient_id,labels\na.png,7,Mass|Edema\nb.png,8,No Finding\n", [1, 0], ["7", "8"]),
        (
            "Image Index,Finding Labels,Patient ID,View Position\na.png,Mass,7,PA\nb.png,,8,AP\n",
            *([1, 0], ["7", "8"]),
        ),
    ],
)
def test_labels_are_read_in_each_layout(
    tmp_path: Path, text: str, mass: list[int], patients: list[str]
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    found = read_outcomes(tmp_path / "labels.csv")
    assert found.images == ("a.png", "b.png")
    assert list(found.values[:, MASS]) == mass
    assert list(found.patients) == patients
    if "y_Mass" in text:
        assert np.isnan(found.values[0, LABELS.index("Edema")])
        assert np.isnan(found.values[:, LABELS.index("Hernia")]).all()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("image,x\na,1\n", "is not a table of labels"),
        ("y_Mass\n1\n", "is not a table of labels"),
        ("image,y_Mass\n", "has no rows"),
        ("image,y_Mass\na,1\na,0\n", "lists the image 'a' twice"),
        ("image,y_Mass\na,2\n", "row 1: y_Mass is '2', not 0 or 1 or empty"),
        ("image,y_Gout\na,1\n", "'y_Gout' is none of the 14 labels"),
        ("image,labels\na,Gout\n", "unknown finding 'Gout'"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=error):
        read_outcomes(tmp_path / "labels.csv")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label table"):
        read_outcomes(tmp_path / "none.csv")
