"""The prevalence that probabilities hold for, and the shift of curves to another prevalence.

A sample for training is rarely a population's: films are chosen for their findings. If only the
prevalence differs, and not the look of a finding, a probability moves to the target's prevalence
by a constant on the logit scale, ``logit(p) + logit(target) - logit(sample)`` (Elkan, "The
foundations of cost-sensitive learning", IJCAI 2001). No order of films and no slope changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.files.strict_json import shown
from cxr_model.files.table_file import read_table
from cxr_model.findings import LABELS
from cxr_model.predict.choices import Prevalence
from cxr_model.predict.curves import Calibrator, Floats, logit, sigmoid

#: Films of the label table of NIH ChestX-ray14, and the films with each finding: counts of
#: `Data_Entry_2017_v2020.csv` (Wang et al., CVPR 2017).
NIH_FILMS = 112_120
NIH_POSITIVES: Mapping[str, int] = {
    "Atelectasis": 11_559,
    "Cardiomegaly": 2_776,
    "Effusion": 13_317,
    "Infiltration": 19_894,
    "Mass": 5_782,
    "Nodule": 6_331,
    "Pneumonia": 1_431,
    "Pneumothorax": 5_302,
    "Consolidation": 4_667,
    "Edema": 2_303,
    "Emphysema": 2_516,
    "Fibrosis": 1_686,
    "Pleural_Thickening": 3_385,
    "Hernia": 227,
}


def target_prevalence(name: str, labels: Sequence[str] = LABELS) -> Mapping[str, float] | None:
    """Return the prevalence of `labels` that `name` stands for; None for that of the sample.

    `name` is a `Prevalence` or the path of a CSV file with the columns ``label, prevalence``.
    Raises CalibrationError if the file is unreadable, lacks a label, or names a prevalence that is
    not between 0 and 1.
    """
    if name == Prevalence.SAMPLE:
        return None
    if name == Prevalence.NIH:
        return {label: NIH_POSITIVES[label] / NIH_FILMS for label in labels}
    path = Path(name)
    table = read_table(path, CalibrationError, dtype=str, keep_default_na=False)
    if not {"label", "prevalence"} <= set(table.columns):
        raise CalibrationError(f"{path} is no table of prevalences: it has label, prevalence")
    if table["label"].duplicated().any():
        twice = table.loc[table["label"].duplicated(), "label"].iloc[0]
        raise CalibrationError(f"{path} names the prevalence of {shown(twice)} twice")
    rows = zip(table["label"], table["prevalence"], strict=True)
    found = {label: _checked(path, label, text) for label, text in rows}
    missing = [label for label in labels if label not in found]
    if missing:
        raise CalibrationError(f"{path} has no prevalence of {missing[0]}")
    return {label: found[label] for label in labels}


def prevalence_shifts(
    calibrators: Mapping[str, Calibrator],
    labels: Sequence[str],
    logits: Floats,
    target: Mapping[str, float],
) -> dict[str, float]:
    """Return the offset per label that moves its curve from the sample to the target.

    `logits` (n, labels) are those of the network for the sample. The sample's prevalence is the
    mean probability of the curve: for a curve whose offset was fitted, the share of positives; for
    an offset that was held back, the share that the curve stands for.
    """
    expected = expected_prevalence(calibrators, labels, logits)
    return {label: float(logit(target[label]) - logit(expected[label])) for label in labels}


def expected_prevalence(
    calibrators: Mapping[str, Calibrator], labels: Sequence[str], logits: Floats
) -> dict[str, float]:
    """Return the mean probability of each curve over the logits (n, labels)."""
    return {
        label: float(sigmoid(calibrators[label].apply(logits[:, i])).mean())
        for i, label in enumerate(labels)
    }


def before_shift(
    predictions: Predictions, thresholds: Mapping[str, float], shifts: Mapping[str, float]
) -> tuple[Predictions, dict[str, float]]:
    """Return the probabilities and thresholds before curves were moved by `shifts`.

    Brier score, likelihood and calibration error of films with the prevalence of the fit are
    measured there. No AUC, sensitivity, specificity or slope differs.
    """
    moved = np.array([shifts.get(label, 0.0) for label in predictions.labels])
    return (
        predictions.with_probabilities(sigmoid(logit(predictions.probabilities) - moved)),
        {
            label: float(sigmoid(logit(value) - shifts.get(label, 0.0)))
            for label, value in thresholds.items()
        },
    )


def _checked(path: Path, label: str, text: str) -> float:
    if label not in LABELS:
        raise CalibrationError(f"{path}: {shown(label)} is not one of the 14 labels")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise CalibrationError(
            f"{path}: the prevalence of {label} is {shown(text)}, not between 0 and 1"
        )
    return value
