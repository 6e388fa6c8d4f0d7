"""`cxrd analyse` and `cxrd demo` with files that are not films."""

import csv
import datetime
from collections import Counter
from pathlib import Path

import pytest

from daemon.analyse.reader.decoder_pool import DecoderLimits
from daemon.batch.analyse_files import analyse_files
from daemon.config.sections.work import ModelConfig
from dicom_io.gate.reasons import Reason
from tests.builders.images.films import film
from tests.tools.cli import cxrd, one_line_of_error

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def rows_of(folder: Path, out: Path, bundle: Path, limits: DecoderLimits) -> list[dict[str, str]]:
    model = ModelConfig(bundle=str(bundle), device="cpu", threads=1)
    analyse_files([folder], out, model, limits=limits, now=NOW, echo=lambda _: None)
    with (out / "final_clinical_report.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_malformed_file_has_its_row_and_reason(
    data_folder: Path, tmp_path: Path, bundle: Path
) -> None:
    folder = data_folder / "dicom" / "malformed"
    rows = rows_of(folder, tmp_path / "out", bundle, DecoderLimits())
    assert len({row["Image_ID"] for row in rows}) == len(rows) == 342
    reasons = Counter(row["Reason"] for row in rows)
    assert set(reasons) <= set(Reason) - {Reason.ANALYSIS_FAILED}, reasons


@pytest.mark.slow
def test_a_film_that_needs_too_much_memory_delays_no_other(tmp_path: Path, bundle: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "large.dcm").write_bytes(film("large", rows=6000, columns=5000))
    (folder / "small.dcm").write_bytes(film("small"))
    rows = rows_of(folder, tmp_path / "out", bundle, DecoderLimits(memory_mb=100))
    found = {row["Image_ID"]: row["Reason"] for row in rows}
    assert found == {"large.dcm": Reason.DECODER_FAILED, "small.dcm": ""}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"GIF89a" * 50, "not a DICOM object"),
        (b"\xff" * 5000, "not a DICOM object"),
        (None, "No such file or directory"),
    ],
)
def test_the_demo_reports_a_bad_file_in_one_line(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "bad.dcm"
    if content is not None:
        path.write_bytes(content)
    done = cxrd("demo", str(path), cwd=tmp_path)
    assert done.stdout == ""
    line = one_line_of_error(done)
    assert line.startswith(f"cxrd: {path}: ")
    assert problem in line
