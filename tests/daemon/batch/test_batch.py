"""`cxrd analyse`: its files, its errors, and resumed runs."""

import csv
import datetime
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from cxr_model.check.appearance import View
from cxr_model.findings import LABELS
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.film import Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form
from daemon.batch.analyse_files import Summary, analyse_files
from daemon.batch.batch import Batch, map_in_order
from daemon.batch.csv_report import COLUMNS, Report, Row, read_rows
from daemon.batch.find_files import InputFile, find_files
from daemon.config.sections.work import ModelConfig
from daemon.errors import UsageError
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import PictureRule, Rules
from dicom_io.phantom import PhantomFilm, PhantomView, draw
from storage.errors import SpoolError
from tests.builders.images.films import film
from tests.builders.made_checks import FixedCheck, ReadsHere, appearance
from tests.tools.cli import cxrd
from tests.tools.waiting import wait_until

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of 9 films: PNG, JPEG and DICOM, one in a folder of its own."""
    folder = tmp_path / "films"
    (folder / "ward").mkdir(parents=True)
    for number in range(7):
        picture(number).save(folder / f"{number}.png")
    picture(7).save(folder / "7.jpg")
    (folder / "ward" / "1.2.840.8").write_bytes(film("study"))
    return folder


def model(bundle: Path) -> ModelConfig:
    return ModelConfig(bundle=str(bundle), device="cpu", threads=1)


def picture(seed: int) -> Image.Image:
    pixels = draw(
        PhantomFilm("p", "s", rows=192, columns=160, seed=seed, heart_failure=seed % 2 == 0)
    )
    return Image.fromarray((pixels >> 4).astype(np.uint8))


def analyse(folder: Path, out: Path, bundle: Path) -> tuple[Summary, list[str]]:
    lines: list[str] = []
    return analyse_files([folder], out, model(bundle), now=NOW, echo=lines.append), lines


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "final_clinical_report.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def command(folder: Path, out: Path, bundle: Path) -> list[str]:
    config = out.parent / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {"bundle": str(bundle), "threads": 1}}))
    return ["analyse", str(folder), "--out", str(out), "--config", str(config)]


def test_report_heatmaps_and_dashboard(films: Path, tmp_path: Path, bundle: Path) -> None:
    summary, lines = analyse(films, tmp_path / "out", bundle)
    assert (summary.analysed, summary.refused, summary.unreadable, lines) == (9, 0, 0, [])
    rows = rows_of(tmp_path / "out")
    names = [*(f"{n}.png" for n in range(7)), "7.jpg", "ward/1.2.840.8"]
    assert [row["Image_ID"] for row in rows] == sorted(names[:8]) + names[8:]
    assert tuple(rows[0])[:16] == ("Image_ID", *LABELS, "Clinical_Summary")
    assert {row["Status"] for row in rows} == {"analysed"}
    listed: set[str] = set()
    for row in rows:
        assert all(0 <= float(row[label]) <= 1 for label in LABELS)
        found = [label for label in LABELS if float(row[label]) >= 0.5]
        heatmaps = row["Heatmaps"].split("; ")
        assert sorted(name.split(".")[-2] for name in heatmaps) == sorted(found)
        ranked = sorted(found, key=lambda label: -float(row[label]))
        parts = row["Clinical_Summary"].split("; ")
        assert [part.split()[0] for part in parts] == ranked
        assert all(
            part.startswith(f"{label} {float(row[label]):.2f} (") and "threshold 0.50)" in part
            for label, part in zip(ranked, parts, strict=True)
        )
        listed.update(heatmaps)
    assert listed == files_in(tmp_path / "out")
    with Image.open(tmp_path / "out" / min(listed)) as drawn:
        assert (drawn.width, drawn.mode) == (160, "RGB")
        # Below the 192 rows of the film is the legend.
        assert drawn.height > 192 + 80
    assert "RESEARCH USE ONLY" in summary.dashboard.read_text(encoding="utf-8")


def test_the_rule_decides_on_a_picture_that_is_no_chest(
    films: Path, tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = FixedCheck(appearance(View.LATERAL))
    monkeypatch.setattr(pipeline, "_readers", ReadsHere(check, pipeline.card.input))
    files = find_files([films], tmp_path / "none")[:2]

    def rows(rule: PictureRule) -> list[Row]:
        rules = Rules(picture_check=rule)
        return list(Batch(pipeline, tmp_path / rule, rules=rules).run(files))

    refused, noted, unchecked = (rows(rule) for rule in PictureRule)
    assert {row.reason for row in refused} == {Reason.LATERAL_VIEW}
    assert all("--picture-check note" in row.detail for row in refused)
    assert {row.reason for row in noted} == {None}
    assert all("but a lateral film with probability 0.99" in row.detail for row in noted)
    assert [row.probabilities for row in unchecked] == [row.probabilities for row in noted]
    assert not any("lateral" in row.detail for row in unchecked)


def test_a_run_says_how_long_each_stage_took(films: Path, tmp_path: Path, bundle: Path) -> None:
    summary, _ = analyse(films, tmp_path / "out", bundle)
    assert re.fullmatch(
        r"9 file\(s\) in \d+\.\d s, \d+\.\d/s; per file: "
        r"reading \d+ ms \(\d+%\), network .*, drawing .*, writing \d+ ms \(\d+%\)",
        summary.work,
    )
    again, _ = analyse(films, tmp_path / "out", bundle)
    assert again.work == ""


@pytest.mark.parametrize(("side", "longest"), [(90, 90), (None, 192)])
def test_heatmaps_have_the_size_asked_for(
    films: Path, tmp_path: Path, pipeline: Pipeline, side: int | None, longest: int
) -> None:
    files = find_files([films], tmp_path / "none")[:1]
    (row,) = Batch(pipeline, tmp_path, picture_side=side).run(files)
    assert row.reason is None
    with Image.open(tmp_path / row.heatmaps[0]) as drawn:
        assert drawn.width == round(longest * 160 / 192)
        assert drawn.height >= longest


def files_in(out: Path) -> set[str]:
    return {
        path.relative_to(out).as_posix() for path in (out / "heatmaps").rglob("*") if path.is_file()
    }


def test_overlapped_run_gives_the_rows_of_a_plain_loop(
    films: Path, tmp_path: Path, pipeline: Pipeline
) -> None:
    files = find_files([films], tmp_path / "none")
    together = list(Batch(pipeline, tmp_path / "a", workers=3).run(files))
    one_by_one = [row for f in files for row in Batch(pipeline, tmp_path / "b", 1).run([f])]
    assert [row.image_id for row in together] == [row.image_id for row in one_by_one]
    for row, alone in zip(together, one_by_one, strict=True):
        assert row.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert row.heatmaps == alone.heatmaps


def test_damaged_files_have_a_row_and_the_rest_is_done(
    films: Path, tmp_path: Path, bundle: Path
) -> None:
    for name in ("0.png", "7.jpg", "ward/1.2.840.8"):
        data = (films / name).read_bytes()
        (films / name).write_bytes(data[: len(data) * 2 // 3])
    (films / "8.dcm").write_bytes(b"")
    (films / "9.png").symlink_to(films / "gone")
    done = cxrd(*command(films, tmp_path / "out", bundle), cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "6 analysed, 0 not analysed, 5 unreadable" in done.stdout
    assert "Research use only" in done.stdout
    reasons = {row["Image_ID"]: row["Reason"] for row in rows_of(tmp_path / "out") if row["Reason"]}
    assert reasons.pop("ward/1.2.840.8") in {"UNDECODABLE_PIXELS", "UNREADABLE_OBJECT"}
    assert reasons == {
        "0.png": "UNDECODABLE_PIXELS",
        "7.jpg": "UNDECODABLE_PIXELS",
        "8.dcm": "UNREADABLE_OBJECT",
        "9.png": "UNDECODABLE_PIXELS",
    }
    for name in (*reasons, "ward/1.2.840.8"):
        assert f"{name}: not analysed:" in done.stderr
    again, _ = analyse(films, tmp_path / "out", bundle)
    assert again.unreadable == 5, "a file that cannot be read stays a failure"
    assert len(rows_of(tmp_path / "out")) == 11


def test_refused_with_a_reason_is_no_failure(tmp_path: Path, bundle: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "side.dcm").write_bytes(film("study", view=PhantomView.LL))
    Image.new("L", (300, 300), 9).save(folder / "blank.png")
    done = cxrd(*command(folder, tmp_path / "out", bundle), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 analysed, 2 not analysed, 0 unreadable" in done.stdout
    blank, side = rows_of(tmp_path / "out")
    assert (blank["Reason"], side["Reason"]) == ("BLANK_IMAGE", "LATERAL_VIEW")
    assert side["Clinical_Summary"] == "Not analysed: LATERAL_VIEW"
    assert {side[label] for label in LABELS} == {""}


def test_a_file_that_breaks_the_reader_does_not_stop_the_run(
    films: Path, tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pipeline.read

    def fail(data: bytes, rules: Rules, form: Form, wanted: Wanted) -> Film | Refusal:
        if form is Form.OBJECT:
            raise ZeroDivisionError("never seen before")
        return read(data, rules, form, wanted)

    monkeypatch.setattr(pipeline, "read", fail)
    rows = list(Batch(pipeline, tmp_path / "out").run(find_files([films], tmp_path / "none")))
    assert [row.reason for row in rows] == [None] * 8 + [Reason.ANALYSIS_FAILED]
    assert "never seen before" in rows[-1].detail


def test_existing_rows_are_not_repeated(
    films: Path, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(films, tmp_path / "out", bundle)
    before = (tmp_path / "out" / "final_clinical_report.csv").read_bytes()
    (tmp_path / "out" / "dashboard.html").unlink()
    monkeypatch.setattr(Pipeline, "predict_all", lambda *_: pytest.fail("analysed once more"))
    summary, _ = analyse(films, tmp_path / "out", bundle)
    assert (tmp_path / "out" / "final_clinical_report.csv").read_bytes() == before
    assert summary.analysed == 9
    assert summary.dashboard.exists()


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(tmp_path: Path, bundle: Path) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    for number in range(40):
        picture(number % 5).save(folder / f"{number:02}.png")
    report = out / "final_clinical_report.csv"
    for wanted in (3, 20):
        child = subprocess.Popen(
            [sys.executable, "-m", "daemon", *command(folder, out, bundle)],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(
                lambda n=wanted: report.exists() and report.read_bytes().count(b"\n") > n,  # type: ignore[misc]
                "some rows",
            )
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        assert len(list(read_rows(report))) < 40, "it was done before it was killed"
        for row in rows_of(out):
            for name in filter(None, row["Heatmaps"].split("; ")):
                assert cv2.imread(str(out / name)) is not None, f"{name} is not whole"
    summary, _ = analyse(folder, out, bundle)
    assert summary.analysed == 40
    assert [row["Image_ID"] for row in rows_of(out)] == [f"{n:02}.png" for n in range(40)]
    listed = {name for row in rows_of(out) for name in row["Heatmaps"].split("; ") if name}
    assert listed == files_in(out)


def test_torn_row_is_cut_off_wherever_it_ends(tmp_path: Path, pipeline: Pipeline) -> None:
    algorithm = pipeline.algorithm
    with Report(tmp_path, algorithm) as report:
        report.append(Row("first.png", (0.25,) * 14, "No Abnormalities Detected"))
        report.append(Row("second\n.png", reason=Reason.NO_PIXELS, detail="a\r\nb"))
    path = tmp_path / "final_clinical_report.csv"
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 3
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Report(tmp_path, algorithm) as report:
            known = [name for name in ("first.png", "second\n.png") if report.holds(name)]
        kept = sum(end <= length for end in ends)
        assert len(known) == max(0, kept - 1)
        assert path.read_bytes() == whole[: ends[max(0, kept - 1)]]


def test_no_row_without_its_heatmaps(films: Path, tmp_path: Path, bundle: Path) -> None:
    in_the_way = [tmp_path / "out" / "heatmaps" / f"2.png.{label}.png" for label in LABELS]
    for folder in in_the_way:
        folder.mkdir(parents=True)
    with pytest.raises(SpoolError):
        analyse(films, tmp_path / "out", bundle)
    assert [row["Image_ID"] for row in rows_of(tmp_path / "out")] == ["0.png", "1.png"]
    for folder in in_the_way:
        folder.rmdir()
    assert analyse(films, tmp_path / "out", bundle)[0].analysed == 9


def test_report_belongs_to_one_run_and_one_model(tmp_path: Path, pipeline: Pipeline) -> None:
    with Report(tmp_path, pipeline.algorithm) as report:
        with pytest.raises(UsageError, match="another run"):
            Report(tmp_path, pipeline.algorithm)
        report.append(Row("a.png", (0.25,) * 14, "No Abnormalities Detected"))
        with pytest.raises(ValueError, match="already"):
            report.append(Row("a.png", reason=Reason.NO_PIXELS))
    path = tmp_path / "final_clinical_report.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(pipeline.algorithm.sha256, "0" * 64), encoding="utf-8")
    with pytest.raises(UsageError, match="another model"):
        Report(tmp_path, pipeline.algorithm)
    path.write_text(text.replace("Clinical_Summary", "Summary"), encoding="utf-8")
    with pytest.raises(UsageError, match="other columns"):
        Report(tmp_path, pipeline.algorithm)
    path.write_text(text.replace(",analysed,", ",analysed"), encoding="utf-8")
    with pytest.raises(UsageError, match="damaged"):
        Report(tmp_path, pipeline.algorithm)


def test_names_are_neutralised_and_stay_on_one_line(tmp_path: Path, bundle: Path) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    names = ["=cmd.png", "two\nlines.png", "Rönt gen;1.png", "x" * 240 + ".png"]
    for name in names:
        picture(1).save(folder / name, format="PNG")
    picture(1).save(os.fsencode(folder) + b"/caf\xe9.png", format="PNG")
    summary, _ = analyse(folder, out, bundle)
    assert summary.analysed == 5
    assert {row["Image_ID"] for row in rows_of(out)} == {
        "'=cmd.png",
        "two\\nlines.png",
        "Rönt gen;1.png",
        "x" * 240 + ".png",
        "caf\\udce9.png",
    }
    assert (out / "final_clinical_report.csv").read_bytes().count(b"\n") == 6
    assert analyse(folder, out, bundle)[0].analysed == 5, "nothing is done twice"
    assert len(rows_of(out)) == 5


def test_only_a_limited_number_of_items_is_taken_ahead() -> None:
    lock, started, taken = threading.Lock(), 0, 0

    def work(item: int) -> int:
        nonlocal started
        with lock:
            started += 1
        return item

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken = item
            yield item

    with ThreadPoolExecutor(4) as pool:
        results = map_in_order(pool, work, items(), 6)
        assert next(results) == 0
        time.sleep(0.05)
        assert (taken, started) == (5, 6)
        assert list(results) == list(range(1, 100))


def test_vanished_file_has_a_row(tmp_path: Path, pipeline: Pipeline) -> None:
    (row,) = Batch(pipeline, tmp_path).run([InputFile(tmp_path / "gone.dcm", "gone.dcm")])
    assert row.reason is Reason.UNREADABLE_OBJECT
    assert row.cells(pipeline.algorithm)[COLUMNS.index("Status")] == "not_analysed"
