"""The picture itself decides: what is no frontal chest film is refused, what lies wrong is put
right on its stored grid."""

import csv
import multiprocessing
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from cxr_model.check.appearance import Appearance, View
from cxr_model.check.picture_check import PictureCheck
from cxr_model.findings import LABELS
from daemon.analyse.pipeline import Analysis, Pipeline
from daemon.analyse.reader.check_picture import Examiner, PutRight, check_picture
from daemon.analyse.reader.film import Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form
from daemon.analyse.reader.gate_and_decode import DecodedFilm
from daemon.analyse.reader.messages import Request, receive_request, send_request
from daemon.analyse.result_objects import BuiltObject
from daemon.analyst import Analyst
from daemon.config.peers import RulesConfig
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES, PictureRule, Rules
from dicom_io.phantom import PhantomFilm, PhantomView, draw
from dicom_io.read.header import read_dataset
from dicom_io.read.orientation import AS_STORED, Pose
from dicom_io.report.text import report_text
from storage.records import ObjectKind, StudyStatus
from tests.builders.bench import SENDS, Bench
from tests.builders.images.films import chest_film, chest_values, file_bytes, lie_as
from tests.builders.made_checks import UPRIGHT, FixedCheck, KnowingCheck, ReadsHere, appearance
from tests.builders.objects import NOW

OFF = Rules(picture_check=PictureRule.OFF)
TURNS = (0, 90, 180, 270)
POSES = [
    Pose(transposed, columns, rows)
    for transposed in (False, True)
    for columns in (False, True)
    for rows in (False, True)
]
CHEST = chest_values(211, 170, 8).astype(np.uint8)


def turned(upright: NDArray[Any], degrees: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.rot90(upright, -degrees // 90))


def checked(film: DecodedFilm, examiner: Examiner) -> DecodedFilm:
    outcome = check_picture(film, examiner, PictureRule.REFUSE)
    assert isinstance(outcome, DecodedFilm)
    return outcome


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("header", POSES, ids=str)
def test_a_picture_that_is_certain_is_read_upright_whatever_the_header_says(
    header: Pose, degrees: int
) -> None:
    film = DecodedFilm(header.to_stored(turned(CHEST, degrees)), ("as before",), header)
    outcome = checked(film, KnowingCheck(CHEST))
    assert (outcome.pose.to_display(outcome.pixels) == CHEST).all()
    assert outcome.pixels is film.pixels
    assert PutRight.by(outcome.notes) == PutRight(degrees)
    assert (outcome.pose.to_stored(CHEST) == film.pixels).all()
    if degrees == 0:
        assert outcome == film
        return
    (note,) = outcome.notes[1:]
    assert f"turned by {degrees} degrees clockwise" in note
    assert note.endswith("read upright")
    assert ("after PatientOrientation was applied" in note) is header.is_turned


def test_long_pixels_stay_long_on_the_stored_grid() -> None:
    pose = Pose(aspect=2.0)
    film = DecodedFilm(turned(np.repeat(CHEST, 2, axis=0), 90), (), pose)
    outcome = checked(film, KnowingCheck(CHEST))
    assert outcome.pose == Pose(transposed=True, rows_reversed=True, aspect=2.0)
    assert outcome.pose.to_display(film.pixels).shape == CHEST.shape


def test_a_picture_that_is_not_certain_is_noted_and_analysed_as_it_is() -> None:
    film = DecodedFilm(turned(255 - CHEST, 180), (), AS_STORED)
    outcome = checked(film, KnowingCheck(CHEST, certain=False))
    assert replace(outcome, notes=()) == film
    assert PutRight.by(outcome.notes) == PutRight()
    assert outcome.notes == (
        "the picture may be turned by 180 degrees clockwise: not turned back",
        "the picture may be inverted: is its polarity right?",
    )


@pytest.mark.parametrize(
    "seen",
    [
        appearance(turned=90),
        appearance(inverted=True),
        appearance(turned=180, inverted=True),
    ],
)
def test_a_picture_that_looks_wrong_in_every_way_is_left_as_it_is(seen: Appearance) -> None:
    film = DecodedFilm(CHEST, (), AS_STORED)
    check = FixedCheck(seen)
    outcome = checked(film, check)
    assert replace(outcome, notes=()) == film
    assert all("may be" in note for note in outcome.notes)
    assert check.pictures == 3


@pytest.mark.parametrize("degrees", [0, 270])
def test_an_inverted_film_is_read_with_bright_bone(degrees: int) -> None:
    hidden = np.zeros(CHEST.shape, dtype=bool)
    hidden[:, :12] = True
    right = np.where(hidden, 0, CHEST).astype(np.uint8)
    stored = turned(np.where(hidden, 0, 255 - CHEST).astype(np.uint8), degrees)
    film = DecodedFilm(stored, (), AS_STORED, hidden=lambda: turned(hidden, degrees))
    outcome = checked(film, KnowingCheck(CHEST))
    assert (outcome.pose.to_display(outcome.pixels) == right).all()
    assert outcome.tone.inverted
    assert PutRight.by(outcome.notes) == PutRight(degrees, inverted=True)
    assert "the picture is inverted, bone dark and air bright: read with bright bone" in (
        outcome.notes
    )


def test_a_mirrored_film_is_noted_only() -> None:
    film = DecodedFilm(CHEST, (), AS_STORED)
    seen = appearance(mirrored=True)
    outcome = checked(film, FixedCheck(seen))
    assert replace(outcome, notes=()) == film
    (note,) = outcome.notes
    assert note.startswith("the picture looks mirrored: left and right may be exchanged")
    by_header = checked(replace(film, pose=Pose(columns_reversed=True)), FixedCheck(seen))
    assert "mirrored after PatientOrientation was applied" in by_header.notes[0]


@pytest.mark.parametrize(
    ("view", "reason"),
    [(View.LATERAL, Reason.LATERAL_VIEW), (View.OTHER, Reason.NOT_A_FRONTAL_CHEST)],
)
def test_another_view_is_refused_noted_or_not_looked_at(view: View, reason: Reason) -> None:
    film = DecodedFilm(CHEST, ("of the header",), AS_STORED)
    check = FixedCheck(appearance(view))

    refusal = check_picture(film, check, PictureRule.REFUSE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.notes == film.notes
    for part in ("the picture, not by a header", "0.99", "rules.picture_check: note"):
        assert part in refusal.detail

    noted = check_picture(film, check, PictureRule.NOTE)
    assert isinstance(noted, DecodedFilm)
    assert replace(noted, notes=film.notes) == film
    assert "probability 0.99" in noted.notes[1]

    pictures = check.pictures
    assert check_picture(film, check, PictureRule.OFF) is film
    assert check.pictures == pictures


class TurnedKnee:
    """Takes a lying film for a chest; upright, it is none."""

    def examine(self, image: NDArray[np.uint8]) -> Appearance:
        lies = image.shape != CHEST.shape
        return appearance(turned=90) if lies else appearance(View.OTHER)


class LyingOrInvertedFilm:
    """Takes a lying picture for none of a chest; upright, for an inverted chest, not certainly."""

    def examine(self, image: NDArray[np.uint8]) -> Appearance:
        lies = image.shape != CHEST.shape
        if lies:
            return appearance(View.OTHER, turned=90)
        return appearance(inverted=True, inverted_certain=False)


def test_a_picture_that_is_not_put_right_needs_a_frontal_view_as_it_is() -> None:
    film = DecodedFilm(turned(CHEST, 90), (), AS_STORED)
    refusal = check_picture(film, LyingOrInvertedFilm(), PictureRule.REFUSE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.NOT_A_FRONTAL_CHEST


def test_the_view_is_that_of_the_film_put_right() -> None:
    film = DecodedFilm(turned(CHEST, 90), (), AS_STORED)
    refusal = check_picture(film, TurnedKnee(), PictureRule.REFUSE)
    assert isinstance(refusal, Refusal)
    noted = check_picture(film, TurnedKnee(), PictureRule.NOTE)
    assert isinstance(noted, DecodedFilm)
    assert noted.pose == AS_STORED


EVERYTHING = frozenset({ObjectKind.HEATMAP, ObjectKind.PRESENTATION_STATE, ObjectKind.SEGMENTATION})


def analysed(pipeline: Pipeline, data: bytes, rules: Rules = DEFAULT_RULES) -> Analysis:
    outcome = pipeline.analyse(data, "north", NOW, rules, EVERYTHING)
    assert isinstance(outcome, Analysis)
    return outcome


def of_kind(outcome: Analysis, kind: ObjectKind) -> list[BuiltObject]:
    return [built for built in outcome.objects if built.kind is kind]


def use(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, examiner: Examiner) -> None:
    monkeypatch.setattr(pipeline, "_readers", ReadsHere(examiner, pipeline.card.input))


@pytest.mark.parametrize(("degrees", "orientation"), [(90, None), (270, ["F", "R"])])
def test_results_of_a_turned_film_lie_on_its_stored_grid(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    degrees: int,
    orientation: list[str] | None,
) -> None:
    values = chest_values(211, 170, 8).astype(np.uint8)
    use(pipeline, monkeypatch, KnowingCheck(values))
    plain = chest_film(values, bits_stored=8, PatientOrientation=["L", "F"])
    upright = analysed(pipeline, file_bytes(plain))
    lying = turned(values, degrees)
    if orientation is not None:
        lying = lie_as(lying, "\\".join(orientation))
    film = file_bytes(chest_film(lying, bits_stored=8, PatientOrientation=orientation))
    outcome = analysed(pipeline, film)

    assert outcome.prediction.findings == upright.prediction.findings
    assert any("read upright" in note for note in outcome.notes)
    wanted = turned(_first_map(upright), degrees)
    if orientation is not None:
        wanted = lie_as(wanted, "\\".join(orientation))
    assert np.abs(_first_map(outcome) - wanted).max() <= 1e-4 * np.ptp(wanted)
    segments, masks = (segments_of(found) for found in (outcome, upright))
    assert len(segments) == len(masks) > 1
    for segment, mask in zip(segments, masks, strict=True):
        wanted_mask = turned(mask, degrees)
        if orientation is not None:
            wanted_mask = lie_as(wanted_mask, "\\".join(orientation))
        assert (segment != wanted_mask).sum() <= 0.02 * wanted_mask.sum()
    drawn = [
        dcmread(BytesIO(built.data)).pixel_array for built in of_kind(outcome, ObjectKind.HEATMAP)
    ]
    assert drawn
    assert {picture.shape[1] for picture in drawn} == {lying.shape[1]}

    as_it_lies = analysed(pipeline, film, OFF)
    assert as_it_lies.prediction.findings != upright.prediction.findings
    uids = [{built.sop_instance_uid for built in found.objects} for found in (outcome, as_it_lies)]
    assert not uids[0] & uids[1]


def segments_of(outcome: Analysis) -> list[NDArray[np.uint8]]:
    (built,) = of_kind(outcome, ObjectKind.SEGMENTATION)
    return list(dcmread(BytesIO(built.data)).pixel_array)


def _first_map(outcome: Analysis) -> NDArray[np.float32]:
    prediction = outcome.prediction
    return prediction.geometry.to_original(prediction.maps[0])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverted_film_has_the_results_of_the_right_one(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, photometric: str
) -> None:
    # Padding at the left, and a shutter at the right: both stay black.
    values = chest_values(211, 170, 8)
    values = np.clip(values, 2, 253)
    values[:, :10] = 1
    shutter: dict[str, Any] = {
        "PixelPaddingValue": 1,
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 1,
        "ShutterRightVerticalEdge": 160,
        "ShutterUpperHorizontalEdge": 1,
        "ShutterLowerHorizontalEdge": 211,
    }
    other = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}[photometric]
    right, wrong = (
        file_bytes(chest_film(values, bits_stored=8, photometric=said, **shutter))
        for said in (photometric, other)
    )
    shown = pipeline.read(right, OFF)
    assert isinstance(shown, Film)
    use(pipeline, monkeypatch, KnowingCheck(shown.picture))
    read = pipeline.read(wrong)
    assert isinstance(read, Film)
    assert np.abs(read.picture.astype(int) - shown.picture).max() <= 1

    upright, outcome = analysed(pipeline, right), analysed(pipeline, wrong)
    for found, wanted in zip(outcome.prediction.findings, upright.prediction.findings, strict=True):
        assert found.probability == pytest.approx(wanted.probability, abs=0.01)
    states = [
        dcmread(BytesIO(built.data))
        for found in (outcome, upright)
        for built in of_kind(found, ObjectKind.PRESENTATION_STATE)
    ]
    assert len(states) == 2
    assert states[0].PresentationLUTShape == states[1].PresentationLUTShape
    as_it_is = analysed(pipeline, wrong, OFF)
    uids = [{built.sop_instance_uid for built in found.objects} for found in (outcome, as_it_is)]
    assert not uids[0] & uids[1]


def test_an_upright_film_has_the_same_bytes_as_without_the_check(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(pipeline, monkeypatch, FixedCheck(UPRIGHT))
    film = file_bytes(chest_film(PatientOrientation=["R", "F"]))
    looked_at, unchecked = analysed(pipeline, film), analysed(pipeline, film, OFF)
    assert looked_at.objects == unchecked.objects
    assert looked_at.notes == unchecked.notes


@pytest.fixture
def checking(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline with the shipped check."""
    use(pipeline, monkeypatch, PictureCheck.load())
    return pipeline


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_shipped_check_puts_a_drawn_film_right(
    checking: Pipeline, degrees: int, photometric: str
) -> None:
    drawn = draw(PhantomFilm("p", "s", rows=256, columns=224))
    film = chest_film(turned(drawn, degrees), photometric=photometric)
    outcome = checking.read(file_bytes(film))
    assert isinstance(outcome, Film)
    seen = outcome.pose.to_display(outcome.picture)
    assert seen.shape == drawn.shape
    assert np.corrcoef(seen.ravel(), drawn.ravel())[0, 1] > 0.99
    said = [note for note in outcome.notes if "picture" in note]
    assert len(said) == (degrees > 0) + (photometric == "MONOCHROME1")


@pytest.mark.parametrize("form", [Form.OBJECT, Form.PICTURE])
def test_the_shipped_check_refuses_a_drawn_lateral(checking: Pipeline, form: Form) -> None:
    drawn = draw(PhantomFilm("p", "s", rows=256, columns=224, view=PhantomView.LL))
    if form is Form.OBJECT:
        data = file_bytes(chest_film(drawn, ViewPosition=None))
    else:
        data = cv2.imencode(".png", (drawn >> 4).astype(np.uint8))[1].tobytes()
    refusal = checking.read(data, form=form)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.LATERAL_VIEW
    assert "by the picture" in refusal.detail


def test_real_knees_are_refused_and_real_films_are_read(
    checking: Pipeline, real_data: Path
) -> None:
    knees = sorted((real_data / "gate" / "knee").iterdir())[:8]
    films = sorted((real_data / "nih" / "full").glob("*.png"))[:8]
    if not knees:
        pytest.skip("no folder of knees")
    refused = [checking.read(path.read_bytes(), form=Form.PICTURE) for path in knees]
    assert all(isinstance(outcome, Refusal) for outcome in refused)
    for path in films:
        values = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert values is not None
        outcome = checking.read(file_bytes(chest_film(turned(values, 90), bits_stored=8)))
        assert isinstance(outcome, Film)


def test_real_films_are_noted_when_they_are_mirrored_only(real_data: Path) -> None:
    films = sorted((real_data / "nih" / "full").glob("*.png"))
    if not (real_data / "gate").is_dir():
        pytest.skip("no real films")
    check = PictureCheck.load()
    noted = []
    for path in films:
        values = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert values is not None
        right = np.asarray(values, dtype=np.uint8)
        assert not check.examine(right).mirrored
        noted.append(check.examine(np.ascontiguousarray(np.fliplr(right))).mirrored)
    assert sum(noted) >= 0.9 * len(films)


KNEE = appearance(View.OTHER)


def test_a_film_of_another_part_is_in_the_export_with_its_reason(
    bench: Bench, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(pipeline, monkeypatch, FixedCheck(KNEE))
    knee = file_bytes(chest_film(BodyPartExamined=None, ViewPosition=None))
    uid = bench.receive(knee)
    bench.work()
    (instance,) = bench.study(uid).instances
    assert instance.reason == Reason.NOT_A_FRONTAL_CHEST
    assert bench.study(uid).status is StudyStatus.NO_ELIGIBLE_IMAGE
    table = tmp_path / "export.csv"
    bench.store.export.write_csv(table, LABELS)
    with table.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["reason"] == "NOT_A_FRONTAL_CHEST"
    assert "rules.picture_check: note" in row["detail"]


def test_a_film_sent_again_under_another_rule_is_reported_with_the_note(
    bench: Bench, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(pipeline, monkeypatch, FixedCheck(KNEE))
    film = file_bytes(chest_film())
    uid = bench.receive(film)
    bench.work()
    assert bench.study(uid).status is StudyStatus.NO_ELIGIBLE_IMAGE
    lenient = SENDS.model_copy(update={"rules": RulesConfig(picture_check=PictureRule.NOTE)})
    receivers = bench.config.peers[1:]
    bench.config = bench.config.model_copy(update={"peers": (lenient, *receivers)})
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)
    bench.receive(film)
    bench.work()
    (report,) = bench.study(uid).reports
    text = report_text(read_dataset(bench.spool.read(report.spool_path, report.sha256)))
    assert "the picture is not surely a frontal chest film, but something else" in text


@pytest.mark.parametrize("rule", PictureRule)
def test_a_reader_process_gets_the_rule_of_the_sender(rule: PictureRule) -> None:
    parent, child = multiprocessing.Pipe()
    with parent, child:
        request = Request(1, Form.OBJECT, Rules(picture_check=rule), Wanted())
        send_request(parent, request)
        received = receive_request(child)
        assert isinstance(received, Request)
        assert received.rules.picture_check is rule
