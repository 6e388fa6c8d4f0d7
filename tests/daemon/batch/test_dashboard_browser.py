"""The dashboard of analysed films in a browser, opened as a file."""

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from playwright.sync_api import Browser

from cxr_model.findings import LABELS
from daemon.batch.csv_report import REPORT_FILE
from dicom_io.phantom import PhantomFilm, draw
from tests.servers.browser import SCHEMES, WIDTHS, running_browser, visiting
from tests.tools.cli import cxrd

pytestmark = [pytest.mark.network, pytest.mark.slow]

FILMS = 6


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results, with labels."""
    made = tmp_path_factory.mktemp("dashboard")
    (made / "films").mkdir()
    for i in range(FILMS):
        pixels = draw(PhantomFilm("p", "s", rows=256, columns=256, seed=i))
        cv2.imwrite(str(made / "films" / f"film {i} #1.png"), (pixels >> 4).astype("uint8"))
    with (made / "labels.csv").open("w", newline="") as file:
        rows = ([f"film {i} #1.png", i % 2] for i in range(FILMS))
        csv.writer(file).writerows([["image", "y_Mass"], *rows])
    done = cxrd(
        *("analyse", made / "films", "--out", made / "out", "--labels", made / "labels.csv"),
        *("--picture-check", "off"),
        cwd=made,
        variables={"CXRD_MODEL__BUNDLE": str(bundle)},
    )
    assert done.returncode == 0, done.stderr
    return made / "out"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_offline(chromium: Browser, folder: Path, scheme: str, width: str) -> None:
    with visiting(chromium, f"{folder.as_uri()}/", scheme=scheme, width=WIDTHS[width]) as visit:
        page = visit.open("dashboard.html")
        assert page.locator("li.film").count() == FILMS
        last = page.locator("li.film img").last
        last.scroll_into_view_if_needed()
        assert last.evaluate("async (image) => (await image.decode(), image.naturalWidth)") >= 128
        page.evaluate("scrollTo(0, 0)")
        visit.picture(f"dashboard_{scheme}_{width}")
        assert visit.overflow() == 0
        assert visit.accessibility() == []
        assert visit.problems == []


def test_films_are_chosen_and_ordered(chromium: Browser, folder: Path) -> None:
    with (folder / REPORT_FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    label = next(
        name for name in LABELS if 0 < sum(row[f"{name}_Present"] == "1" for row in rows) <= FILMS
    )
    present = {row["Image_ID"] for row in rows if row[f"{label}_Present"] == "1"}
    with visiting(chromium, f"{folder.as_uri()}/") as visit:
        page = visit.open("dashboard.html")
        page.select_option("select[name=finding]", label)
        names = page.locator("li.film h3").all_inner_texts()
        assert set(names) == present
        page.select_option("select[name=finding]", "")
        page.select_option("select[name=order]", label)
        names = page.locator("li.film h3").all_inner_texts()
        shown = {row["Image_ID"]: round(float(row[label]), 3) for row in rows}
        assert [shown[name] for name in names] == sorted(shown.values(), reverse=True)
        page.fill("input[name=name]", "FILM 3")
        assert page.locator("li.film h3").all_inner_texts() == ["film 3 #1.png"]
        page.fill("input[name=name]", "no such film")
        assert page.locator("#film-count").inner_text() == "no film fits"
        assert visit.problems == []


def test_a_picture_leads_to_its_heatmap(chromium: Browser, folder: Path) -> None:
    with visiting(chromium, f"{folder.as_uri()}/") as visit:
        page = visit.open("dashboard.html")
        page.locator("a.picture").first.click()
        page.wait_for_url("**/heatmaps/**")
        assert "%231.png." in page.url
        assert page.evaluate("document.images[0].naturalWidth") > 0


def test_it_reads_without_a_script(chromium: Browser, folder: Path) -> None:
    with visiting(chromium, f"{folder.as_uri()}/", script=False) as visit:
        page = visit.open("dashboard.html")
        assert page.locator("li.film").count() == FILMS
        assert not page.locator("#film-form").is_visible()
        assert page.locator("a.picture").count() > 0
