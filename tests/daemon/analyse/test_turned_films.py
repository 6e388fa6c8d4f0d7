"""A rotated or mirrored film, or one with long pixels, has the same findings on its own grid."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_model.predict.prediction import Prediction
from cxr_model.predict.transform import Geometry, Margins, network_input
from daemon.analyse.pipeline import Analysis, Pipeline, on_stored_grid
from daemon.analyse.reader.film import Film, Wanted
from daemon.analyse.result_objects import BuiltObject, ObjectBuilder
from dicom_io.read.orientation import AS_STORED, pose_of
from storage.records import ObjectKind
from tests.builders.images.films import chest_film, chest_values, file_bytes, lie_as
from tests.builders.objects import NOW

ORIENTATIONS = ("R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R")


def decoded(pipeline: Pipeline, values: NDArray[Any], **attributes: Any) -> Film:
    film = pipeline.read(file_bytes(chest_film(values, **attributes)))
    assert isinstance(film, Film)
    return film


def predicted(pipeline: Pipeline, film: Film) -> Prediction:
    (prediction,) = pipeline.predict_all([film])
    return prediction


def first_map(prediction: Prediction) -> NDArray[np.float32]:
    return prediction.geometry.to_original(prediction.maps[0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_rotated_or_mirrored_film_has_the_same_findings_and_maps_on_its_grid(
    pipeline: Pipeline, orientation: str
) -> None:
    values = chest_values(211, 170)
    plain = decoded(pipeline, values, PatientOrientation=["L", "F"])
    upright = predicted(pipeline, plain)
    lying = decoded(
        pipeline, lie_as(values, orientation), PatientOrientation=orientation.split("\\")
    )
    found = predicted(pipeline, lying)
    assert (lying.picture == lie_as(plain.picture, orientation)).all()
    assert found.findings == upright.findings
    wanted = lie_as(first_map(upright), orientation)
    assert np.abs(first_map(found) - wanted).max() <= 1e-4 * np.ptp(wanted)
    heatmaps = list(pipeline.heatmaps(lying.picture, found))
    assert heatmaps
    for heatmap in heatmaps:
        assert heatmap.legend_rows > 0
        assert heatmap.rgb[: -heatmap.legend_rows].shape[:2] == lying.picture.shape


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_mean_film_turns_with_the_maps(orientation: str) -> None:
    maps = np.random.default_rng(0).random((14, 2, 2), dtype=np.float32)
    baseline = maps[::-1].copy()
    margins = Margins(top=0.1, left=0.2, bottom=0.25, right=0.3)
    upright = Prediction((), maps, Geometry.fit(40, 30, 64, margins), baseline)
    pose, _ = pose_of(orientation, {})
    turned = on_stored_grid(upright, pose, *lie_as(np.zeros((40, 30)), orientation).shape)
    wanted = lie_as(upright.heat("Mass"), orientation)
    np.testing.assert_allclose(turned.heat("Mass"), wanted, atol=1e-6)


@pytest.mark.parametrize("orientation", ["L\\F", "F\\R"])
def test_the_model_gets_long_pixels_made_square(pipeline: Pipeline, orientation: str) -> None:
    square = chest_values(200, 180).astype(np.uint16)
    wide = cv2.resize(square, (360, 200), interpolation=cv2.INTER_NEAREST)
    plain = predicted(pipeline, decoded(pipeline, square))
    film = decoded(
        pipeline,
        lie_as(wide, orientation),
        PatientOrientation=orientation.split("\\"),
        PixelSpacing=[0.2, 0.1] if orientation == "L\\F" else [0.1, 0.2],
    )
    found = predicted(pipeline, film)
    assert found.findings == plain.findings
    drawn = first_map(found)
    assert drawn.shape == film.picture.shape
    spread = cv2.resize(first_map(plain), (360, 200), interpolation=cv2.INTER_LINEAR)
    assert np.abs(drawn - lie_as(spread, orientation)).max() <= 0.02 * np.ptp(spread)


@pytest.mark.parametrize("orientation", ["L\\F", *ORIENTATIONS])
def test_the_network_gets_the_film_upright_in_full_size(
    pipeline: Pipeline, orientation: str
) -> None:
    values = lie_as(chest_values(211, 170), orientation)
    data = file_bytes(chest_film(values, PatientOrientation=orientation.split("\\")))
    small, full = (pipeline.read(data, wanted=Wanted(side)) for side in (90, None))
    assert isinstance(small, Film)
    assert isinstance(full, Film)
    upright = full.pose.to_display(full.picture)
    wanted = network_input(upright, pipeline.card.input)
    for film in (small, full):
        assert film.input.geometry == wanted.geometry
        assert (film.input.square == wanted.square).all()
    assert max(small.picture.shape) == 90
    assert (small.rows, small.columns) == full.picture.shape
    shrunk = cv2.resize(full.picture, small.picture.shape[::-1], interpolation=cv2.INTER_AREA)
    assert (small.picture == shrunk).all()


@pytest.mark.parametrize("orientation", ["L\\F", *ORIENTATIONS])
def test_the_summary_sheet_shows_the_film_upright(pipeline: Pipeline, orientation: str) -> None:
    values = chest_values(211, 170)
    plain = decoded(pipeline, values, PatientOrientation=["L", "F"])
    lying = decoded(
        pipeline, lie_as(values, orientation), PatientOrientation=orientation.split("\\")
    )
    sheets = []
    for film in (plain, lying):
        rows, columns = film.pose.to_display(film.picture).shape
        turned = replace(film, rows=rows, columns=columns, pose=AS_STORED)
        sheets.append(pipeline.summary(film, "image 1", predicted(pipeline, turned)))
    assert np.abs(sheets[0].astype(int) - sheets[1]).max() <= 3


def test_findings_are_kept_if_an_object_cannot_be_built(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: ObjectBuilder) -> Iterator[BuiltObject]:
        raise OverflowError("what the header said")

    monkeypatch.setattr(ObjectBuilder, "segmentation", fails)
    kinds = frozenset({ObjectKind.HEATMAP, ObjectKind.SUMMARY, ObjectKind.SEGMENTATION})
    outcome = pipeline.analyse(file_bytes(chest_film(chest_values())), "north", NOW, kinds=kinds)
    assert isinstance(outcome, Analysis)
    assert outcome.notes[-1] == "no segmentation: OverflowError"
    assert {built.kind for built in outcome.objects} == {ObjectKind.HEATMAP, ObjectKind.SUMMARY}
