"""The predictor returns calibrated findings and maps of each image."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr_model.engine.choice import open_engine, open_predictor
from cxr_model.errors import BundleError, DeviceError, ImageError, ModelOutputError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.predictor import Predictor
from cxr_model.predict.transform import InputSpec
from cxr_model.reference_film import reference_film
from tests.builders.made_models import (
    INTERCEPT,
    SLOPE,
    as_tensor,
    made_card,
    random_bundle,
    random_network,
)


@pytest.fixture(scope="module")
def made_bundle() -> Bundle:
    return random_bundle()


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(80, 100), (64, 64), (200, 90), (30, 40), (64, 128)]
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def test_predictions_come_in_order_and_do_not_depend_on_the_batch(
    made_bundle: Bundle, images: list[np.ndarray]
) -> None:
    together = Predictor(made_bundle, open_engine(made_bundle), batch=2).predict(images)
    alone = [open_predictor(made_bundle, device="cpu").predict([image])[0] for image in images]
    assert len(together) == len(images)
    for joint, single, image in zip(together, alone, images, strict=True):
        assert (joint.geometry.rows, joint.geometry.cols) == image.shape
        assert tuple(finding.label for finding in joint.findings) == LABELS
        np.testing.assert_allclose(
            [finding.logit for finding in joint.findings],
            [finding.logit for finding in single.findings],
            atol=1e-4,
        )
    assert abs(together[0].findings[0].logit - together[1].findings[0].logit) > 1e-3


def test_probabilities_are_the_cards_calibration_of_the_logits(
    made_bundle: Bundle, images: list[np.ndarray]
) -> None:
    for finding in open_predictor(made_bundle, device="cpu").predict(images[:1])[0].findings:
        calibrated = SLOPE * finding.logit + INTERCEPT
        assert finding.probability == pytest.approx(1 / (1 + math.exp(-calibrated)), abs=1e-12)
        assert finding.threshold == 0.3
        assert finding.present == (finding.probability >= 0.3)


def test_each_map_adds_up_to_its_logit(made_bundle: Bundle, images: list[np.ndarray]) -> None:
    bias = made_bundle.network().classifier.bias.detach().numpy()
    for prediction in open_predictor(made_bundle, device="cpu").predict(images):
        assert prediction.maps.shape == (14, 2, 2)
        assert prediction.maps.dtype == np.float32
        logits = [finding.logit for finding in prediction.findings]
        np.testing.assert_allclose(prediction.maps.mean(axis=(1, 2)) + bias, logits, atol=1e-4)


@pytest.mark.parametrize("size", [32, 95, 210, 224])
def test_a_map_has_the_size_that_the_input_gives(size: int) -> None:
    assert random_network()(torch.zeros(1, 3, size, size)).features.shape[-2:] == (
        InputSpec(size).map_size,
        InputSpec(size).map_size,
    )


def test_the_mean_film_of_the_card_is_taken_from_the_heat(images: list[np.ndarray]) -> None:
    grids = {label: [[1.0, 2.0], [3.0, 4.0]] for label in LABELS}
    bundle = Bundle.build(random_network(), made_card(map_baselines=grids))
    (prediction,) = open_predictor(bundle, device="cpu").predict(images[:1])
    less = prediction.maps[2] - np.asarray([[1, 2], [3, 4]], np.float32)
    np.testing.assert_allclose(
        prediction.heat("Effusion"), prediction.geometry.to_original(less), atol=1e-6
    )


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_an_unavailable_device_is_refused(made_bundle: Bundle, device: str) -> None:
    with pytest.raises(DeviceError, match="no device"):
        open_engine(made_bundle, device=device)


def test_no_images_give_no_predictions(made_bundle: Bundle) -> None:
    assert open_predictor(made_bundle, device="cpu").predict([]) == []


def test_a_colour_image_is_refused(made_bundle: Bundle) -> None:
    with pytest.raises(ImageError):
        open_predictor(made_bundle, device="cpu").predict([np.zeros((4, 4, 3), np.uint8)])


def test_outputs_for_the_reference_film_are_those_of_the_card(made_bundle: Bundle) -> None:
    assert open_predictor(made_bundle, device="cpu").check_reference() == pytest.approx(0, abs=1e-4)
    outputs = [*made_bundle.card.reference["outputs"]]
    outputs[4] += 0.05
    reference = {**made_bundle.card.reference, "outputs": outputs}
    for changed, message in (
        ({"reference": reference}, r"logit of Mass differs by 0\.05"),
        ({"reference": {**reference, "film": "another/1"}}, "reference film is 'another/1'"),
        ({"input": InputSpec(96)}, "gives other outputs here"),
    ):
        other = replace(made_bundle, card=replace(made_bundle.card, **changed))
        with pytest.raises(BundleError, match=message):
            open_predictor(other, device="cpu").check_reference()


def test_a_card_of_an_earlier_version_is_not_verified(made_bundle: Bundle) -> None:
    old = replace(made_bundle, card=replace(made_bundle.card, reference={}))
    assert open_predictor(old, device="cpu").check_reference() is None


@pytest.mark.parametrize("weight", [3e38, 1e20, -1e20])
def test_an_output_that_is_no_number_for_one_film_is_not_a_result(
    images: list[np.ndarray], weight: float
) -> None:
    made = random_bundle()
    network = made.network()
    with torch.inference_mode():
        silent, heard = (
            network(as_tensor(film, made.card.input)[None]).features[0].mean(dim=(1, 2))
            for film in (reference_film(), images[3])
        )
        feature = int(torch.where(silent == 0, heard, -1.0).argmax())
        assert heard[feature] > 0
        network.classifier.weight[4, feature] = weight
    made = Bundle.build(network, made.card, dtype="float32")
    predictor = Predictor(made, open_engine(made), batch=2)
    assert predictor.check_reference() is not None
    with pytest.raises(ModelOutputError, match="output for Mass is not a result") as caught:
        predictor.predict([reference_film(), reference_film(), reference_film(), images[3]])
    assert caught.value.image == 3


def test_a_saturated_probability_of_a_finite_logit_is_a_result(images: list[np.ndarray]) -> None:
    steep = random_bundle(calibrator={"method": "platt", "slope": 1e5, "intercept": 0.0})
    probabilities = {f.probability for f in open_predictor(steep).predict(images[:1])[0].findings}
    assert probabilities <= {0.0, 1.0}


def test_a_card_with_an_unknown_calibrator_is_refused() -> None:
    with pytest.raises(BundleError, match="spline"):
        random_bundle(calibrator={"method": "spline"})
