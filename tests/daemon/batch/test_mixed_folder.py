"""`cxrd analyse` on a folder of films in every form, archives, text and what is no file."""

import csv
import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_model.findings import LABELS
from cxr_model.predict.card import Card
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.film_file import MAX_UNPACKED_BYTES, Form
from daemon.batch.csv_report import COLUMNS, IDENTIFIERS, Report, Row
from daemon.batch.find_files import InputFile
from daemon.batch.read_file import read_file
from daemon.errors import UsageError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import DEFAULT_RULES
from dicom_io.phantom import PhantomFilm, PhantomView, draw
from tests.builders.images.films import chest_film, chest_values, data_set_bytes, file_bytes, film
from tests.builders.pictures import film_picture
from tests.daemon.batch.test_batch import command, rows_of
from tests.tools.cli import cxrd
from tests.tools.paths import field_case

DRAWN = draw(PhantomFilm("p", "s", rows=200, columns=160))
FILM = file_bytes(
    chest_film(
        DRAWN,
        PatientID="=1+1",
        StudyInstanceUID="1.2.3",
        SOPInstanceUID="1.2.3.4",
        AccessionNumber="A;=2",
    )
)
IDENTIFIED = ("'=1+1", "1.2.3", "1.2.3.4", "A;'=2")
PRESENT = [f"{label}_Present" for label in LABELS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven films, of which two are lateral, and ten other files; none is damaged."""
    made = tmp_path / "films"
    (made / "IMAGES").mkdir(parents=True)
    picture = Image.fromarray((DRAWN >> 4).astype(np.uint8))
    for suffix in ("png", "tif", "bmp", "webp", "jp2"):
        picture.save(made / f"film.{suffix}")
    Image.fromarray(DRAWN).save(made / "wide.tiff")
    (made / "film.dcm.gz").write_bytes(gzip.compress(FILM))
    (made / "bare.IMA").write_bytes(data_set_bytes(FILM))
    (made / "IMAGES" / "IM0001").write_bytes(FILM)
    Image.fromarray(film_picture(view=PhantomView.LL)).save(made / "side.png")
    (made / "side.dcm").write_bytes(film("study", view=PhantomView.LL))
    with zipfile.ZipFile(made / "films.zip", "w") as zipped:
        zipped.writestr("film.dcm", FILM)
    (made / "README.txt").write_text("Films of the ward")
    (made / "DICOMDIR").write_bytes(b"")
    (made / ".DS_Store").write_bytes(b"Bud1")
    (made / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99))
    (made / "empty.txt").write_bytes(b"")
    (made / "viewer.exe").write_bytes(b"MZ" + bytes(99))
    os.mkfifo(made / "pipe")
    (made / "IMAGES" / "up").symlink_to(made)
    (made / ".cache").mkdir()
    return made


FILMS = {
    *(f"film.{suffix}" for suffix in ("png", "tif", "bmp", "webp", "jp2", "dcm.gz")),
    *("wide.tiff", "bare.IMA", "IMAGES/IM0001"),
}
OTHERS = {
    *("films.zip", "README.txt", "DICOMDIR", ".DS_Store", "Thumbs.db", "empty.txt", "viewer.exe"),
    *("pipe", "IMAGES/up/", ".cache/"),
}


def test_every_file_has_a_row_and_other_kinds_do_not_fail_the_run(
    folder: Path, tmp_path: Path, bundle: Path
) -> None:
    done = cxrd(*command(folder, tmp_path / "out", bundle), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9 analysed, 2 not analysed, 0 unreadable, 10 other file(s)" in done.stdout
    rows = {row["Image_ID"]: row for row in rows_of(tmp_path / "out")}
    assert {name for name, row in rows.items() if row["Status"] == "analysed"} == FILMS
    others = {name for name, row in rows.items() if row["Reason"] == "UNSUPPORTED_FILE"}
    assert others == OTHERS
    assert set(rows) - FILMS - OTHERS == {"side.dcm", "side.png"}
    for name, decided in (("side.dcm", "ViewPosition"), ("side.png", "--picture-check note")):
        assert rows[name]["Reason"] == "LATERAL_VIEW"
        assert decided in rows[name]["Detail"]
    for name in OTHERS:
        assert f"{name}: not analysed: UNSUPPORTED_FILE: " in done.stderr
    alike = ("film.png", "film.tif", "film.bmp", "film.jp2")
    for label in LABELS:
        for same in (alike, ("film.dcm.gz", "bare.IMA", "IMAGES/IM0001")):
            values = [float(rows[name][label]) for name in same]
            assert max(values) - min(values) < 1e-4
    page = (tmp_path / "out" / "dashboard.html").read_text(encoding="utf-8")
    assert "UNSUPPORTED_FILE" in page
    assert "films.zip" in page
    check_columns(rows)
    check_thresholds(tmp_path / "out", bundle)

    again = cxrd(*command(folder, tmp_path / "out", bundle), cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(rows_of(tmp_path / "out")) == len(rows)


def check_columns(rows: dict[str, dict[str, str]]) -> None:
    """Check the identifiers and the presence columns of a mixed folder's report."""
    for name in ("film.dcm.gz", "bare.IMA", "IMAGES/IM0001"):
        assert tuple(rows[name][column] for column in IDENTIFIERS) == IDENTIFIED
    assert rows["side.dcm"]["PatientID"] == "study"
    for name in ("film.png", "films.zip"):
        assert {rows[name][column] for column in IDENTIFIERS} == {""}
    for name, row in rows.items():
        if name in FILMS:
            named = {entry.split(" ")[0] for entry in row["Clinical_Summary"].split("; ")}
            found = [label for label in LABELS if label in named]
            assert [label for label in LABELS if row[f"{label}_Present"] == "1"] == found
        assert {row[column] for column in PRESENT} <= ({"0", "1"} if name in FILMS else {""})


def check_thresholds(out: Path, bundle: Path) -> None:
    """Check that the sidecar holds the thresholds of the card."""
    card = Card.from_bytes((bundle / "card.json").read_bytes())
    path = out / "final_clinical_report.thresholds.csv"
    with path.open(newline="", encoding="utf-8") as file:
        sidecar = list(csv.DictReader(file))
    assert {row["Label"]: float(row["Threshold"]) for row in sidecar} == card.thresholds
    assert {row["Model_SHA256"] for row in sidecar} == {rows_of(out)[0]["Model_SHA256"]}


def test_no_identifiers(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.dcm").write_bytes(FILM)
    out = tmp_path / "out"
    run = command(tmp_path / "films", out, bundle)
    done = cxrd(*run, "--no-identifiers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(out)
    assert tuple(row) == tuple(column for column in COLUMNS if column not in IDENTIFIERS)
    for text in ("1.2.3", "=1+1", "A;"):
        assert all(text not in path.read_text(encoding="utf-8") for path in out.glob("*.*"))
    other = cxrd(*run, cwd=tmp_path)
    assert other.returncode == 1
    assert "was begun with --no-identifiers" in other.stderr


def test_a_run_without_an_image_fails_and_writes_its_rows(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "films.zip").write_bytes(b"PK\x03\x04")
    done = cxrd(*command(tmp_path / "films.zip", tmp_path / "out", bundle), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "cxrd: no image found; the rows of the report say what each file is\n"
    )
    (row,) = rows_of(tmp_path / "out")
    assert (row["Reason"], row["Detail"]) == ("UNSUPPORTED_FILE", "a ZIP archive")


def test_a_report_of_version_0_1_is_continued_with_its_columns(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    path = tmp_path / "final_clinical_report.csv"
    older = COLUMNS[: COLUMNS.index("PatientID")]
    old = Row("old.png", (0.25,) * 14, "No Abnormalities Detected")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([older, old.cells(pipeline.algorithm, older)])
    for wanted in (True, False):
        with Report(tmp_path, pipeline.algorithm, identifiers=wanted) as report:
            assert report.is_older
            assert report.holds("old.png")
            name = f"new {wanted}.dcm"
            report.append(Row(name, (0.75,) * 14, "Mass (0.75)", identifiers=("P", "1", "2", "A")))
    rows = rows_of(tmp_path)
    assert [row["Image_ID"] for row in rows] == ["old.png", "new True.dcm", "new False.dcm"]
    assert {tuple(row) for row in rows} == {older}
    with Report(tmp_path / "new", pipeline.algorithm) as report:
        assert not report.is_older
    with pytest.raises(UsageError, match="was begun without --no-identifiers"):
        Report(tmp_path / "new", pipeline.algorithm, identifiers=False)


def outcome(pipeline: Pipeline, path: Path) -> Refusal:
    refusal = read_file(pipeline, DEFAULT_RULES, InputFile(path, path.name)).film
    assert isinstance(refusal, Refusal)
    return refusal


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A film whose gzipped pixels unpack to one byte more than is allowed."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=1) as file:
        file.write(FILM)
        left = MAX_UNPACKED_BYTES + 1 - len(FILM)
        for _ in range(left >> 20):
            file.write(bytes(1 << 20))
        file.write(bytes(left % (1 << 20)))
    return buffer.getvalue()


def test_a_gzip_bomb_is_refused(tmp_path: Path, pipeline: Pipeline, bomb: bytes) -> None:
    (tmp_path / "bomb.dcm.gz").write_bytes(bomb)
    refusal = outcome(pipeline, tmp_path / "bomb.dcm.gz")
    assert refusal == Refusal(Reason.UNREADABLE_OBJECT, "unpacks to more than 256 MiB")


def test_a_damaged_gzip_file_is_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    packed = gzip.compress(FILM)
    for content in (packed[:5], packed[: len(packed) // 2], packed[:-6], packed[:-8] + bytes(8)):
        (tmp_path / "cut.dcm.gz").write_bytes(content)
        refusal = outcome(pipeline, tmp_path / "cut.dcm.gz")
        assert refusal.reason is Reason.UNREADABLE_OBJECT
        assert refusal.detail.startswith("the gzip file is damaged: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_has_a_row(tmp_path: Path, pipeline: Pipeline) -> None:
    (tmp_path / "film.dcm").write_bytes(FILM)
    (tmp_path / "film.dcm").chmod(0)
    refusal = outcome(pipeline, tmp_path / "film.dcm")
    assert refusal == Refusal(Reason.UNREADABLE_OBJECT, "Permission denied")


def test_several_pages_are_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    pages = [Image.fromarray(chest_values(bits=8).astype(np.uint8))] * 2
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    assert outcome(pipeline, tmp_path / "two.tif").reason is Reason.MULTI_FRAME


def test_a_picture_is_decoded_in_the_decoder_process(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.analyse.reader.film_file.decode_picture", pytest.fail)
    refusal = pipeline.read(b"II*\0", form=Form.PICTURE)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNDECODABLE_PIXELS


def test_the_folder_of_the_field_cases(tmp_path: Path, bundle: Path) -> None:
    done = cxrd(*command(field_case("13_folder"), tmp_path / "out", bundle), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["Image_ID"]: row for row in rows_of(tmp_path / "out")}
    assert sorted(rows) == [
        *("film.bmp", "film.dcm.gz", "film.jp2", "film.tif", "film.webp"),
        *("nopreamble.IMA", "seen.png"),
    ]
    assert {row["Status"] for row in rows.values()} == {"analysed"}
    # The lossy ones differ a little.
    for label in LABELS:
        values = [float(row[label]) for row in rows.values()]
        assert max(values) - min(values) < 0.1
