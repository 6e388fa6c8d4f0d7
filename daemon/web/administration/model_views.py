"""The views of the model's card. A value that the card lacks is None.

A card is a JSON object that this software or an earlier version wrote, so that a record may lack
some values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_model.files.card_claims import calibration_words, is_calibrated
from cxr_model.files.reliability_file import Reliability, ReliabilityBin
from daemon.words.findings import title_of

PARTS = ("held_out", "evaluated", "validation")
"""Parts of a card's metrics: those of patients whom no step has seen come first."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding: its ranking on `part`, and its calls at the threshold where that was chosen.

    `prevalence` is the one that the calibrated probabilities hold for.
    """

    label: str
    title: str
    positives: int | None
    auc: Figure
    prevalence: float | None
    threshold: float
    sensitivity: Figure
    specificity: Figure
    ppv: Figure


@dataclass(frozen=True, slots=True)
class SourceRow:
    """The mean AUC on the films of one source."""

    source: str
    films: int | None
    patients: int | None
    labels: int | None
    mean_auc: Figure


@dataclass(frozen=True, slots=True)
class PartView:
    """The mean AUC on the films of a part, and by source; `mean_auc` is over `labels` findings."""

    name: str
    films: int | None
    patients: int | None
    labels: int | None
    mean_auc: Figure
    sources: tuple[SourceRow, ...]
    false_calls: Figure
    films_without_findings: int | None


@dataclass(frozen=True, slots=True)
class LocalisationRow:
    """The share of radiologists' boxes that the hottest point of the map hits."""

    title: str
    boxes: int | None
    pointing: Figure
    chance: float | None
    mean_box: float | None
    better_than_chance: bool


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The rule by which thresholds were chosen, and the false calls on those films."""

    rule: str
    chosen_on: str
    films: int | None
    patients: int | None
    calls_per_film: float | None
    false_calls: Figure
    films_without_findings: int | None


@dataclass(frozen=True, slots=True)
class TrainingView:
    """The films and patients of the training, and what the model learnt from."""

    description: str
    trained_with: str
    split: str
    parts: tuple[tuple[str, int, int], ...]
    training_only: tuple[str, ...]
    teachers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReliabilityView:
    """The bins of a finding, on films of `part`."""

    label: str
    title: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class CardView:
    """The card of a bundle; `sha256` is that of the bundle."""

    name: str
    version: str
    created: str
    sha256: str
    intended_use: str
    input_side: int
    weights_sha256: str
    weights_type: str
    calibrated: bool
    calibration: str
    findings: tuple[FindingRow, ...]
    findings_part: str
    parts: tuple[PartView, ...]
    operating_point: OperatingPoint
    localisation: tuple[LocalisationRow, ...]
    training: TrainingView
    reliability: tuple[ReliabilityView, ...]
    reliability_part: str
    reliability_films: int
    reliability_patients: int
    reliability_problem: str


def card_view(
    card: Mapping[str, Any], sha256: str, reliability: Reliability | None, problem: str
) -> CardView:
    """Return the view of a card that `parse_card` has checked."""
    metrics, calibration = card["metrics"], card.get("calibration", {})
    parts = [name for name in PARTS if isinstance(metrics.get(name), Mapping)]
    weights = card["weights"]
    return CardView(
        name=str(card["name"]),
        version=str(card["version"]),
        created=str(card["created"]),
        sha256=sha256,
        intended_use=str(card["intended_use"]),
        input_side=int(card["input"]["size"]),
        weights_sha256=str(weights["sha256"]),
        weights_type=str(weights["dtype"]),
        calibrated=is_calibrated(calibration),
        calibration=calibration_words(calibration),
        findings=tuple(_findings(card, parts[0] if parts else "")),
        findings_part=readable_part(parts[0]) if parts else "",
        parts=tuple(_part(name, metrics[name]) for name in parts),
        operating_point=_operating_point(card["operating_point"]),
        localisation=tuple(_localisation(_table(metrics, "localisation"))),
        training=_training(card["provenance"]),
        reliability=tuple(_reliability(reliability)),
        reliability_part=readable_part(reliability.part) if reliability else "",
        reliability_films=reliability.films if reliability else 0,
        reliability_patients=reliability.patients if reliability else 0,
        reliability_problem=problem,
    )


def readable_part(name: str) -> str:
    """Return the name of a part of the films in words."""
    words = {
        "held_out": "patients kept apart from all steps",
        "evaluated": "patients of another table",
        "validation": "validation patients",
    }
    return words.get(name, name.replace("_", " "))


def _findings(card: Mapping[str, Any], part: str) -> Iterator[FindingRow]:
    measured = _table(_table(card["metrics"], part), "labels")
    chosen = _table(card["operating_point"], "labels")
    prevalence = _table(card.get("calibration", {}), "prevalence")
    for label in card["labels"]:
        row, rates = _table(measured, label), _table(chosen, label)
        yield FindingRow(
            label=label,
            title=title_of(label),
            positives=_count(row, "positives"),
            auc=_figure(row, "auc"),
            prevalence=_number(prevalence.get(label)),
            threshold=float(card["thresholds"][label]),
            sensitivity=_figure(rates, "sensitivity"),
            specificity=_figure(rates, "specificity"),
            ppv=_figure(rates, "ppv"),
        )


def _part(name: str, record: Mapping[str, Any]) -> PartView:
    calls = _table(record, "false_calls")
    return PartView(
        name=readable_part(name),
        films=_count(record, "images"),
        patients=_count(record, "patients"),
        labels=_count(record, "labels_in_mean"),
        mean_auc=_figure(record, "mean_auc"),
        sources=tuple(
            SourceRow(
                source=str(source),
                films=_count(row, "images"),
                patients=_count(row, "patients"),
                labels=_count(row, "labels_in_mean"),
                mean_auc=_figure(row, "mean_auc"),
            )
            for source, row in _table(record, "by_source").items()
            if isinstance(row, Mapping)
        ),
        false_calls=_figure(calls, "per_film_without_findings"),
        films_without_findings=_count(calls, "films_without_findings"),
    )


def _operating_point(record: Mapping[str, Any]) -> OperatingPoint:
    calls = _table(record, "false_calls")
    return OperatingPoint(
        rule=str(record.get("rule", "")),
        chosen_on=str(record.get("chosen_on", "")),
        films=_count(record, "films"),
        patients=_count(record, "patients"),
        calls_per_film=_number(record.get("calls_per_film")),
        false_calls=_figure(calls, "per_film_without_findings"),
        films_without_findings=_count(calls, "films_without_findings"),
    )


def _localisation(record: Mapping[str, Any]) -> Iterator[LocalisationRow]:
    for label, row in record.items():
        if isinstance(row, Mapping):
            yield LocalisationRow(
                title="All together" if label == "all" else title_of(label),
                boxes=_count(row, "boxes"),
                pointing=_figure(row, "pointing"),
                chance=_number(row.get("pointing_chance")),
                mean_box=_number(row.get("pointing_mean_box")),
                better_than_chance=row.get("better_than_chance") is True,
            )


def _training(record: Mapping[str, Any]) -> TrainingView:
    split = _table(record, "split")
    films, patients = _table(split, "films"), _table(split, "patients")
    return TrainingView(
        description=str(record.get("description", "")),
        trained_with=str(record.get("trained_with", record.get("imported_from", ""))),
        split=str(split.get("rule", "")),
        parts=tuple(
            (str(name).replace("_", " "), int(count), int(patients.get(name, 0)))
            for name, count in films.items()
            if isinstance(count, int)
        ),
        training_only=_texts(record.get("training_only")),
        teachers=_texts(record.get("teachers")),
    )


def _reliability(measured: Reliability | None) -> Iterator[ReliabilityView]:
    if measured is not None:
        for label, bins in measured.labels.items():
            yield ReliabilityView(label, title_of(label), bins)


def _table(record: object, name: str) -> Mapping[str, Any]:
    value = record.get(name) if isinstance(record, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _figure(record: Mapping[str, Any], name: str) -> Figure:
    bounds = record.get(f"{name}_95")
    low, high = bounds if isinstance(bounds, Sequence) and len(bounds) == 2 else (None, None)
    return Figure(_number(record.get(name)), _number(low), _number(high))


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _count(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
