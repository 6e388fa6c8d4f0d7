"""Localisation of the findings: maps against radiologists' boxes, chance, and the mean box.

Each map is one detection: its hottest point, and the box around its region (`region.hot_mask`).

- Pointing game (Zhang et al., "Top-down neural attention", ECCV 2016): the point lies in a box.
- Localisation accuracy (Wang et al., "ChestX-ray8", CVPR 2017): the overlap of the two boxes is
  above T. IoU is the intersection over the union, IoBB over the detected box.
- AP@0.3: average precision of the detections of a label, ranked by the peak of their maps over all
  films; a detection is right if its IoU is above 0.3. Films that are labelled with the finding and
  have no box are left out, because the place of the finding is not known.

Chance is a random point, and a box of the size of the detected one at a random place. The mean box
is that of the label on the other films (of all labels, if no other film has one).
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.call_rates import exact_interval
from cxr_model.data.boxes import Box, Frame
from cxr_model.data.chestxray14 import Record
from cxr_model.evaluate.bootstrap import RESAMPLES, Resampling, interval
from cxr_model.findings import LABELS
from cxr_model.predict.curves import Floats
from cxr_model.predict.prediction import Prediction
from cxr_model.predict.region import hot_mask

ALL = "all"

# Maps are compared on the film shrunk to this longer side.
_SIDE = 256
# Places of a random box along each side.
_PLACES = 65
_DIGITS = 4
_ACCURACIES = {"iou_10": (0, 0.1), "iou_30": (0, 0.3), "iobb_10": (1, 0.1), "iobb_30": (1, 0.3)}
_AP = "iou_30"


class Score(NamedTuple):
    """A share with its 95 % interval over patients, by chance, and of the mean box."""

    value: float
    low: float
    high: float
    chance: float
    mean_box: float


@dataclass(frozen=True, slots=True)
class Localisation:
    """Agreement of the maps of a label with its boxes.

    `boxes` is the number of films with a box, `patients` that of their patients. `accuracy` has a
    score per overlap and T: ``iou_10`` is IoU above 0.1.
    """

    boxes: int
    patients: int
    pointing: Score
    accuracy: Mapping[str, Score]
    ap_30: Score

    @property
    def better_than_chance(self) -> bool:
        """True if the interval of the pointing game lies above the score of a random point."""
        return self.pointing.low > self.pointing.chance


class _Detection(NamedTuple):
    """The detection on one film; `frame` is None if the map is nowhere positive."""

    score: float
    frame: Frame | None


class _Trial(NamedTuple):
    """A film with a box: its row, and hit, chance and hit of the mean box by measure."""

    row: int
    patient: str
    hit: Mapping[str, float]
    chance: Mapping[str, float]
    mean_box: Mapping[str, float]


class Localiser:
    """Compares maps with boxes, film by film, and keeps no map."""

    def __init__(self, boxes: Iterable[Box]) -> None:
        self._boxes = tuple(boxes)
        self._frames: dict[str, dict[str, list[Box]]] = {}
        for box in self._boxes:
            self._frames.setdefault(box.label, {}).setdefault(box.image, []).append(box)
        self._patients: list[str] = []
        self._unplaced: dict[str, list[bool]] = {label: [] for label in self._frames}
        self._detections: dict[str, list[_Detection]] = {label: [] for label in self._frames}
        self._trials: dict[str, list[_Trial]] = {label: [] for label in self._frames}

    def add(self, record: Record, prediction: Prediction) -> None:
        """Compare the maps of a film with its boxes."""
        row = len(self._patients)
        self._patients.append(record.patient_id)
        box = prediction.geometry
        share = min(1.0, _SIDE / max(box.rows, box.cols))
        rows, cols = (max(1, round(side * share)) for side in (box.rows, box.cols))
        small = replace(prediction, geometry=replace(box, rows=rows, cols=cols))
        for label, by_image in self._frames.items():
            heat = small.heat(label)
            frame = _frame(hot_mask(heat))
            self._detections[label].append(_Detection(float(heat.max()), frame))
            boxes = by_image.get(record.image, [])
            self._unplaced[label].append(not boxes and record.labels[LABELS.index(label)] == 1)
            if boxes:
                trial = self._trial(row, record, label, boxes, heat, frame)
                self._trials[label].append(trial)

    def result(self, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Localisation]:
        """Return the agreement per label with a box, in NIH order, and for ``all``.

        Shares of ``all`` are over all boxes, its AP is the mean of the labels. Intervals are over
        patients: exact (Clopper and Pearson 1934) for shares, resampled for AP.
        """
        used = [label for label in LABELS if self._trials.get(label)]
        if not used:
            return {}
        patients = np.asarray(self._patients, dtype=object)
        resampling = Resampling.of(patients, resamples=resamples, seed=seed)
        scores = {label: self._precision(label, resampling) for label in used}
        found = {label: _summary(self._trials[label], *scores[label]) for label in used}
        together = [trial for label in used for trial in self._trials[label]]
        points = np.mean([score for score, _ in scores.values()], axis=0)
        draws = np.mean([drawn for _, drawn in scores.values()], axis=0)
        return {**found, ALL: _summary(together, points, draws)}

    def _trial(
        self,
        row: int,
        record: Record,
        label: str,
        boxes: Sequence[Box],
        heat: npt.NDArray[np.float32],
        frame: Frame | None,
    ) -> _Trial:
        inside = np.logical_or.reduce([box.mask(*heat.shape) for box in boxes])
        frames = [box.frame for box in boxes]
        mean = self._mean_frame(record.image, label)
        pointed = frame is not None and bool(inside.flat[int(heat.argmax())])
        middle = ((mean.left + mean.right) / 2, (mean.top + mean.bottom) / 2)
        return _Trial(
            row,
            record.patient_id,
            {"pointing": float(pointed), **_overlapping(frame, frames)},
            {"pointing": float(inside.mean()), **_by_chance(frame, frames)},
            {
                "pointing": float(any(one.contains(*middle) for one in frames)),
                **_overlapping(mean, frames),
            },
        )

    def _mean_frame(self, image: str, label: str) -> Frame:
        """Return the mean box of the label on other films; of all labels, if there is no other.

        Without any other film it is the middle quarter of the film.
        """
        others = [box for box in self._boxes if box.image != image]
        same = [box for box in others if box.label == label]
        corners = [box.frame for box in same or others] or [Frame(0.25, 0.25, 0.75, 0.75)]
        return Frame(*np.mean(corners, axis=0).tolist())

    def _precision(self, label: str, resampling: Resampling) -> tuple[Floats, Floats]:
        """Return AP of the maps, by chance and of the mean box, (3,), and its resamples (n,)."""
        detections = self._detections[label]
        hits = np.zeros((3, len(detections)))
        positive = np.zeros(len(detections))
        for trial in self._trials[label]:
            positive[trial.row] = 1.0
            hits[:, trial.row] = [part[_AP] for part in (trial.hit, trial.chance, trial.mean_box)]
        called = np.asarray([one.frame is not None for one in detections], dtype=np.float64)
        counted = 1.0 - np.asarray(self._unplaced[label], dtype=np.float64)
        order = np.argsort([-one.score for one in detections], kind="stable")
        once = counted[order][None]
        # The mean box is a detection on every film, also where the map is nowhere positive.
        detected = (called, called, np.ones_like(called))
        points = [
            _expected_ap(once * found[order], hits[kind, order], positive[order].sum())
            for kind, found in enumerate(detected)
        ]
        drawn = [
            _average_precision(weights * once, called[order], hits[0, order], positive[order])
            for weights in resampling.chunks(order)
        ]
        return np.asarray(points), np.concatenate(drawn)


def localisation_card(found: Mapping[str, Localisation]) -> dict[str, Any]:
    """Return the JSON of a card for `Localiser.result`: an object per label, and ``all``."""
    return {
        label: {
            "boxes": one.boxes,
            "patients": one.patients,
            **_score_card("pointing", one.pointing),
            "accuracy": {
                key: value
                for name, score in one.accuracy.items()
                for key, value in _score_card(name, score).items()
            },
            **_score_card("ap_30", one.ap_30),
            "better_than_chance": one.better_than_chance,
        }
        for label, one in found.items()
    }


def write_localisation(found: Mapping[str, Localisation], path: Path) -> None:
    """Write a row per label: boxes, patients, and five columns per score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["pointing", *_ACCURACIES, "ap_30"]
    ends = ("", "_low", "_high", "_chance", "_mean_box")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{name}{end}" for name in names for end in ends]
        writer.writerow(["label", "boxes", "patients", *columns, "better_than_chance"])
        for label, one in found.items():
            scores = (one.pointing, *one.accuracy.values(), one.ap_30)
            cells = [f"{value:.6f}" for score in scores for value in score]
            writer.writerow(
                [label, one.boxes, one.patients, *cells, str(one.better_than_chance).lower()]
            )


def _score_card(name: str, score: Score) -> dict[str, Any]:
    value, low, high, chance, mean_box = (
        round(number, _DIGITS) if np.isfinite(number) else None for number in score
    )
    return {
        name: value,
        f"{name}_95": [low, high],
        f"{name}_chance": chance,
        f"{name}_mean_box": mean_box,
    }


def _summary(trials: Sequence[_Trial], ap: Floats, ap_drawn: Floats) -> Localisation:
    patients = len({trial.patient for trial in trials})
    bounds = interval(ap_drawn)
    return Localisation(
        boxes=len(trials),
        patients=patients,
        pointing=_share(trials, "pointing", patients),
        accuracy={name: _share(trials, name, patients) for name in _ACCURACIES},
        ap_30=Score(float(ap[0]), bounds.low, bounds.high, float(ap[1]), float(ap[2])),
    )


def _share(trials: Sequence[_Trial], name: str, patients: int) -> Score:
    """Return a share with its exact interval; the patients, not the films, are the trials."""
    exact = exact_interval(float(np.mean([trial.hit[name] for trial in trials])), patients)
    chance = float(np.mean([trial.chance[name] for trial in trials]))
    mean_box = float(np.mean([trial.mean_box[name] for trial in trials]))
    return Score(exact.value, exact.low, exact.high, chance, mean_box)


def _frame(mask: npt.NDArray[np.uint8] | None) -> Frame | None:
    """Return the box around a mask, in shares of the film."""
    if mask is None:
        return None
    rows, cols = mask.shape
    x, y, width, height = cv2.boundingRect(mask)
    return Frame(x / cols, y / rows, (x + width) / cols, (y + height) / rows)


def _overlapping(frame: Frame | None, boxes: Sequence[Frame]) -> dict[str, float]:
    """Return 1.0 per accuracy if the frame overlaps with any of the boxes, else 0.0."""
    if frame is None:
        return dict.fromkeys(_ACCURACIES, 0.0)
    overlaps = [frame.overlaps(box) for box in boxes]
    return {
        name: float(any(overlap[kind] > least for overlap in overlaps))
        for name, (kind, least) in _ACCURACIES.items()
    }


def _by_chance(frame: Frame | None, boxes: Sequence[Frame]) -> dict[str, float]:
    """Return per accuracy the share of places at which a box of the frame's size would be right."""
    if frame is None:
        return dict.fromkeys(_ACCURACIES, 0.0)
    width, height = frame.right - frame.left, frame.bottom - frame.top
    lefts = np.linspace(0, 1 - width, _PLACES)[None, :]
    tops = np.linspace(0, 1 - height, _PLACES)[:, None]
    right = {name: np.zeros((_PLACES, _PLACES), dtype=np.bool_) for name in _ACCURACIES}
    for box in boxes:
        across = np.minimum(lefts + width, box.right) - np.maximum(lefts, box.left)
        down = np.minimum(tops + height, box.bottom) - np.maximum(tops, box.top)
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        overlaps = (shared / (width * height + box.area - shared), shared / (width * height))
        for name, (kind, least) in _ACCURACIES.items():
            right[name] |= overlaps[kind] > least
    return {name: float(places.mean()) for name, places in right.items()}


def _expected_ap(called: Floats, hits: Floats, positives: float) -> float:
    """Return the average precision of ranked detections that are right with chance `hits`.

    With chances of 0 and 1 it is the average precision; otherwise its mean, as each detection is
    right or not independently of the others.
    """
    ranks = np.cumsum(called[0])
    before = np.cumsum(hits) - hits
    terms = np.divide(hits * (1 + before), ranks, out=np.zeros_like(hits), where=ranks > 0)
    return float(terms.sum() / positives)


def _average_precision(weights: Floats, called: Floats, hits: Floats, positive: Floats) -> Floats:
    """Return the average precision in each resample, NaN where no film has a box: (resamples,)."""
    ranks = np.cumsum(weights * called, axis=1)
    right = weights * hits
    found = np.cumsum(right, axis=1)
    precision = np.divide(found, ranks, out=np.zeros_like(found), where=ranks > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((right * precision).sum(axis=1) / (weights @ positive))
