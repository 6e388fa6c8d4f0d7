"""`cxrd analyse` finds every file it is given."""

import errno
import os
import socket
from pathlib import Path

import pytest

from daemon.batch.find_files import InputFile, find_files
from daemon.errors import UsageError

pytestmark = pytest.mark.network


def names(found: list[InputFile]) -> list[str]:
    return [file.image_id for file in found]


def touch(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_every_file_of_a_folder_is_found_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "README", "ward/1.2.840", "a.zip", "ward/deep/x.dcm")
    found = find_files([tmp_path, tmp_path / "b.png"], tmp_path / "out")
    assert names(found) == ["README", "a.zip", "b.png", "ward/1.2.840", "ward/deep/x.dcm"]
    assert not any(file.not_read for file in found)


def test_what_is_not_read_is_found_with_the_reason(tmp_path: Path) -> None:
    touch(tmp_path, "film.png", ".DS_Store", ".git/config", "ward/.film.dcm")
    (tmp_path / "ward" / "up").symlink_to(tmp_path)
    (tmp_path / "loop.dcm").symlink_to("loop.dcm")
    os.mkfifo(tmp_path / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        found = find_files([tmp_path], tmp_path / "out")
    assert [(file.image_id, file.not_read.partition(",")[0]) for file in found] == [
        (".DS_Store", "hidden"),
        (".git/", "hidden"),
        ("film.png", ""),
        ("loop.dcm", ""),
        ("pipe.dcm", "a named pipe"),
        ("socket", "a socket"),
        ("ward/.film.dcm", "hidden"),
        ("ward/up/", "a link to a folder; name it on the command line to analyse its files"),
    ]


def test_a_named_path_is_read_although_hidden_or_linked(tmp_path: Path) -> None:
    touch(tmp_path, ".film.dcm", "ward/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "ward")
    found = find_files([tmp_path, tmp_path / ".film.dcm", tmp_path / "link"], tmp_path / "out")
    assert [(file.image_id, bool(file.not_read)) for file in found] == [
        (".film.dcm", False),
        ("link/", True),
        ("ward/a.png", False),
        ("a.png", False),
    ]
    os.mkfifo(tmp_path / "pipe")
    (pipe,) = find_files([tmp_path / "pipe"], tmp_path / "out")
    assert pipe.not_read == "a named pipe, no file"


@pytest.mark.parametrize("out", ["out", "."])
def test_the_output_of_a_run_is_not_its_input(tmp_path: Path, out: str) -> None:
    report = "final_clinical_report.csv"
    output = (report, "final_clinical_report.thresholds.csv", "dashboard.html")
    partly = (".dashboard.html.17.tmp", "heatmaps/film.png.Mass.png", "heatmaps/.a.tmp")
    touch(tmp_path / out, *output, *partly)
    touch(tmp_path, "film.png", "others/heatmaps/b.png", f"others/{report}")
    assert names(find_files([tmp_path], tmp_path / out)) == [
        "film.png",
        f"others/{report}",
        "others/heatmaps/b.png",
    ]


def test_files_of_one_name_get_the_name_of_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "cd1/DICOMDIR", "cd1/A", "cd2/DICOMDIR", "cd2/B")
    found = find_files([tmp_path / "cd1", tmp_path / "cd2", tmp_path / "cd1" / "A"], tmp_path / "o")
    assert names(found) == ["A", "cd1/DICOMDIR", "cd2/DICOMDIR", "B"]
    assert found[2].path == tmp_path / "cd2" / "DICOMDIR"


def test_a_folder_that_cannot_be_listed_gets_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/film.png", "lost+found/x.png")
    listed = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_files([tmp_path], tmp_path / "out")
    assert names(found) == ["a/film.png", "lost+found/"]
    assert found[1].not_read == ""
    with pytest.raises(UsageError, match=r"lost\+found: Permission denied; nothing was analysed"):
        find_files([tmp_path / "lost+found"], tmp_path / "out")


def test_unusable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_files([tmp_path / "none"], tmp_path)
    with pytest.raises(UsageError, match="no file found"):
        find_files([tmp_path], tmp_path / "out")
    touch(tmp_path, "a/cd/same.png", "b/cd/same.png")
    with pytest.raises(UsageError, match=r"would both be cd/same\.png"):
        find_files([tmp_path / "a" / "cd", tmp_path / "b" / "cd"], tmp_path / "out")
