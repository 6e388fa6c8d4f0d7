"""Makes the bundle of a trained network: calibration, thresholds, map scales and metrics."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from cxr_model.calibrate.calibration import calibrate
from cxr_model.calibrate.operating_point import (
    MAP_QUANTILE,
    map_scales,
    mean_film,
    operating_point,
)
from cxr_model.calibrate.prevalence import before_shift, target_prevalence
from cxr_model.data.predictions import Predictions
from cxr_model.data.split import Split
from cxr_model.evaluate.card_metrics import card_metrics, headline
from cxr_model.evaluate.metrics import measure_reliability
from cxr_model.evaluate.score_network import score
from cxr_model.evaluate.unseen import (
    CROSS_VALIDATED,
    calibration_record,
    left_out_slope,
    slope_of,
    slope_record,
)
from cxr_model.files.reliability_file import Reliability
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle, round_weights
from cxr_model.predict.card import Card, timestamp
from cxr_model.predict.curves import calibrated_probabilities, sigmoid
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from cxr_model.train.config import TrainingConfig

INTENDED_USE = (
    "For trying the system, not for reading films. Research use only; not a medical device."
)


def make_bundle(
    network: DenseNet121,
    spec: InputSpec,
    split: Split,
    config: TrainingConfig,
    provenance: Mapping[str, Any],
    now: datetime,
) -> tuple[Bundle, Reliability]:
    """Calibrate and choose thresholds on the validation patients, measure on the held-out ones.

    Returns the bundle, and the points of its reliability diagrams on the held-out patients.
    """
    # Calibration and metrics must be those of the rounded weights on disk.
    round_weights(network)
    size, workers = config.batch_size, config.workers
    validation = score(network, split.validation, spec, batch_size=size, workers=workers)
    held_out = score(network, split.held_out, spec, batch_size=size, workers=workers)
    fitted = Predictions.of(split.validation, sigmoid(validation.logits))
    calibration = calibrate(
        fitted, seed=config.seed, prevalence=target_prevalence(config.prevalence)
    )
    # From the logits themselves: a probability near 0 or 1 would round them.
    calibrated, unseen = (
        Predictions.of(
            records, calibrated_probabilities(calibration.calibrators, LABELS, scored.logits)
        )
        for records, scored in ((split.validation, validation), (split.held_out, held_out))
    )
    chosen = operating_point(
        calibrated, config.goal(), "validation patients", calibration.prevalence
    )
    baselines = mean_film(validation.maps)
    agreement = calibration_record(
        calibration,
        left_out_slope(fitted, seed=config.seed),
        f"{CROSS_VALIDATED}; validation patients",
        held_out=slope_record(slope_of(unseen, seed=config.seed), "held-out patients"),
    )
    card = Card(
        name=config.name,
        version=config.version,
        created=timestamp(now),
        intended_use=INTENDED_USE,
        input=spec,
        thresholds=chosen.thresholds,
        operating_point={**chosen.record, "map_scale_quantile": MAP_QUANTILE},
        calibrators=calibration.to_card(),
        calibration=agreement,
        map_scales=map_scales((validation.maps - baselines).astype(np.float32)),
        map_baselines=dict(zip(LABELS, baselines.tolist(), strict=True)),
        provenance=provenance,
        # Brier scores belong to the prevalence of the films, not to that of the target.
        metrics={
            "headline": headline(unseen, provenance.get("training_only", ())),
            "validation": card_metrics(
                *before_shift(calibrated, chosen.thresholds, calibration.shifts)
            ),
            "held_out": card_metrics(*before_shift(unseen, chosen.thresholds, calibration.shifts)),
        },
    )
    reliability = measure_reliability(unseen, calibration.shifts, "held_out")
    return Bundle.build(network.cpu(), card), reliability
