"""The kept map of a finding: drawn over the picture it is the DICOM heatmap."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from cxr_model.predict.heatmap import overlay
from cxr_model.predict.prediction import Prediction
from cxr_model.predict.transform import Geometry, Margins, reduced
from daemon.analyse.heat import VERSION, Heat
from daemon.analyse.pipeline import on_stored_grid
from daemon.analyse.reader.look import Look, LookKind, Picture, look_at
from daemon.errors import HeatError
from dicom_io.read.orientation import AS_STORED, Pose, pose_of
from storage.records import ObjectKind
from tests.builders.bench import Bench
from tests.builders.images.films import chest_values, film

LABEL = "Mass"
SCALE = 2.5
ORIENTATIONS = ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R"]
MARGINS = Margins(top=0.11, left=0.07, bottom=0.02, right=0.13)


def made(rows: int, columns: int, pose: Pose, margins: Margins = MARGINS) -> Prediction:
    """A prediction on the stored grid of a film; one cell is twice as hot as the scale."""
    rng = np.random.default_rng(5)
    maps = rng.normal(0.3, 0.8, (14, 7, 7)).astype(np.float32)
    maps[LABELS.index(LABEL), 2, 4] = 5.0
    baseline = rng.normal(0, 0.1, (14, 7, 7)).astype(np.float32)
    geometry = Geometry.fit(*pose.display_shape(rows, columns), 224, margins)
    return on_stored_grid(Prediction((), maps, geometry, baseline), pose, rows, columns)


def laid_over(picture: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what a browser shows of a transparent picture over a grey one."""
    opacity = drawn[..., 3:] / 255.0
    return np.asarray(picture[..., None] * (1 - opacity) + drawn[..., :3] * opacity)


def upright(pose: Pose, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([pose.to_display(rgb[..., plane]) for plane in range(3)])


@pytest.mark.parametrize("side", [None, 300])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_overlay_is_that_of_the_dicom_heatmap(orientation: str, side: int | None) -> None:
    pose, _ = pose_of(orientation, {})
    film = chest_values(500, 410, 8).astype(np.uint8)
    prediction = made(500, 410, pose)
    picture = reduced(film, side)
    shape = picture.shape[0], picture.shape[1]
    wanted = upright(pose, overlay(picture, prediction.heat(LABEL, shape), SCALE))
    kept = Heat.decode(Heat.of(prediction, LABEL, pose, SCALE).encode())
    drawn = kept.overlay(side)
    assert drawn.shape[:2] == wanted.shape[:2]
    difference = np.abs(laid_over(pose.to_display(picture), drawn) - wanted).max(axis=-1)
    # The cells are rounded to 11 bits, which moves the edges of colour by a part of a pixel.
    assert (difference > 3).mean() < 0.001
    exact = replace(kept, cells=prediction.cells(LABEL)).overlay(side)
    assert np.abs(laid_over(pose.to_display(picture), exact) - wanted).max() <= 3


def test_without_contour_only_the_edge_is_missing() -> None:
    heat = Heat.of(made(400, 300, AS_STORED), LABEL, AS_STORED, SCALE)
    whole, plain = heat.overlay(None), heat.overlay(None, contour=False)
    changed = (whole != plain).any(axis=-1)
    assert 0 < changed.mean() < 0.03
    grown = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8))
    assert cv2.connectedComponents(grown)[0] == 2


def test_pixels_that_are_not_square_are_made_so() -> None:
    pose = Pose(transposed=True, aspect=1.25)
    heat = Heat.of(made(400, 300, pose), LABEL, pose, SCALE)
    assert heat.overlay(200).shape[:2] == pose.display_shape(200, 150)


def test_a_map_that_nowhere_rises_is_transparent() -> None:
    prediction = made(300, 300, AS_STORED, Margins())
    cold = replace(prediction, maps=np.full_like(prediction.maps, -1.0), baseline=None)
    assert not Heat.of(cold, LABEL, AS_STORED, SCALE).overlay(100)[..., 3].any()


def test_a_kept_map_is_small_and_comes_back() -> None:
    pose = Pose(columns_reversed=True, aspect=1.1)
    heat = Heat.of(made(3000, 2500, pose), LABEL, pose, SCALE)
    data = heat.encode()
    assert len(data) < 250
    kept = Heat.decode(data)
    assert (kept.geometry, kept.pose, kept.scale) == (heat.geometry, pose, SCALE)
    assert np.abs(kept.cells - heat.cells).max() < 1e-3 * np.abs(heat.cells).max()


GOOD = Heat.of(made(300, 200, AS_STORED), LABEL, AS_STORED, SCALE).encode()


def changed(place: int, *values: int) -> bytes:
    return GOOD[:place] + bytes(values) + GOOD[place + len(values) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"heat",
        GOOD[:-1],
        GOOD[:-2],
        GOOD + b"\0\0",
        GOOD[:20],
        changed(0, 0x48),
        changed(5, 0, 0),
        changed(5, 255, 255, 255, 255),
        changed(9, 0, 0, 0, 0),
        changed(9, 255, 255, 255, 255),
        changed(17, 255, 255),
        changed(19, 255, 255),
        GOOD[:-2] + b"\x00\x7e",
        GOOD[:30] + b"\xff" * 8 + GOOD[38:],
    ],
    ids=lambda data: f"{len(data)} bytes",
)
def test_damaged_bytes_are_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(HeatError, match="damaged: analyse the film again"):
        Heat.decode(data)


def test_a_newer_version_is_named() -> None:
    with pytest.raises(HeatError, match=f"version {VERSION + 1}, and this software reads"):
        Heat.decode(changed(4, VERSION + 1))


def test_the_analyst_keeps_the_maps_of_the_findings_that_have_a_heatmap(bench: Bench) -> None:
    uid = bench.receive(film("kept-heat"))
    bench.work()
    (instance,) = bench.study(uid).instances
    drawn = {one.label for one in instance.objects if one.kind is ObjectKind.HEATMAP}
    assert drawn
    kept = {label: bench.store.results.heat(instance.id, label) for label in LABELS}
    assert {label for label, data in kept.items() if data is not None} == drawn
    (record, *_) = [one for one in instance.objects if one.kind is ObjectKind.HEATMAP]
    heatmap = look_at(bench.spool.read(record.spool_path, record.sha256), Look(LookKind.AS_STORED))
    picture = look_at(
        bench.spool.read(instance.spool_path, instance.sha256), Look(LookKind.PICTURE)
    )
    assert isinstance(heatmap, Picture)
    assert isinstance(picture, Picture)
    data = kept[str(record.label)]
    assert data is not None
    shown = laid_over(picture.pixels, Heat.decode(data).overlay(None))
    difference = np.abs(shown - heatmap.pixels[: shown.shape[0]]).max(axis=-1)
    assert (difference > 3).mean() < 0.002
