"""Maps compared with radiologists' boxes, with chance and with the mean box of other films."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from cxr_model.data.boxes import Box
from cxr_model.data.chestxray14 import Record
from cxr_model.evaluate.localisation import (
    Localisation,
    Localiser,
    localisation_card,
    write_localisation,
)
from cxr_model.findings import LABELS
from cxr_model.predict.prediction import Prediction
from cxr_model.predict.transform import Geometry


def record(image: str, *labels: str, patient: str = "") -> Record:
    values = tuple(float(label in labels) for label in LABELS)
    return Record(Path(image), image, patient or image, values)


def hot(row: int, col: int, peak: float = 1.0, side: int = 64) -> Prediction:
    """Return maps of a square of 16 cells a side at (row, col), on a film of `side` pixels."""
    maps = np.zeros((14, 64, 64), dtype=np.float32)
    maps[:, row : row + 16, col : col + 16] = peak
    maps[:, row + 8, col + 8] = 1.1 * peak
    return Prediction((), maps, Geometry.fit(side, side, 64))


def compare(
    boxes: Sequence[Box], films: Mapping[str, Prediction], *labels: str
) -> dict[str, Localisation]:
    localiser = Localiser(boxes)
    for image, prediction in films.items():
        localiser.add(record(image, *labels), prediction)
    return localiser.result(resamples=200)


def quarter(image: str, label: str = "Mass") -> Box:
    """Return a box over the cells (16 to 32, 16 to 32) of `hot`."""
    return Box(image, label, 256, 256, 256, 256)


def test_a_map_in_its_box_scores_and_one_beside_it_does_not() -> None:
    boxes = [quarter("a"), quarter("b"), Box("c", "Nodule", 0, 0, 64, 64)]
    found = compare(boxes, {"a": hot(16, 16), "b": hot(40, 40)})
    assert set(found) == {"Mass", "all"}
    mass = found["Mass"]
    assert (mass.boxes, mass.patients) == (2, 2)
    assert mass.pointing.value == 0.5
    assert mass.pointing.chance == pytest.approx(1 / 16)
    # The other film has the same box.
    assert mass.pointing.mean_box == 1.0
    assert {name: score.value for name, score in mass.accuracy.items()} == {
        "iou_10": 0.5,
        "iou_30": 0.5,
        "iobb_10": 0.5,
        "iobb_30": 0.5,
    }
    assert all(0 < score.chance < 0.5 for score in mass.accuracy.values())
    assert mass.accuracy["iou_30"].chance < mass.accuracy["iou_10"].chance
    assert found["all"].pointing == mass.pointing


def test_the_size_of_the_film_does_not_matter() -> None:
    small = compare([quarter("a")], {"a": hot(16, 16)})["Mass"]
    large = compare([quarter("a")], {"a": hot(16, 16, side=1000)})["Mass"]
    assert large.pointing == small.pointing
    assert large.accuracy["iou_30"].value == 1.0
    assert large.accuracy["iou_30"].chance == pytest.approx(
        small.accuracy["iou_30"].chance, abs=0.01
    )


def test_two_boxes_on_one_film_count_once_and_either_is_right() -> None:
    boxes = [quarter("a"), Box("a", "Mass", 640, 640, 256, 256)]
    found = compare(boxes, {"a": hot(40, 40)})["Mass"]
    assert found.boxes == 1
    assert found.pointing.value == found.accuracy["iou_30"].value == 1.0
    assert found.pointing.chance == pytest.approx(2 / 16)


def test_a_map_without_heat_points_nowhere() -> None:
    found = compare([Box("a", "Mass", 0, 0, 1024, 1024)], {"a": hot(3, 3, peak=-1.0)})["Mass"]
    assert found.pointing.value == found.ap_30.value == found.ap_30.chance == 0.0
    assert {score.value for score in found.accuracy.values()} == {0.0}


def test_without_maps_there_is_no_result() -> None:
    assert compare([quarter("a")], {}) == compare([quarter("a")], {"b": hot(0, 0)}) == {}


def test_average_precision_ranks_the_films_by_their_peak() -> None:
    boxes = [quarter("a"), quarter("b")]
    films = {"a": hot(16, 16, 4.0), "other": hot(0, 0, 3.0), "b": hot(16, 16, 2.0)}
    # Precision is 1 at the first and 2/3 at the second right detection.
    assert compare(boxes, films)["Mass"].ap_30.value == pytest.approx((1 + 2 / 3) / 2)
    # A film that is labelled and has no box is left out.
    assert compare(boxes, films, "Mass")["Mass"].ap_30.value == pytest.approx(1.0)
    missed = {**films, "b": hot(16, 16, -1.0)}
    assert compare(boxes, missed)["Mass"].ap_30.value == pytest.approx(0.5)


def test_the_mean_box_is_that_of_other_films() -> None:
    boxes = [quarter("a"), Box("b", "Mass", 640, 640, 256, 256), quarter("c", "Nodule")]
    found = compare(boxes, {name: hot(0, 0) for name in "abc"})
    assert found["Mass"].pointing.mean_box == 0.0
    # No other film has a nodule: the mean of both boxes of masses lies between them.
    assert found["Nodule"].pointing.mean_box == 0.0
    assert found["Nodule"].accuracy["iou_10"].mean_box == 0.0


def test_the_mean_box_is_a_detection_where_the_map_has_no_heat() -> None:
    films = {"a": hot(16, 16), "b": hot(16, 16, -1.0), "c": hot(16, 16, -1.0)}
    found = compare([quarter(name) for name in films], films)["Mass"].ap_30
    assert found.value == pytest.approx(1 / 3)
    assert found.mean_box == pytest.approx(1.0)


@pytest.mark.parametrize(("right", "better"), [(0, False), (1, False), (4, True), (8, True)])
def test_few_boxes_decide_only_by_their_interval(right: int, better: bool) -> None:
    films = {str(n): hot(16, 16) if n < right else hot(40, 40) for n in range(8)}
    found = compare([quarter(name) for name in films], films)["all"]
    assert found.pointing.value == right / 8
    assert found.pointing.low <= found.pointing.value <= found.pointing.high
    assert found.better_than_chance is better


def test_films_of_one_patient_are_one_trial() -> None:
    localiser = Localiser([quarter(name) for name in "abcd"])
    for name in "abcd":
        localiser.add(record(name, patient="P"), hot(16, 16))
    found = localiser.result(resamples=20)["Mass"]
    assert (found.boxes, found.patients) == (4, 1)
    assert found.pointing.low == pytest.approx(0.025)
    assert not found.better_than_chance


def test_chance_is_what_random_detections_reach() -> None:
    rng = np.random.default_rng(0)
    boxes = [quarter(str(n)) for n in range(60)]
    drawn = []
    for _ in range(15):
        places = rng.integers(0, 49, (80, 2)).tolist()
        films = {str(n): hot(row, col, 1 + rng.random()) for n, (row, col) in enumerate(places)}
        drawn.append(compare(boxes, films)["Mass"])
    for name in ("iou_10", "iou_30", "iobb_10"):
        scores = [one.accuracy[name] for one in drawn]
        mean = np.mean([score.value for score in scores])
        assert mean == pytest.approx(scores[0].chance, abs=0.03)
    aps = [one.ap_30 for one in drawn]
    assert np.mean([ap.value for ap in aps]) == pytest.approx(
        np.mean([ap.chance for ap in aps]), abs=0.02
    )


def test_card_and_table_have_every_score(tmp_path: Path) -> None:
    found = compare([quarter("a"), quarter("b")], {"a": hot(16, 16), "b": hot(40, 40)})
    card = localisation_card(found)
    assert set(card) == {"Mass", "all"}
    assert card["Mass"]["pointing"] == 0.5
    assert card["Mass"]["pointing_95"] == [pytest.approx(0.0126), pytest.approx(0.9874)]
    assert card["Mass"]["better_than_chance"] is False
    assert card["Mass"]["accuracy"]["iou_30"] == 0.5
    assert {"ap_30", "ap_30_95", "ap_30_chance", "ap_30_mean_box"} < set(card["Mass"])
    write_localisation(found, tmp_path / "made" / "l.csv")
    header, mass, together = (tmp_path / "made" / "l.csv").read_text().splitlines()
    assert header.startswith("label,boxes,patients,pointing,pointing_low,pointing_high,")
    assert len(header.split(",")) == len(mass.split(",")) == len(together.split(",")) == 34
    assert mass.startswith("Mass,2,2,0.500000,")
