"""The dashboard that `cxrd analyse` makes from its report."""

import base64
import datetime
import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cxr_model.findings import LABELS, NO_FINDING
from cxr_model.predict.card import Card
from daemon.batch.csv_report import Row
from daemon.batch.dashboard.overview import Overview
from daemon.batch.dashboard.page import render_dashboard, write_dashboard
from dicom_io.gate.reasons import Reason

NOW = datetime.datetime(2026, 3, 4, 5, 6, tzinfo=datetime.UTC)
SHA256 = "ab" * 32
VOID = {"meta", "link", "br", "img", "hr", "input"}
SELF_CLOSED = {"rect", "line", "circle", "path"}


@pytest.fixture(scope="module")
def card(bundle: Path) -> Card:
    return Card.from_bytes((bundle / "card.json").read_bytes())


def row(name: str, **found: float) -> Row:
    probabilities = tuple(found.get(label, 0.125) for label in LABELS)
    summary = "; ".join(f"{label} ({value:.2f})" for label, value in found.items())
    return Row(name, probabilities, summary or NO_FINDING)


ROWS = (
    row("a.png", Mass=0.75, Pleural_Thickening=0.5),
    row("b.png", Mass=0.875),
    row("c.png"),
    Row("side.dcm", reason=Reason.LATERAL_VIEW, detail="ViewPosition is 'LL'"),
    Row("cut.png", reason=Reason.UNDECODABLE_PIXELS, detail="truncated"),
)


def test_the_page_says_whether_the_probabilities_are_calibrated(card: Card) -> None:
    good = {"slope": 0.95, "slope_95": [0.8, 1.1], "patients": 120}
    for calibration, words, never in (
        ({}, "probability (not calibrated)", "calibrated probability"),
        (good, "calibrated probability", "not calibrated"),
    ):
        text = Tree(page(ROWS, replace(card, calibration=calibration))).words
        assert words in text
        assert never not in text


def page(rows: Iterable[Row], card: Card) -> str:
    return render_dashboard(Overview.of(rows), card, SHA256, NOW)


class Tree(HTMLParser):
    """Checks that every element is closed, and collects tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words += f" {data.strip()}"


def test_overview_counts_rows() -> None:
    others = [Row(f"{name}.zip", reason=Reason.UNSUPPORTED_FILE) for name in "ab"]
    overview = Overview.of(iter([*ROWS, *others]))
    assert (overview.analysed, overview.with_findings) == (3, 2)
    assert (overview.refused, overview.unreadable, overview.unsupported) == (1, 1, 2)
    mass, pleural = LABELS.index("Mass"), LABELS.index("Pleural_Thickening")
    together = overview.co_occurrence()
    assert (together[mass, mass], together[mass, pleural], together[pleural, mass]) == (2, 1, 1)
    assert together.sum() == 2 + 1 + 2
    assert [(group.reason, group.count) for group in overview.reasons] == [
        (Reason.UNSUPPORTED_FILE, 2),
        (Reason.LATERAL_VIEW, 1),
        (Reason.UNDECODABLE_PIXELS, 1),
    ]


def test_page_is_complete(card: Card) -> None:
    tree = Tree(page(ROWS, card))
    words = re.sub(r"\s+", " ", tree.words)
    for text in (
        "RESEARCH USE ONLY",
        "04 March 2026",
        "random 1",
        SHA256,
        "For tests only.",
        "LATERAL_VIEW",
        Reason.LATERAL_VIEW.explanation,
        "cut.png",
        "truncated",
        "The model's card contains no metrics.",
    ):
        assert text in words, text
    assert tree.tags.count("svg") == 1 + 1 + 14 + 1
    labels = [value for tag, name, value in tree.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 17
    assert labels[0].startswith("Images with each finding, of 3: Mass 2, Pleural Thickening 1,")
    assert labels[1] == "No finding: 1; One or more findings: 2, of 3"
    assert tree.tags.count("details") == 1 + 1 + 14 + 1 + 2, "a table behind each chart"
    assert labels[16] == "Files not analysed, of 2: LATERAL_VIEW 1, UNDECODABLE_PIXELS 1"
    assert any(text.startswith("Mass: 2 of 3 images at or above the threshold") for text in labels)


def test_page_counts_other_kinds_of_file(card: Card) -> None:
    others = [Row(f"{n}.zip", reason=Reason.UNSUPPORTED_FILE, detail="a ZIP") for n in range(7)]
    text = page([*ROWS, *others], card)
    assert "<dt>other kinds of file</dt><dd>7</dd>" in text
    assert Reason.UNSUPPORTED_FILE.explanation in text
    assert "<code>6.zip</code>: a ZIP" in text


def test_page_loads_no_resource_but_its_pictures(card: Card) -> None:
    text = page(ROWS, card)
    tree = Tree(text)
    assert not {"link", "iframe", "img", "object"} & set(tree.tags), "there is no thumbnail"
    assert not {"src", "srcset", "xlink:href"} & {name for _, name, _ in tree.attributes}
    assert all(value[0] == "#" for _, name, value in tree.attributes if name == "href")
    assert not [name for _, name, _ in tree.attributes if name.startswith("on")]
    assert "style" not in {name for _, name, _ in tree.attributes}
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_only_the_script_of_the_page_runs(card: Card) -> None:
    text = page(ROWS, card)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (
        value for _, name, value in Tree(text).attributes if name == "content" and "src" in value
    )
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")


def test_text_of_files_and_cards_is_escaped(card: Card) -> None:
    attack = "<script>alert(1)</script>\"'"
    hostile = replace(
        card,
        name=attack,
        version=attack,
        intended_use=attack,
        created=attack,
        operating_point={attack: attack},
        provenance={"split": {"patients": {attack: attack}}},
        metrics={"held_out": {"mean_auc": attack, "images": attack, "labels": {"Mass": attack}}},
        calibrators={label: {"method": attack} for label in LABELS},
    )
    refused = Row(attack, reason=Reason.NO_PIXELS, detail=attack)
    tree = Tree(page([*ROWS, row(attack, Mass=0.75), refused], hostile))
    assert tree.tags.count("script") == 2, "the data and the script of the page"
    assert tree.words.count("<script>") > 10


def test_page_without_an_analysed_image(card: Card) -> None:
    for first in (3, 5):
        tree = Tree(page(ROWS[first:], card))
        assert "No image was analysed" in tree.words
        assert not {"script", "form"} & set(tree.tags)
        assert tree.tags.count("svg") == (1 if first == 3 else 0), "the reasons"


def test_a_limited_number_of_refusals_is_listed(card: Card) -> None:
    rows = [Row(f"{n}.dcm", reason=Reason.NOT_CHEST) for n in range(1234)]
    tree = Tree(page(rows, card))
    assert tree.tags.count("li") == 51
    assert "and 1184 more" in tree.words


METRICS: dict[str, Any] = {"positives": 12, "auc": 0.8125, "auc_95": [0.75, 0.875], "brier": 0.0625}


def measured(card: Card, **more: float) -> str:
    part = {"images": 40, "patients": 30, "mean_auc": 0.71, "labels": {"Mass": METRICS | more}}
    return Tree(page(ROWS, replace(card, metrics={"held_out": part}))).words


def test_measurements_of_the_card(card: Card) -> None:
    words = measured(card)
    assert "held-out patients (40 images, 30 patients)" in words
    assert "0.812 (0.750 to 0.875)" in words
    assert "Sensitivity" not in words, "the card has none"


def test_the_mean_is_that_of_the_headline(card: Card) -> None:
    part = {"images": 40, "patients": 30, "mean_auc": 0.71, "labels": {"Mass": METRICS}}
    headline = {"images": 25, "patients": 20, "mean_auc": 0.612, "mean_auc_95": [0.5, 0.7]}
    alone, led = (
        " ".join(Tree(page(ROWS, replace(card, metrics=metrics))).words.split())
        for metrics in (
            {"held_out": part},
            {"headline": headline | {"sources": ["a/b", "clinic"]}, "held_out": part},
        )
    )
    assert "mean AUC 0.710. The card does not tell the sources of its films apart" in alone
    assert "mean AUC 0.612 (0.500 to 0.700)" in led
    assert "The mean is over 25 images, 20 patients; sources: a/b, clinic." in led
    assert "0.710" not in led


def test_calibration_error_is_never_shown_alone(card: Card) -> None:
    assert "ECE" not in measured(card, ece_mass=0.01)
    assert "ECE" not in measured(card, ece_mass=0.01, nll=0.2)
    assert "ECE noise floor" in measured(card, ece_mass=0.01, nll=0.2, noise_floor=0.02)


@pytest.mark.parametrize(
    "metrics",
    [
        {"held_out": []},
        {"headline": 3, "held_out": {"x": 1}},
        {"headline": {"sources": 2}},
        {"held_out": {"labels": 3}},
        {"x": 1},
    ],
)
def test_card_with_other_types_gives_a_page(card: Card, metrics: dict[str, Any]) -> None:
    Tree(page(ROWS, replace(card, metrics=metrics, provenance={"split": 3})))


def test_page_replaces_the_previous_page(tmp_path: Path, card: Card) -> None:
    for rows in (ROWS, ROWS[:1]):
        write_dashboard(tmp_path / "dashboard.html", Overview.of(rows), card, SHA256, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["dashboard.html"]
    assert "cut.png" not in (tmp_path / "dashboard.html").read_text(encoding="utf-8")
