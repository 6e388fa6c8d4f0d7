"""Made predictions of a network that exaggerates all labels alike."""

import numpy as np
import pandas as pd

from cxr_model.data.predictions import Predictions
from cxr_model.findings import LABELS
from cxr_model.predict.curves import sigmoid

FILMS, COLUMNS = 900, 5


def outcomes(
    slope: float, *, films: int = FILMS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits, outcomes (films, labels) with an offset per label, and two films a patient."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.5, (films, COLUMNS))
    true = slope * logits + np.linspace(-1, 1, COLUMNS)
    y = (rng.random(logits.shape) < sigmoid(true)).astype(float)
    return logits, y, (np.arange(films) // 2).astype(str).astype(object)


def predictions(slope: float, *, films: int = FILMS, seed: int = 0) -> Predictions:
    """Return the same as a table for the first labels."""
    logits, y, patients = outcomes(slope, films=films, seed=seed)
    names = LABELS[:COLUMNS]
    columns: dict[str, object] = {
        "image": [f"{i}.png" for i in range(films)],
        "patient_id": patients,
    }
    columns |= {f"prob_{name}": sigmoid(logits[:, i]) for i, name in enumerate(names)}
    columns |= {f"y_{name}": y[:, i] for i, name in enumerate(names)}
    return Predictions.from_table(pd.DataFrame(columns))
