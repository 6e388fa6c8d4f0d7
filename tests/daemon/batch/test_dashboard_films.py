"""The list of films: its pictures, its order, and what the headers say of them."""

import datetime
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_model.findings import LABELS, NO_FINDING
from cxr_model.predict.card import Card
from daemon.batch.csv_report import HEADER, Row
from daemon.batch.dashboard import overview as overviews
from daemon.batch.dashboard.films import FIRST_FILMS, film_view, films_data, listed, ordered
from daemon.batch.dashboard.overview import Overview
from daemon.batch.dashboard.page import render_dashboard
from daemon.batch.thumbnails import TILE, film_tile, heatmap_tile, strip, thumbnail_name
from tests.builders.made_models import made_card

NOW = datetime.datetime(2026, 3, 4, 5, 6, tzinfo=datetime.UTC)
THRESHOLDS = dict.fromkeys(LABELS, 0.5)
MASS, EDEMA = LABELS.index("Mass"), LABELS.index("Edema")


@pytest.fixture
def card() -> Card:
    return made_card(name="a model")


def film(name: str, **found: float) -> Row:
    """Return a row; every finding given is present and has a heatmap."""
    return Row(
        name,
        tuple(found.get(label, 0.125) for label in LABELS),
        "; ".join(f"{label} {p:.2f} (x)" for label, p in found.items()) or NO_FINDING,
        tuple(f"heatmaps/{name}.{label}.png" for label in found),
    )


def with_thumbnails(folder: Path, *rows: Row) -> Path:
    for row in rows:
        path = folder / thumbnail_name(row.image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(strip([film_tile(np.zeros((9, 9), np.uint8))] * (1 + len(row.heatmaps))))
    return folder


def test_a_thumbnail_shows_the_film_and_its_heatmaps_side_by_side() -> None:
    picture = np.full((300, 150), 200, np.uint8)
    heat = np.zeros((340, 150, 3), np.uint8)
    heat[:300, :, 0] = 255
    data = strip([film_tile(picture), heatmap_tile(heat, 300)])
    shown = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert shown.shape == (TILE, 2 * TILE, 3)
    middle, edge = TILE // 2, 4
    assert shown[middle, middle] == pytest.approx([200, 200, 200], abs=6)
    assert shown[middle, edge] == pytest.approx([0, 0, 0], abs=12), "the film is narrow"
    assert shown[middle, TILE + middle] == pytest.approx([255, 0, 0], abs=12)
    assert shown[-2, TILE + middle, 0] > 200, "the legend is left out"


@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (1, 1), (3000, 2500)])
def test_films_of_any_proportions_have_a_tile(shape: tuple[int, int]) -> None:
    assert film_tile(np.zeros(shape, np.uint8)).shape == (TILE, TILE, 3)


def test_the_name_of_a_thumbnail_is_that_of_the_cell_of_the_report() -> None:
    assert thumbnail_name("=x.png") == thumbnail_name("'=x.png")
    assert re.fullmatch(r"thumbnails/[0-9a-f]{2}/[0-9a-f]{18}\.jpg", thumbnail_name("a/b.dcm"))


def test_heatmaps_are_read_back_from_names_with_separators(tmp_path: Path) -> None:
    names = ("heatmaps/a; b.png.Mass.png", "heatmaps/a; b.png.Pleural_Thickening.png")
    cells = dict.fromkeys(("Image_ID", "Detail", *HEADER), "")
    cells |= dict.fromkeys(LABELS, "0.5")
    cells |= {"Status": "analysed", "Clinical_Summary": "Mass 0.50; Pleural_Thickening 0.50"}
    row = Row.parse(cells | {"Heatmaps": "; ".join(names)})
    assert row.heatmaps == names
    assert row.ranked == ("Mass", "Pleural_Thickening")


def test_a_film_shows_its_findings_in_the_order_of_the_summary(tmp_path: Path) -> None:
    row = film("a; 1#.png", Edema=0.75, Mass=0.5)
    view = film_view(listed(row, with_thumbnails(tmp_path, row)), THRESHOLDS)
    assert [(one.place, one.words) for one in view.pictures] == [
        *((0, "film"), (1, "Edema 0.75"), (2, "Mass 0.50"))
    ]
    assert view.pictures[1].link == "heatmaps/a%3B%201%23.png.Edema.png"
    assert (view.others, view.highest) == ((), "")


def test_a_finding_without_a_heatmap_and_a_film_without_a_thumbnail_have_words(
    tmp_path: Path,
) -> None:
    row = replace(film("a.png", Mass=0.75, Edema=0.5), heatmaps=("heatmaps/a.png.Edema.png",))
    kept = film_view(listed(row, with_thumbnails(tmp_path, row)), THRESHOLDS)
    assert ([one.words for one in kept.pictures], kept.others) == (
        ["film", "Edema 0.50"],
        ("Mass 0.75",),
    )
    lost = film_view(listed(row, tmp_path / "elsewhere"), THRESHOLDS)
    assert (lost.pictures, lost.others) == ((), ("Mass 0.75", "Edema 0.50"))
    none = film_view(listed(film("b.png"), None), {**THRESHOLDS, "Hernia": 0.2})
    assert none.highest == "Hernia 0.12"


def test_the_film_furthest_above_a_threshold_comes_first() -> None:
    films = [
        listed(film(name, **found), None)
        for name, found in (
            ("none", {}),
            ("far", {"Mass": 0.6}),
            ("near", {"Edema": 0.75}),
        )
    ]
    names = [one.name for one in ordered(films, {**THRESHOLDS, "Mass": 0.1})]
    assert names == ["far", "near", "none"]


def test_the_data_of_the_script_name_every_heatmap(tmp_path: Path) -> None:
    row = film("ward/a.png", Edema=0.75, Mass=0.5)
    (data,) = films_data([listed(row, with_thumbnails(tmp_path, row))], THRESHOLDS)["films"]
    name, thumbnail, start, drawn, others, thousandths = data
    assert (name, thumbnail) == ("ward/a.png", thumbnail_name("ward/a.png"))
    assert [f"{start}{LABELS[place]}.png" for place in drawn] == list(row.heatmaps)
    assert (others, thousandths[EDEMA], thousandths[0]) == ([], 750, 125)


def test_the_page_is_bounded(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overviews, "MOST_FILMS", FIRST_FILMS + 7)
    rows = (film(f"{n:04}.png", Mass=0.75) for n in range(FIRST_FILMS + 20))
    page = render_dashboard(Overview.of(rows), card, "ab" * 32, NOW)
    assert page.count('<li class="film">') == FIRST_FILMS
    (data,) = re.findall(r'id="films-data">(.*?)</script>', page)
    assert len(json.loads(data)["films"]) == FIRST_FILMS + 7
    words = " ".join(page.split())
    assert f"The first {FIRST_FILMS + 7} of {FIRST_FILMS + 20} films of the report" in words
    assert f"These are the first {FIRST_FILMS} of {FIRST_FILMS + 7} films." in words


def test_a_name_ends_neither_the_data_nor_the_page(card: Card) -> None:
    name = "</script><script>alert(1)</script>"
    page = render_dashboard(Overview.of([film(name, Mass=0.75)]), card, "ab" * 32, NOW)
    assert "<script>alert" not in page
    (data,) = re.findall(r'id="films-data">(.*?)</script>', page)
    assert json.loads(data)["films"][0][0] == name


@pytest.mark.parametrize(
    ("header", "groups"),
    [
        (("PA", "F", "058Y"), ("PA", "female", "40 to 59")),
        (("ap", "m", "017Y"), ("AP", "male", "under 18")),
        (("LL", "O", "011M"), ("other", "other", "under 18")),
        (("", "", "130Y"), ("not stated", "not stated", "80 and over")),
        (("PA", "?", "58"), ("PA", "not stated", "not stated")),
    ],
)
def test_films_are_counted_by_their_headers(
    header: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    known = replace(film("known"), header=("PA", "F", "045Y"))
    mix = Overview.of([known, replace(film("a"), header=header)]).mix
    assert tuple(mix) == ("View", "Sex", "Age in years")
    for counted, group in zip(mix.values(), groups, strict=True):
        assert group in dict(counted)
        assert sum(dict(counted).values()) == 2


def test_headers_that_state_nothing_have_no_chart(card: Card) -> None:
    overview = Overview.of([film("a.png"), replace(film("b.dcm"), header=("", "", ""))])
    assert overview.mix == {}
    assert "View, sex and age" not in render_dashboard(overview, card, "ab" * 32, NOW)
