"""`cxrd show`: a study in the terminal, by its UID, accession number or patient."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from daemon.audit.users import current_user
from daemon.cli import tables
from storage.audit.records import AuditKind
from storage.store import Store
from tests.builders.store_rows import new_instance
from tests.daemon.cli.node.made_node import HELD, HOSTILE
from tests.tools.cli import cxrd, one_line_of_error


def looks(folder: Path) -> list[tuple[str, str]]:
    with Store.open(f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        rows = list(store.audit.rows())
    return [(row.actor, row.subject) for row in rows if row.kind == AuditKind.STUDY_VIEWED]


def document(folder: Path, *words: str) -> Any:
    done = cxrd("show", *words, "--json", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_findings_reasons_files_and_deliveries_are_shown(node: Path) -> None:
    done = cxrd("show", "1.2.3", cwd=node)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "accession ACC-7",
        "state parked: needs an operator",
        "Mass Present 0.80 0.50 -",
        "Hernia Absent 0.020 0.50 -",
        "not analysed, LATERAL_VIEW: A lateral film; the model reads frontal ones.",
        f"report valid 9 bytes {node / 'data' / 'spool' / 'objects' / '2.25.77'}",
        "pacs report parked: needs an operator 1 - 4 status 0xA900",
        "4 deliver to pacs parked 1",
        "Film 1 received from MODALITY",
        "1.2.3.1",
    ):
        assert any(line in shown for shown in lines), line
    assert "a person has to decide" not in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
    assert looks(node) == [(current_user(), "study=1.2.3")]


def test_the_document_is_that_of_the_page_with_its_files(node: Path) -> None:
    (node / "data" / "spool" / "received" / "aa" / "1.2.3.2.dcm").unlink()
    found = document(node, " acc-7 ")
    assert found["study"]["patient_id"] == HOSTILE
    assert [film["place"] for film in found["study"]["films"]] == [1, 2]
    assert [(file["kind"], file["state"]) for file in found["files"]] == [
        ("film", "there"),
        ("film", "missing"),
        ("report", "there"),
    ]
    assert all(Path(file["path"]).is_relative_to(node / "data") for file in found["files"])
    assert looks(node) == [(current_user(), "study=1.2.3")]


def test_a_study_is_found_by_its_patient(node: Path) -> None:
    assert document(node, HOSTILE.lower())["study"]["study_instance_uid"] == "1.2.3"
    assert document(node, HELD)["study"]["state"] == "held"
    assert "Correct the films at their source" in cxrd("show", HELD, cwd=node).stdout


def test_an_ambiguous_name_lists_the_candidates_and_shows_none(node: Path) -> None:
    with Store.open(f"sqlite:///{node / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        for uid, study, source in (("1.9.1", "1.9", "b"), ("1.2.3.9", "1.2.3", "b")):
            film = new_instance(
                uid, study_instance_uid=study, accession_number="ACC-7", source=source
            )
            store.record_instance(film, 0)
    done = cxrd("show", "ACC-7", cwd=node)
    assert done.stderr == (
        "cxrd: 3 studies are meant by ACC-7: name one by its Study Instance UID\n"
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1.2.3", "1.9", "1.2.3"]
    two = cxrd("show", "1.2.3", cwd=node)
    assert "2 studies are meant by 1.2.3: name the source with --source" in two.stderr
    part = cxrd("show", "acc", cwd=node)
    assert "3 study(ies) hold it as a part of one" in part.stderr
    assert looks(node) == []
    assert document(node, "1.2.3", "--source", "b")["study"]["source"] == "b"
    assert document(node, "1.2.3", "--source", "")["study"]["source"] == ""
    assert cxrd("show", "ACC-7", "--json", cwd=node).stdout == ""


def test_a_header_makes_no_line_of_its_own(node: Path) -> None:
    forged = "\nMass  Absent"
    with Store.open(f"sqlite:///{node / 'data' / 'cxrd.sqlite'}", migrate=False) as store:
        film = new_instance("1.8.1", study_instance_uid="1.8", accession_number=f"A{forged}")
        film = replace(film, view_position=f"A{forged}", modality=f"A{forged}")
        store.record_instance(replace(film, calling_ae_title=f"A{forged}"), 0)
    lines = cxrd("show", "1.8", cwd=node).stdout.splitlines()
    assert sum("␊Mass  Absent" in line for line in lines) > 2
    assert not any(line.startswith("Mass") for line in lines)


def test_the_doubt_about_a_study_is_said_once(node: Path) -> None:
    shown = cxrd("show", HELD, cwd=node).stdout.partition("\nFilm 1")[0]
    assert shown.count("the study holds films of 2 patients") == 1
    assert "See the reason above" not in shown


def test_an_argument_that_is_no_text_is_refused(node: Path) -> None:
    line = one_line_of_error(cxrd("show", "\udcff", cwd=node))
    assert line == r"cxrd: '\udcff' is not text in UTF-8: write it so"


def test_an_unknown_name_is_one_line(node: Path) -> None:
    for text in ("ACC-8\x1b[2J", "", "1.2.3 --"):
        line = one_line_of_error(cxrd("show", text, cwd=node))
        assert "no study with the UID, accession number or Patient ID" in line
        assert "\x1b" not in line
    assert looks(node) == []


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits_the_terminal(node: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: width)
    lines = cxrd("show", "1.2.3", cwd=node).stdout.splitlines()
    assert max(map(cell_len, lines)) <= width
