"""From a trained network to a bundle: calibration, thresholds, scales and measured metrics."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.calibrate.calibration import Calibration, calibrate
from cxr_model.calibrate.operating_point import MAP_QUANTILE, map_scales, thresholds_at_specificity
from cxr_model.data.chestxray14 import Record
from cxr_model.data.predictions import Predictions
from cxr_model.data.split import Split
from cxr_model.evaluate.card_metrics import measure
from cxr_model.evaluate.score_network import Scored, score
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle, round_weights
from cxr_model.predict.card import Card
from cxr_model.predict.curves import sigmoid
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from cxr_model.train.config import TrainingConfig

INTENDED_USE = (
    "For trying the system, not for reading films. Research use only; not a medical device."
)


def finish(
    network: DenseNet121,
    spec: InputSpec,
    split: Split,
    config: TrainingConfig,
    provenance: Mapping[str, Any],
    now: datetime,
) -> Bundle:
    """Calibrate and set thresholds on the validation patients, measure on the held-out ones."""
    # Everything below must be true of the weights on disk, not of the ones before rounding.
    round_weights(network)
    size, workers = config.batch_size, config.workers
    validation = score(network, split.validation, spec, batch_size=size, workers=workers)
    held_out = score(network, split.held_out, spec, batch_size=size, workers=workers)
    calibration = calibrate(_predictions(validation, split.validation), seed=config.seed)
    calibrated = _calibrated(calibration, validation)
    thresholds = thresholds_at_specificity(calibrated, validation.targets, config.specificity)
    card = Card(
        name=config.name,
        version=config.version,
        created=now.astimezone(UTC).isoformat(timespec="seconds"),
        intended_use=INTENDED_USE,
        input=spec,
        thresholds=thresholds,
        operating_point={
            "rule": "the lowest threshold of at least this specificity",
            "specificity": config.specificity,
            "chosen_on": "validation patients",
            "map_scale_quantile": MAP_QUANTILE,
        },
        calibrators=calibration.to_card(),
        map_scales=map_scales(validation.maps),
        provenance=provenance,
        metrics={
            "validation": measure(validation, calibrated, thresholds),
            "held_out": measure(held_out, _calibrated(calibration, held_out), thresholds),
        },
    )
    return Bundle.build(network.cpu(), card)


def _calibrated(calibration: Calibration, scored: Scored) -> npt.NDArray[np.float64]:
    curves = calibration.calibrators
    columns = [curves[label].apply(scored.logits[:, i]) for i, label in enumerate(LABELS)]
    return sigmoid(np.stack(columns, axis=1))


def _predictions(scored: Scored, records: Sequence[Record]) -> Predictions:
    groups = [{"view": r.view, "sex": r.sex, "age": r.age} for r in records]
    return Predictions(
        LABELS,
        np.asarray([record.image for record in records], dtype=object),
        scored.patients.astype(object),
        sigmoid(scored.logits),
        scored.targets.astype(np.float64),
        pd.DataFrame(groups),
    )
