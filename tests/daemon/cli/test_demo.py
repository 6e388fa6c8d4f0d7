"""`cxrd demo` with the bundled model."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from cxr_model.findings import LABELS
from daemon.cli.main import wait_for_enter
from dicom_io.objects.codes import finding_code
from tests.tools.cli import cxrd, cxrd_process, one_line_of_error

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def shown(kept: Path) -> str:
    done = cxrd_process("demo", "--keep", kept, cwd=kept.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_reports_are_shown_with_all_findings(shown: str) -> None:
    for label in LABELS:
        meaning = re.escape(finding_code(label).concept.meaning)
        assert len(re.findall(rf"^\s+{meaning}\s+(?:Present|Absent)\s", shown, re.MULTILINE)) == 2
    assert shown.count("From the study's last byte to its report in the PACS") == 2
    assert "LATERAL_VIEW" in shown
    assert "RESEARCH USE ONLY" in shown
    assert "What to do next:" in shown
    # It is no terminal that runs the test: the demo does not wait.
    assert "Press Enter" not in shown


def test_only_the_film_of_heart_failure_shows_edema(shown: str) -> None:
    failing, healthy = shown.split("AI findings - research use only")[1:]
    edema = re.compile(r"^\s+Pulmonary edema\s+Present\s", re.MULTILINE)
    assert edema.search(failing)
    assert not edema.search(healthy)
    assert "The films are drawings" in shown


def test_printed_paths_of_heatmaps_and_table_exist(shown: str, kept: Path) -> None:
    heatmaps = re.findall(r"^Heatmap: (.*)$", shown, re.MULTILINE)
    assert heatmaps
    for path in heatmaps:
        with Image.open(path) as picture:
            width, height = picture.size
        assert width == 896
        # The legend is a strip below the film.
        assert 1024 < height < 1.3 * 1024
    (table,) = re.findall(r"^CSV: (.*)$", shown, re.MULTILINE)
    rows = list(csv.DictReader(Path(table).read_text(encoding="utf-8").splitlines()))
    assert sorted(row["state"] for row in rows) == ["analysed", "analysed", "not_analysed"]


@pytest.mark.parametrize("ends", [None, EOFError, KeyboardInterrupt])
def test_the_wait_ends_with_enter_the_input_or_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, ends: type[BaseException] | None
) -> None:
    def read() -> str:
        if ends is not None:
            raise ends
        return ""

    monkeypatch.setattr("builtins.input", read)
    wait_for_enter()


def test_folder_in_use_is_refused(kept: Path, shown: str) -> None:
    assert shown
    line = one_line_of_error(cxrd("demo", "--keep", kept, cwd=kept.parent))
    assert line == f"cxrd: {kept} is not empty; name a new folder with --keep"
