"""The starter model agrees with its card."""

from pathlib import Path

import numpy as np
import pytest

from cxr_model.data.chestxray14 import load_labels
from cxr_model.engine.choice import open_predictor
from cxr_model.evaluate.score_films import held_out_films
from cxr_model.evaluate.score_network import score
from cxr_model.predict.bundle import STARTER, WEIGHTS_FILE, Bundle


@pytest.fixture(scope="module")
def starter() -> Bundle:
    return Bundle.load(STARTER)


def test_it_is_small_enough_to_ship() -> None:
    assert (STARTER / WEIGHTS_FILE).stat().st_size <= 15_000_000


def test_its_card_states_the_intended_use(starter: Bundle) -> None:
    card = starter.card
    assert "not for reading films" in card.intended_use
    assert card.provenance["description"]
    assert card.operating_point["chosen_on"] == "validation patients"
    held_out = card.metrics["held_out"]
    low, high = held_out["mean_auc_95"]
    assert low < held_out["mean_auc"] < high
    assert held_out["labels_in_mean"] == 14
    assert all(row["positives"] > 0 for row in held_out["labels"].values())


def test_its_headline_leaves_the_training_only_source_out(starter: Bundle) -> None:
    card = starter.card
    (training_only,) = card.provenance["training_only"]
    headline = card.metrics["headline"]
    assert training_only not in headline["sources"]
    assert sorted(headline["sources"]) == sorted(card.metrics["held_out"]["by_source"])
    assert headline["images"] == card.provenance["split"]["films"]["held_out"]


def test_every_stage_held_out_the_same_patients(starter: Bundle) -> None:
    stages = starter.card.provenance["stages"]
    assert len(stages) > 1
    fractions = ("held_out_fraction", "validation_fraction")
    for setting in ("split_seed", *fractions, "evaluation_min_side"):
        assert len({stage["settings"][setting] for stage in stages}) == 1


@pytest.mark.slow
def test_its_measured_auc_can_be_measured_again(starter: Bundle, real_data: Path) -> None:
    nih = real_data / "nih"
    records = load_labels(nih, nih / "labels.csv", nih / "original_sizes.csv").records
    unseen = held_out_films(starter, records)
    assert unseen is not None
    measured = score(starter.network(), unseen, starter.card.input).mean_auc
    assert measured == pytest.approx(starter.card.metrics["held_out"]["mean_auc"], abs=2e-3)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_film_has_no_hot_corner(starter: Bundle, grey: int) -> None:
    """Padding and position alone must not look like evidence."""
    (prediction,) = open_predictor(starter, device="cpu").predict(
        [np.full((512, 512), grey, dtype=np.uint8)]
    )
    scales = np.asarray([starter.card.map_scales[label] for label in starter.card.labels])
    heat = np.stack([prediction.heat(label) for label in starter.card.labels])
    corners = heat[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners / scales[:, None]).max() < 0.75
