"""Results by source of the films, and the headline of a card."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_model.data.predictions import Predictions
from cxr_model.evaluate import plots
from cxr_model.evaluate.card_metrics import card_metrics, headline
from cxr_model.evaluate.evaluation import OTHER, UNKNOWN, evaluate, groups, write
from cxr_model.evaluate.text import by_source_text, headline_text

THRESHOLDS = {"Effusion": 0.5, "Mass": 0.5}


def table() -> pd.DataFrame:
    """Return films of three sources: a collection that gives the finding away, a clinic, none.

    In the collection each Effusion has the highest probability; elsewhere they are random.
    """
    rng = np.random.default_rng(3)
    source = np.repeat(["collection/x", "clinic", ""], [300, 200, 60])
    effusion = rng.random(560) < 0.4
    chance = rng.random(560) * 0.5
    chance[:300] += 0.5 * effusion[:300]
    return pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(560)],
            "patient_id": [str(i // 2) for i in range(560)],
            "source": source,
            "prob_Effusion": chance,
            "prob_Mass": rng.random(560),
            "y_Effusion": effusion.astype(int),
            "y_Mass": (np.arange(560) % 150 == 0).astype(int),
        }
    )


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    path = tmp_path_factory.mktemp("table") / "predictions.csv"
    table().to_csv(path, index=False)
    return Predictions.from_csv(path)


def rows_of(by_group: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(str(row["value"]), str(row["label"])): dict(row) for _, row in by_group.iterrows()}


def test_each_source_is_measured_by_itself(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("reliability_diagrams", "roc_curves"):
        monkeypatch.setattr(plots, name, lambda *_: None)
    result = evaluate(predictions, resamples=60)
    written = write(result, tmp_path / "m.csv")
    assert written.by_group is not None
    rows = rows_of(pd.read_csv(written.by_group))
    assert {value for value, _ in rows} == {"collection/x", "clinic", UNKNOWN}
    clinic = table().query("source == 'clinic'")
    expected = roc_auc_score(clinic["y_Effusion"], clinic["prob_Effusion"])
    found = rows["clinic", "Effusion"]
    assert (found["n"], found["patients"]) == (200, 100)
    assert found["auc"] == pytest.approx(expected, abs=1e-6)
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    shown = by_source_text(result.by_group)
    assert shown.count("\n") == 3
    assert f"{expected:.3f}" in shown


def test_a_mean_leaves_out_labels_of_too_few_films(predictions: Predictions) -> None:
    rows = rows_of(evaluate(predictions, resamples=20).by_group)
    # The clinic has two films with a Mass: their AUC is chance.
    assert rows["clinic", "Mass"]["positives"] == 2
    mean, effusion = rows["clinic", "mean"], rows["clinic", "Effusion"]
    assert mean["labels_in_mean"] == 1
    assert mean["auc"] == effusion["auc"]
    assert mean["auc_low"] == effusion["auc_low"]


def test_the_headline_leaves_out_what_is_for_training_only(predictions: Predictions) -> None:
    mixed, honest = headline(predictions), headline(predictions, ["collection/x"])
    assert mixed["mean_auc"] > 0.6 > honest["mean_auc"]
    assert honest["sources"] == ["clinic", UNKNOWN]
    assert (honest["images"], honest["patients"]) == (260, 130)
    assert honest["labels_in_mean"] == 1
    low, high = honest["mean_auc_95"]
    assert low < honest["mean_auc"] < high
    sentence = headline_text(honest)
    assert f"{honest['mean_auc']:.3f} ({low:.3f} to {high:.3f}) over 1 labels" in sentence
    assert "260 films of 130 patients (held out) from clinic, unknown" in sentence
    assert headline(predictions, ["collection/x", "clinic", ""]) == {}


def test_a_card_has_its_figures_by_source(predictions: Predictions) -> None:
    measured = card_metrics(predictions, THRESHOLDS, resamples=30)
    assert list(measured["by_source"]) == ["clinic", "collection/x", UNKNOWN]
    assert measured["by_source"]["clinic"]["images"] == 200
    assert sum(row["images"] for row in measured["by_source"].values()) == measured["images"]
    unnamed = Predictions.from_table(table().drop(columns="source"))
    assert "by_source" not in card_metrics(unnamed, THRESHOLDS, resamples=5)
    assert headline(unnamed, ["collection/x"], resamples=5)["sources"] == []


def test_names_of_sources_are_written_as_plain_text(predictions: Predictions) -> None:
    frame = table()
    frame["source"] = np.where(frame["source"] == "clinic", "=cmd()\x1b[31m", frame["source"])
    result = evaluate(Predictions.from_table(frame), resamples=5)
    assert "=cmd()?[31m" in set(result.by_group["value"])
    assert "\x1b" not in by_source_text(result.by_group)


def test_many_sources_share_a_group() -> None:
    names = [f"site {i:04d}" for i in range(500) for _ in range(1 + (i < 30))]
    found = {value: int(rows.sum()) for _, value, rows in groups(pd.DataFrame({"source": names}))}
    assert len(found) == 31
    assert found["site 0029"] == 2
    assert found[OTHER] == 470
