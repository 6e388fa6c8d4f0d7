"""The figures of the analysed films by the outcomes of a table of labels."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from cxr_model.data.patients import recorded_sets
from cxr_model.findings import LABELS
from cxr_model.predict.card import Card
from daemon.batch.csv_report import IDENTIFIERS, Row, cell
from daemon.charts.chart import Chart
from daemon.charts.curves import Curve, ReliabilityBin, curves, reliability
from daemon.charts.text import axis_end

if TYPE_CHECKING:
    from cxr_model.data.outcomes import Outcomes
    from cxr_model.evaluate.outcomes.measured import Estimate, LabelFigures, Measured

_PATIENT, _INSTANCE = IDENTIFIERS.index("PatientID"), IDENTIFIERS.index("SOPInstanceUID")
_ROC_AXES = ("1 − specificity", "sensitivity")
_RELIABILITY_AXES = ("mean probability", "share with the finding")


@dataclass(frozen=True, slots=True)
class LabelCharts:
    """The figures of a label as text, and its charts; `roc` is None with too few films."""

    name: str
    cells: tuple[str, ...]
    roc: Chart | None
    reliability: Chart


@dataclass(frozen=True, slots=True)
class Labelled:
    """The films with outcomes, and the figures of each label.

    `without` analysed films are not in the table, `unused` rows of the table are of no analysed
    film, `trained_on` films are left out because the model was trained on their patients.
    """

    films: int
    patients: int
    without: int
    unused: int
    trained_on: int
    patients_named: bool
    mean_auc: str
    labels_in_mean: int
    labels: tuple[LabelCharts, ...]


def measure_labels(outcomes: "Outcomes", rows: Iterable[Row], card: Card) -> Labelled:
    """Measure the analysed rows by the outcomes of the table, without patients of the training."""
    from cxr_model.evaluate.outcomes.measured import measure_outcomes

    places = _Places.of(outcomes)
    seen = recorded_sets(card.provenance)
    probabilities, values, patients, used = [], [], [], set()
    without = trained_on = 0
    named = False
    for row in rows:
        if row.reason is not None:
            continue
        place = places.of_row(row)
        if place is None:
            without += 1
            continue
        used.add(place)
        patient = outcomes.patients[place] or (row.identifiers[_PATIENT] if row.identifiers else "")
        if any(patients_of_training.holds(patient) for patients_of_training in seen):
            trained_on += 1
            continue
        named = named or bool(patient)
        probabilities.append(row.probabilities)
        values.append(outcomes.values[place])
        patients.append(patient or row.image_id)
    unused = len(outcomes.images) - len(used)
    if not values:
        return Labelled(0, 0, without, unused, trained_on, False, "–", 0, ())
    measured = measure_outcomes(
        LABELS,
        np.asarray(probabilities, dtype=np.float64),
        np.asarray(values),
        np.asarray(patients, dtype=object),
        card.thresholds,
    )
    return _drawn(measured, without, unused, trained_on, named)


def _drawn(
    measured: "Measured", without: int, unused: int, trained_on: int, named: bool
) -> Labelled:
    return Labelled(
        measured.films,
        measured.patients,
        without,
        unused,
        trained_on,
        named,
        _text(measured.mean_auc),
        measured.labels_in_mean,
        tuple(map(_of_label, measured.labels)),
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Rows of a table of labels by the names of their images."""

    whole: Mapping[str, int]
    stems: Mapping[str, int | None]
    """The name without folders and suffix; None where several rows have it."""

    @classmethod
    def of(cls, outcomes: "Outcomes") -> "_Places":
        stems: dict[str, int | None] = {}
        for place, image in enumerate(outcomes.images):
            stem = _stem(image)
            stems[stem] = None if stem in stems else place
        return cls({cell(image): i for i, image in enumerate(outcomes.images)}, stems)

    def of_row(self, row: Row) -> int | None:
        """Return the place of a film's row, by its whole name, its UID, or its file name."""
        for name in _names(row):
            if name in self.whole:
                return self.whole[name]
        return self.stems.get(_stem(row.image_id))


def _names(row: Row) -> Iterator[str]:
    yield row.image_id
    if row.identifiers and row.identifiers[_INSTANCE]:
        yield row.identifiers[_INSTANCE]
    yield PurePath(row.image_id).name


def _stem(image: str) -> str:
    name = PurePath(image).name.lower().removesuffix(".gz")
    stem, _, suffix = name.rpartition(".")
    # A UID ends in digits, which are no suffix.
    return stem if stem and not suffix.isdecimal() else name


def _of_label(figures: "LabelFigures") -> LabelCharts:
    name = figures.label.replace("_", " ")
    cells = (
        str(figures.films),
        str(figures.positives),
        _text(figures.auc),
        _text(figures.brier),
    )
    roc = None
    if figures.roc:
        title = f"ROC curve of {name}"
        roc = curves(title, [Curve(name, figures.roc)], _ROC_AXES, point=figures.operating)
    bins = [
        ReliabilityBin(one.mean, one.rate, one.low, one.high, one.count) for one in figures.bins
    ]
    end = axis_end(max([*(max(one.mean, one.rate) for one in bins), *(one.high for one in bins)]))
    title = f"Reliability of {name}"
    return LabelCharts(name, cells, roc, reliability(title, bins, _RELIABILITY_AXES, end=end))


def _text(estimate: "Estimate") -> str:
    """Return a value with its interval, or a dash where it is not defined."""
    if math.isnan(estimate.value):
        return "–"
    bounds = estimate.bounds
    return f"{estimate.value:.3f} ({bounds.low:.3f} to {bounds.high:.3f})"
