"""Tables and paragraphs of the commands: within the terminal, readable, and whole in a pipe."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.cells import cell_len

from daemon.cli import tables
from daemon.cli.tables import Column, clean, draw, shortened, table_lines, text_lines
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import claim
from tests.tools.cli import cxrd

UID = "1.2.840.113619.2.5.1762583153.215519.978957063.78"
HOSTILE = (
    "\x1b[2J\x1b]0;x\x07 line\nbreak \u202egnp.exe\u2066 \x9b1m a\u0300\u0301\u0302\u0303\u0304"
)
COLUMNS = (
    Column("Job", right=True),
    Column("Study", yields=0, least=13, is_shortened=True),
    Column("Patient", yields=1, least=8),
    Column("Last error", yields=1, least=12),
)
ROWS = (
    (7, UID, "山田, 太郎", "status 0xA900: 対象の検査が見つかりませんでした"),
    (123456, UID[::-1], "e\u0301ve\u0301que", HOSTILE),
    (8, "", "", "a" * 70),
)


@pytest.mark.parametrize("width", [20, 40, 57, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_text_is_lost(width: int) -> None:
    lines = list(table_lines(COLUMNS, ROWS, width))
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    wrapped = Counter("".join("".join(map(clean, (row[0], *row[2:]))) for row in ROWS))
    missing = wrapped - Counter("".join(lines))
    assert not {each for each in missing if not each.isspace()}


def test_columns_of_wide_characters_are_aligned() -> None:
    heading, first, second, _ = table_lines(
        COLUMNS[:1] + COLUMNS[2:3], [(row[0], row[2]) for row in ROWS], 80
    )
    assert [heading, first, second] == [
        "   Job  Patient",
        "     7  山田, 太郎",
        "123456  e\u0301ve\u0301que",
    ]
    names = [("山田", 1), ("e\u0301", 2), ("abcd", 3)]
    lines = list(table_lines((Column("N"), Column("X")), names, 80))
    assert {cell_len(line) for line in lines} == {7}


def test_a_pipe_gets_whole_rows_without_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ROWS)
    assert UID in lines[0]
    assert lines[2].split() == ["8", "-", "-", "a" * 70]


def test_a_table_that_cannot_fit_becomes_blocks() -> None:
    lines = list(table_lines(COLUMNS, ROWS[:1], 30))
    assert lines[0] == "Job         7"
    assert "".join(line[12:] for line in lines[1:4]) == UID
    assert lines[-1].startswith(" " * 12)


def test_a_uid_loses_its_middle() -> None:
    assert shortened(UID, 13) == "1.2.84…063.78"
    assert shortened(UID, len(UID)) == UID
    assert cell_len(shortened("山田太郎山田太郎", 6)) <= 6


def test_text_is_wrapped_below_its_value() -> None:
    line = "intended use  research and training, not for reading or sorting of films"
    assert list(text_lines(line, 40)) == [
        "intended use  research and training, not",
        "              for reading or sorting of",
        "              films",
    ]
    assert list(text_lines(line, None)) == [line]
    assert list(text_lines("", 40)) == [""]


@pytest.mark.parametrize(
    ("columns", "expected"), [("132", 132), ("7", 20), ("0", 80), ("many", 80), ("", 80)]
)
def test_the_terminal_names_its_width(
    monkeypatch: pytest.MonkeyPatch, columns: str, expected: int
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            raise ValueError

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", columns)
    assert tables.terminal_width() == expected


def test_numbers_are_drawn_like_those_in_a_file() -> None:
    assert draw(iter([["label", "n"], ["Mass", "7"], ["Edema", "12"]])) == [
        "label   n",
        "Mass    7",
        "Edema  12",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_jobs_fit_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    (tmp_path / "data").mkdir()
    with Store.open(f"sqlite:///{tmp_path / 'data' / 'cxrd.sqlite'}", migrate=True) as store:
        store.jobs.enqueue(JobKind.REPORT, f"{UID}@hospital")
        store.jobs.fail(claim(store, JobKind.REPORT), HOSTILE, None)
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    lines = cxrd("jobs", "list", cwd=tmp_path).stdout.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert lines[0].split()[0] == "Job"
