import subprocess
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from dicom_io.errors import ObjectError
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.presentation_state import (
    OutlinedFinding,
    PresentationContent,
    build_presentation_state,
    unsupported_reason,
)
from dicom_io.objects.source_header import Identity
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.pixels import display_pixels
from dicom_io.read.shutter import visible_pixels
from tests.builders.images.films import chest_film, chest_values, file_bytes, lut_item
from tests.builders.objects import NOW, envelope, read_back, written
from tests.tools.installed import require_tool
from tests.tools.validation import new_errors, validate

TRIANGLE = OutlinedFinding("Effusion", 0.62, 0.17, [(30.0, 40.0), (60.5, 40.0), (60.5, 90.5)])
SQUARE = OutlinedFinding(
    "Pleural_Thickening", 0.42, 0.4, [(30.0, 41.0), (62.0, 41.0), (62.0, 80.0), (30.0, 80.0)]
)
CURVE = np.linspace(0, 1, 4096) ** 2

# dcmtk demands a name before it shows a presentation state; to the standard it is type 2.
MISSING = dict.fromkeys(
    (
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "PixelSpacing",
        "ReferringPhysicianName",
        "Modality",
    )
)
DX = {
    "sop_class": DigitalXRayImageStorageForPresentation,
    "Modality": "DX",
    "ImagerPixelSpacing": ["0.15", "0.15"],
    "PixelSpacing": None,
    "PresentationLUTShape": "IDENTITY",
}
FILMS: dict[str, dict[str, Any]] = {
    "computed radiography": {},
    "hardly a header": MISSING,
    "digital radiography": DX,
    "inverse": DX | {"photometric": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    "secondary capture": {
        "values": chest_values(bits=8) // 2,
        "bits_stored": 8,
        "sop_class": SecondaryCaptureImageStorage,
    },
    "window": {"WindowCenter": 1500, "WindowWidth": 2500},
    "two windows and rescale": {
        "WindowCenter": [1500, 1],
        "WindowWidth": [5000, 1],
        "RescaleSlope": 2,
        "RescaleIntercept": -100,
    },
    "negative slope": {"RescaleSlope": -1, "RescaleIntercept": 4095},
    "exact window": {"WindowCenter": 900, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 1500, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"},
    "unusable window": {"WindowCenter": 1500, "WindowWidth": 0},
    "lookup table": {"VOILUTSequence": [lut_item(0, (CURVE * 1023).astype(int), 10)]},
    "modality table": {
        "ModalityLUTSequence": [lut_item(0, (CURVE * 4095).astype(int), 12)],
        "WindowCenter": 2000,
        "WindowWidth": 3000,
    },
    "signed": {"values": chest_values() - 2048, "signed": True},
    "padding": {"values": np.pad(chest_values()[20:], ((20, 0), (0, 0))), "PixelPaddingValue": 0},
    "modality table alone": {
        "values": chest_values() // 8 + 1000,
        "ModalityLUTSequence": [lut_item(0, np.arange(4096), 12)],
    },
    "shutter": {
        "values": np.pad(chest_values()[20:], ((20, 0), (0, 0)), constant_values=4095),
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 1,
        "ShutterRightVerticalEdge": chest_values().shape[1],
        "ShutterUpperHorizontalEdge": 21,
        "ShutterLowerHorizontalEdge": chest_values().shape[0],
    },
    "signed table": {
        "values": chest_values(bits=16) - 32768,
        "bits_stored": 16,
        "signed": True,
        "VOILUTSequence": [lut_item(-32768, np.arange(0, 65536, 2), 16, as_bytes=True)],
    },
}


# Films whose header hardly shows the pixels, or contradicts them.
FILMS |= {
    "table that wastes bits": {
        "photometric": "MONOCHROME1",
        "VOILUTSequence": [lut_item(0, np.arange(4096), 16, as_bytes=True)],
    },
    "second table": {
        "VOILUTSequence": [lut_item(9000, np.arange(4096), 12), lut_item(0, np.arange(4096), 12)],
    },
    "modality table beside the pixels": {
        "ModalityLUTSequence": [lut_item(9000, np.arange(4096), 12)],
        "WindowCenter": 2000,
        "WindowWidth": 3000,
    },
    "window below the pixels": {"WindowCenter": -900, "WindowWidth": 300},
    "sigmoid above the pixels": {
        "WindowCenter": 40000,
        "WindowWidth": 300,
        "VOILUTFunction": "SIGMOID",
        "RescaleSlope": 2,
    },
    "second window": {"WindowCenter": [-900, 2000], "WindowWidth": [300, 3000]},
    "8 bits under a window of 12": {
        "values": chest_values(bits=8),
        "bits_stored": 8,
        "WindowCenter": 2048,
        "WindowWidth": 4096,
    },
    "unsigned pixels said to be signed": {
        "values": np.where(chest_values() > 2047, chest_values() - 4096, chest_values()),
        "signed": True,
        "WindowCenter": 2048,
        "WindowWidth": 4096,
    },
}


def film(**changes: Any) -> Dataset:
    """The film as it is read from a file."""
    return read_dataset(file_bytes(chest_film(**changes)))


def content(
    source: Dataset, findings: Sequence[OutlinedFinding] = (TRIANGLE, SQUARE)
) -> PresentationContent:
    made = envelope(source, Identity("2.25.41", "2.25.42", 903, 1, NOW))
    image = display_pixels(made.source)
    return PresentationContent(made, image.shown, findings, image.tone)


def built(source: Dataset, findings: Sequence[OutlinedFinding] = (TRIANGLE, SQUARE)) -> Dataset:
    return read_back(build_presentation_state(content(source, findings)))


@pytest.mark.parametrize("name", FILMS)
def test_dcmtk_shows_the_film_as_it_was_read(name: str, tmp_path: Path) -> None:
    source = film(**FILMS[name])
    state, image, shown = (tmp_path / part for part in ("state.dcm", "film.dcm", "shown.pgm"))
    state.write_bytes(to_bytes(build_presentation_state(content(source))))
    image.write_bytes(file_bytes(chest_film(**FILMS[name])))
    assert validate(state) == []
    tool = require_tool("dcmp2pgm")
    subprocess.run([tool, "-p", str(state), str(image), str(shown)], check=True)
    theirs = cv2.imread(str(shown), cv2.IMREAD_GRAYSCALE)
    assert theirs is not None
    inside = source.pixel_array != FILMS[name].get("PixelPaddingValue", -1)
    # dcmtk also writes the pixels under a shutter.
    seen, _ = visible_pixels(source, source.Rows, source.Columns)
    inside &= True if seen is None else seen
    difference = np.abs(theirs.astype(int) - display_pixels(ImageHeader.of(source)).array)[inside]
    assert difference.max() <= 1


def test_the_film_keeps_its_shutter() -> None:
    state = built(film(**FILMS["shutter"]))
    assert (state.ShutterShape, state.ShutterPresentationValue) == ("RECTANGULAR", 0)
    assert (state.ShutterUpperHorizontalEdge, state.ShutterLeftVerticalEdge) == (21, 1)
    assert "ShutterShape" not in built(film())


def test_a_film_from_an_implicit_file_gives_the_same_state() -> None:
    table = {"VOILUTSequence": [lut_item(0, (CURVE * 1023).astype(int), 10)]}
    explicit = to_bytes(build_presentation_state(content(film(**table))))
    implicit = film(**table, syntax=ImplicitVRLittleEndian)
    assert to_bytes(build_presentation_state(content(implicit))) == explicit


def test_each_finding_is_outlined_and_named_on_a_layer_of_its_own() -> None:
    ds = built(film())
    layers = [layer.GraphicLayer for layer in ds.GraphicLayerSequence]
    assert layers == ["EFFUSION", "PLEURAL_THICKENI", "RESEARCH_USE"]
    effusion, thickening, notice = ds.GraphicAnnotationSequence
    [outline] = effusion.GraphicObjectSequence
    assert (outline.GraphicType, outline.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    corners = np.reshape(outline.GraphicData, (-1, 2)).tolist()
    assert corners == [[30, 40], [60.5, 40], [60.5, 90.5], [30, 40]]
    texts = [item.TextObjectSequence[0].UnformattedTextValue for item in (effusion, thickening)]
    assert texts == [
        "Pleural effusion 0.62 (threshold 0.17)",
        "Pleural thickening 0.42 (threshold 0.40)",
    ]
    [line] = notice.TextObjectSequence
    assert "RESEARCH USE ONLY" in line.UnformattedTextValue
    assert ds.GraphicLayerSequence[2].GraphicLayerDescription == "starter 1.2.0"


def test_captions_stay_on_the_film_and_apart() -> None:
    everywhere = [
        OutlinedFinding(label, 0.5, 0.5, [(0.0, 0.0), (160.0, 0.0), (160.0, 200.0), (0.0, 200.0)])
        for label in ("Atelectasis", "Effusion", "Mass", "Pneumonia", "Hernia")
    ]
    ds = built(film(), everywhere)
    boxes = [
        (*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner)
        for annotation in ds.GraphicAnnotationSequence[:-1]
        for text in annotation.TextObjectSequence
    ]
    assert len(boxes) == 5
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 160
        assert 0 <= top < bottom <= 200
    tops = sorted((box[1], box[3]) for box in boxes)
    assert all(upper[1] <= lower[0] for upper, lower in pairwise(tops))


def test_the_state_refers_to_the_film_and_shows_all_of_it() -> None:
    source = film(PixelSpacing=["0.2", "0.1"])
    ds = built(source)
    assert (ds.Modality, ds.ContentLabel, ds.ContentQualification) == (
        "PR",
        "AI_REGIONS",
        "RESEARCH",
    )
    assert ds.StudyInstanceUID == source.StudyInstanceUID
    [series] = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    [area] = ds.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [160, 200]
    assert list(area.PresentationPixelSpacing) == [0.2, 0.1]


def test_dcmtk_finds_the_state_consistent(tmp_path: Path) -> None:
    tool = require_tool("dcmpschk")
    path = written(build_presentation_state(content(film())), tmp_path)
    done = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    assert "Test passed" in done.stdout + done.stderr


def test_a_film_without_a_name_gives_a_valid_state(tmp_path: Path) -> None:
    source = film(**MISSING, PatientName=None)
    path = written(build_presentation_state(content(source)), tmp_path)
    assert validate(path) == []


def test_the_same_content_gives_the_same_bytes() -> None:
    first, second = (to_bytes(build_presentation_state(content(film()))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["01_", "02_", "03_"])
def test_a_state_of_a_real_film_adds_no_error(name: str, data_folder: Path, tmp_path: Path) -> None:
    [path] = (data_folder / "dicom" / "real").glob(f"{name}*")
    state = written(build_presentation_state(content(read_dataset(path))), tmp_path)
    assert new_errors(state, path) == []


def test_a_colour_image_has_no_grey_state() -> None:
    colour = np.repeat(chest_values(bits=8)[..., None], 3, axis=2)
    source = film(values=colour, bits_stored=8, photometric="RGB")
    assert unsupported_reason(ImageHeader.of(source)) == "the image is RGB, not greyscale"
    with pytest.raises(ObjectError, match="not greyscale"):
        build_presentation_state(content(source))


def test_more_bits_than_a_table_holds_are_refused() -> None:
    source = film(values=chest_values(bits=20), bits_stored=20, bits_allocated=32)
    with pytest.raises(ObjectError, match="20 bits"):
        build_presentation_state(content(source))


def test_more_bits_than_the_header_says_are_refused() -> None:
    short = chest_film()
    short.BitsStored, short.HighBit = 10, 9
    with pytest.raises(ObjectError, match="viewers cut its pixels to 10 bits"):
        build_presentation_state(content(read_dataset(file_bytes(short))))


def test_a_state_without_outlines_is_refused() -> None:
    with pytest.raises(ObjectError, match="no region"):
        build_presentation_state(content(film(), []))


def test_an_outline_beyond_the_film_is_refused() -> None:
    beyond = replace(TRIANGLE, points=[(0.0, 0.0), (161.0, 0.0), (10.0, 10.0)])
    with pytest.raises(ObjectError, match="Effusion does not fit"):
        build_presentation_state(content(film(), [beyond]))


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ObjectError, match="Covid"):
        build_presentation_state(content(film(), [replace(TRIANGLE, label="Covid")]))
