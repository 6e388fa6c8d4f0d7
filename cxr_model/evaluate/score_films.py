"""Runs a bundle over labelled films and returns tables for evaluation and calibration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from cxr_model.data.boxes import Box
from cxr_model.data.chestxray14 import Record
from cxr_model.data.image_file import read_image, shortest_side
from cxr_model.data.predictions import Predictions
from cxr_model.data.proportions import unsqueezed
from cxr_model.data.split import patient_split
from cxr_model.errors import DataError, ImageError
from cxr_model.evaluate.localisation import Localisation, Localiser
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.curves import sigmoid
from cxr_model.predict.predictor import BATCH, Image, Predictor


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFilms:
    """Predictions for the same films, `calibrated` and `uncalibrated`.

    `localisation` compares maps with boxes, per label and for ``all``; it is empty without boxes.
    """

    calibrated: Predictions
    uncalibrated: Predictions
    localisation: Mapping[str, Localisation]


def score_films(
    predictor: Predictor,
    records: Sequence[Record],
    boxes: Sequence[Box] = (),
    *,
    progress: bool = True,
) -> ScoredFilms:
    """Predict every film.

    Raises DataError for a film that is listed twice, ImageError for one that cannot be read.
    """
    names = [record.image for record in records]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"image {twice!r} is listed twice in the label table")
    localiser = Localiser(boxes)
    rows = []
    with tqdm(total=len(records), unit="film", disable=not progress) as bar:
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            found = predictor.predict([read_film(record) for record in batch])
            for record, prediction in zip(batch, found, strict=True):
                rows.append([(f.logit, f.probability) for f in prediction.findings])
                localiser.add(record, prediction)
            bar.update(len(batch))
    values = np.asarray(rows, dtype=np.float64)
    return ScoredFilms(
        calibrated=Predictions.of(records, values[:, :, 1], calibrated=True),
        uncalibrated=Predictions.of(records, sigmoid(values[:, :, 0]), calibrated=False),
        localisation=localiser.result(),
    )


def read_film(record: Record) -> Image:
    """Return the film as a model is given it, uint8 (rows, cols). Raises ImageError."""
    return unsqueezed(read_image(record.path), record.aspect)


def held_out_films(bundle: Bundle, records: Sequence[Record]) -> tuple[Record, ...] | None:
    """Return the films of the bundle's own training table that it has not seen.

    The split is recomputed from the settings on the card. Returns None if the fingerprint differs,
    that is for another table.
    """
    recorded: Mapping[str, Any] = bundle.card.provenance.get("split", {})
    stages = bundle.card.provenance.get("stages", [])
    if "fingerprint" not in recorded or not stages:
        return None
    try:
        settings = stages[-1]["settings"]
        smallest = settings["evaluation_min_side"]
        split = patient_split(
            records,
            validation=settings["validation_fraction"],
            held_out=settings["held_out_fraction"],
            seed=recorded["seed"],
            eligible=lambda record: not smallest or shortest_side(record.path) >= smallest,
            training_only=settings.get("training_only", ()),
        )
    except (DataError, ImageError, KeyError, TypeError, ValueError):
        return None
    return split.held_out if split.fingerprint == recorded["fingerprint"] else None


def without_sources(records: Sequence[Record], names: Collection[str]) -> tuple[Record, ...]:
    """Return the films whose source is not one of `names`."""
    return tuple(record for record in records if record.source.strip() not in names)
