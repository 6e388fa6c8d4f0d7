"""Bundles: written and read whole, and refused if they are incomplete, altered or unknown."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_model.errors import BundleError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import CARD_FILE, STARTER, WEIGHTS_FILE, Bundle
from cxr_model.predict.card import FORMAT, Card
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from tests.builders.made_models import NARROW, made_card, random_network


@pytest.fixture(scope="module")
def built() -> Bundle:
    return Bundle.build(random_network(), made_card(provenance={"data": "noise"}))


@pytest.fixture
def folder(built: Bundle, tmp_path: Path) -> Path:
    built.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def load(folder: Path) -> Bundle:
    return Bundle.load(folder, blocks=NARROW)


def test_a_bundle_is_loaded_as_it_was_saved(built: Bundle, folder: Path) -> None:
    loaded = load(folder)
    assert loaded.card == built.card
    assert loaded.sha256 == built.sha256
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.network()(images).logits, built.network()(images).logits)


def test_float16_on_disk_and_float32_in_memory(tmp_path: Path) -> None:
    Bundle.build(DenseNet121(), made_card()).save(tmp_path)
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 15_000_000
    loaded = Bundle.load(tmp_path)
    assert loaded.card.weights is not None
    assert loaded.card.weights.dtype == "float16"
    assert {p.dtype for p in loaded.network().parameters()} == {torch.float32}
    assert not loaded.network().training


def test_large_running_variances_survive(tmp_path: Path) -> None:
    network = random_network(channels=1)
    network.features.get_buffer("norm0.running_var").fill_(1e6)
    Bundle.build(network, made_card(input=InputSpec(32, (0.5,), (0.5,)))).save(tmp_path)
    loaded = load(tmp_path).network()
    assert float(loaded.features.get_buffer("norm0.running_var")[0]) == 1e6


def test_float32_bundles_keep_every_bit(tmp_path: Path) -> None:
    network = random_network()
    before = network.classifier.weight.clone()
    Bundle.build(network, made_card(), dtype="float32").save(tmp_path)
    assert torch.equal(load(tmp_path).network().classifier.weight, before)


def test_saving_leaves_no_temporary_file(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [CARD_FILE, WEIGHTS_FILE]


def test_another_card_is_another_bundle_with_the_same_weights(
    built: Bundle, tmp_path: Path
) -> None:
    other = built.with_card(made_card(thresholds=dict.fromkeys(LABELS, 0.25)))
    assert other.sha256 != built.sha256
    other.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.sha256 == other.sha256
    assert loaded.card.weights == built.card.weights
    assert loaded.card.thresholds["Mass"] == 0.25


def test_altered_weights_are_refused(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="not the file this card was written for"):
        load(folder)


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        load(folder)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*nowhere"):
        load(tmp_path / "nowhere")


def edit_reversed(card: dict[str, Any]) -> None:
    card["labels"].reverse()


def edit_format(card: dict[str, Any]) -> None:
    card["format"] = FORMAT.replace("1", "2")


def edit_threshold(card: dict[str, Any]) -> None:
    del card["thresholds"]["Mass"]


def edit_probability(card: dict[str, Any]) -> None:
    card["thresholds"]["Mass"] = 1.5


def edit_scale(card: dict[str, Any]) -> None:
    card["map_scales"]["Mass"] = 0


def edit_baseline(card: dict[str, Any]) -> None:
    card["map_baselines"] = {label: [[0.0, 0.0], [0.0, 0.0]] for label in LABELS}
    card["map_baselines"]["Mass"] = [[0.0, 0.0], [0.0]]


def edit_input(card: dict[str, Any]) -> None:
    card["input"]["size"] = "large"


def edit_missing(card: dict[str, Any]) -> None:
    del card["calibrators"]


def edit_path(card: dict[str, Any]) -> None:
    card["weights"]["file"] = "../weights.safetensors"


def edit_channels(card: dict[str, Any]) -> None:
    card["input"].update(mean=[0.5], std=[0.5])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_reversed, "labels are not the 14"),
        (edit_format, "format 'cxrd-bundle/1', not 'cxrd-bundle/2'"),
        (edit_threshold, r"thresholds do not fit the labels: \['Mass'\]"),
        (edit_probability, "threshold of Mass is 1.5: it must lie between 0 and 1"),
        (edit_scale, "map scale of Mass"),
        (edit_baseline, "map baseline of Mass is not 2 rows of 2 numbers"),
        (edit_input, "input size is 'large', not a whole number from 32 to 2048 pixels"),
        (edit_missing, "no 'calibrators'"),
        (edit_path, "does not name its weights file"),
        (edit_channels, "not a DenseNet-121"),
    ],
)
def test_a_wrong_card_is_refused_in_one_line(
    folder: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = folder / CARD_FILE
    card = json.loads(path.read_bytes())
    edit(card)
    path.write_text(json.dumps(card))
    with pytest.raises(BundleError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_card_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / CARD_FILE).write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        load(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="not a DenseNet-121"):
        Bundle.load(folder)


def test_weights_that_are_not_finite_are_refused() -> None:
    network = random_network()
    with torch.no_grad():
        network.classifier.weight[0, 0] = 1e6  # beyond float16
    with pytest.raises(BundleError, match="finite"):
        Bundle.build(network, made_card())


def test_optional_tables_are_written_only_if_they_are_set(built: Bundle) -> None:
    old = replace(built.card, reference={})
    assert not {"calibration", "reference"} & set(json.loads(old.to_bytes()))
    assert Card.from_bytes(old.to_bytes()) == old
    card = replace(built.card, calibration={"slope": 0.9})
    assert Card.from_bytes(card.to_bytes()) == card


def test_the_card_of_an_earlier_version_is_written_as_it_was_read() -> None:
    data = (STARTER / CARD_FILE).read_bytes()
    assert Card.from_bytes(data).to_bytes() == data
