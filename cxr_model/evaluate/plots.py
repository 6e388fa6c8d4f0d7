"""Draws reliability diagrams, ROC curves (a small panel per label) and training curves as PNG."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_curve

from cxr_model.data.predictions import Predictions
from cxr_model.evaluate.metrics import reliability_bins
from cxr_model.predict.curves import Floats

_COLUMNS = 5
_PANEL_INCHES = 2.6
_INK, _FAINT, _WARM = "#1f4e79", "#9a9a9a", "#c0562b"


def reliability_diagrams(predictions: Predictions, table: pd.DataFrame, path: Path) -> None:
    """Draw observed against predicted share per equal-mass bin, with 95 % Wilson intervals.

    `table` is the metrics table of the same predictions. Each calibration error is shown with its
    noise floor, Brier score and AUC, because a constant prediction has the lowest error.
    """
    figure, panels = _panels(len(predictions.labels))
    for i, (axes, label) in enumerate(zip(panels, predictions.labels, strict=True)):
        row = table.loc[table["label"] == label].iloc[0]
        _reliability(axes, predictions.probabilities[:, i], predictions.targets[:, i])
        numbers = f"ECE {row.ece_mass:.4f} (noise {row.noise_floor:.4f})"
        _title(axes, label, f"{numbers}\nBrier {row.brier:.4f}  AUC {row.auc:.3f}")
    figure.supxlabel("predicted probability", fontsize=10)
    figure.supylabel("observed share", fontsize=10)
    figure.savefig(path, format="png")


def roc_curves(predictions: Predictions, table: pd.DataFrame, path: Path) -> None:
    """Draw sensitivity against 1 - specificity, with the AUC and its interval from `table`."""
    figure, panels = _panels(len(predictions.labels))
    for i, (axes, label) in enumerate(zip(panels, predictions.labels, strict=True)):
        row = table.loc[table["label"] == label].iloc[0]
        false, true = _roc(predictions.probabilities[:, i], predictions.targets[:, i])
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.8, linestyle="--")
        axes.plot(false, true, color=_INK, linewidth=1.4)
        _title(axes, label, f"AUC {row.auc:.3f} ({row.auc_low:.3f}-{row.auc_high:.3f})")
    figure.supxlabel("1 - specificity", fontsize=10)
    figure.supylabel("sensitivity", fontsize=10)
    figure.savefig(path, format="png")


def training_curves(log: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw both losses, validation AUC and learning rate over the epochs of a training log."""
    epochs = [row["epoch"] for row in log]
    figure, panels = _panels(3)
    shown = (
        ("loss", ("train_loss", "validation_loss")),
        ("validation AUC", ("validation_auc",)),
        ("learning rate", ("learning_rate",)),
    )
    for axes, (title, columns) in zip(panels, shown, strict=True):
        for column, colour in zip(columns, (_INK, _WARM), strict=False):
            values = [row[column] for row in log]
            axes.plot(epochs, values, "o-", color=colour, markersize=2.5, linewidth=1.2)
        _title(axes, title, " and ".join(columns).replace("_", " ") if len(columns) > 1 else "")
    panels[0].legend(["training", "validation"], fontsize=7)
    figure.supxlabel("epoch", fontsize=10)
    figure.savefig(path, format="png")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    across = min(count, _COLUMNS)
    down = -(-count // across)
    size = (max(4.0, across * _PANEL_INCHES), down * (_PANEL_INCHES + 0.5) + 0.4)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    panels = list(grid.ravel())
    for unused in panels[count:]:
        unused.set_axis_off()
    return figure, panels[:count]


def _title(axes: Axes, label: str, numbers: str) -> None:
    axes.set_title(f"{label.replace('_', ' ')}\n{numbers}", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.locator_params(nbins=5)


def _reliability(axes: Axes, p: Floats, y: Floats) -> None:
    bins = reliability_bins(p, y)
    predicted, observed = [one.mean for one in bins], [one.rate for one in bins]
    top = max(0.02, 1.08 * max(predicted[-1], *(one.high for one in bins)))
    axes.plot([0, top], [0, top], color=_FAINT, linewidth=0.8, linestyle="--")
    lows, highs = [one.low for one in bins], [one.high for one in bins]
    axes.vlines(predicted, lows, highs, color=_INK, linewidth=0.9)
    axes.plot(predicted, observed, "o-", color=_INK, markersize=3, linewidth=0.8)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)


def _roc(p: Floats, y: Floats) -> tuple[Floats, Floats]:
    with warnings.catch_warnings():
        # A rate without films is undefined; it is drawn as 0.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        false, true, _ = roc_curve(y, p, drop_intermediate=False)
    return np.nan_to_num(false), np.nan_to_num(true)
