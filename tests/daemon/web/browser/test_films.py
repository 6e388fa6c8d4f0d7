"""Films in a browser: the panel with its overlays, and the viewer on the stored pixels."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from daemon.analyse.reader.look import Look as FileLook
from daemon.analyse.reader.look import LookKind, Picture, look_at
from storage.records import Instance, InstanceState
from tests.daemon.web.browser.conftest import BusyNode, Look
from tests.servers.browser import SCHEMES, WIDTHS, Visit

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


@dataclass(frozen=True)
class Shown:
    """A film of the node, and the picture of it."""

    film: Instance
    picture: NDArray[np.uint8]

    @property
    def path(self) -> str:
        return f"/studies/{self.film.study_instance_uid}/films/{self.film.id}"


def film_of(node: BusyNode, state: InstanceState) -> Shown:
    """Return the first film in a state."""
    with node.store() as store:
        film = next(
            found
            for number in range(1, 20)
            if (found := store.results.instance(number)).state is state
        )
    data = (node.data / "spool" / film.spool_path).read_bytes()
    picture = look_at(data, FileLook(LookKind.PICTURE))
    assert isinstance(picture, Picture)
    return Shown(film, picture.pixels)


@pytest.fixture(scope="module")
def analysed(node: BusyNode) -> Shown:
    return film_of(node, InstanceState.ANALYSED)


@contextmanager
def viewing(look: Look, shown: Shown, **options: Any) -> Iterator[Visit]:
    with look(**options) as visit:
        page = visit.open(f"{shown.path}/view")
        page.wait_for_selector('[data-state="ready"]')
        yield visit


def drawn(page: Page) -> NDArray[np.uint8]:
    """Return the canvas of the viewer after the next frame."""
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(frames)
    return _canvas(page, "canvas")[..., 0]


def _canvas(page: Page, name: str) -> NDArray[np.uint8]:
    url: str = page.evaluate(f"document.querySelector('[data-{name}]').toDataURL()")
    with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as read:
        return np.asarray(read)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_pages_of_a_film_are_whole(
    look: Look, analysed: Shown, scheme: str, width: str
) -> None:
    with look(scheme=scheme, width=WIDTHS[width]) as visit:
        for name, tail in (("film", ""), ("viewer", "/view")):
            visit.open(f"{analysed.path}{tail}")
            visit.picture(f"{name}-{scheme}-{width}")
            assert visit.accessibility() == []
            assert visit.overflow() == 0
        assert visit.problems == []


def test_overlays_follow_their_controls(look: Look, analysed: Shown) -> None:
    with look() as visit:
        page = visit.open(analysed.path)
        overlay, stage = page.locator("[data-layers] img").nth(1), page.locator("[data-stage]")
        choices = page.locator("[data-overlay]")
        assert overlay.is_visible()
        first = overlay.get_attribute("src")
        choices.nth(2).check()
        assert overlay.get_attribute("src") not in (None, first)
        page.locator("[data-opacity]").fill("40")
        assert overlay.evaluate("one => one.style.opacity") == "0.4"
        stage.focus()
        page.keyboard.press("o")
        assert overlay.is_hidden()
        page.keyboard.press("o")
        assert overlay.is_visible()
        page.keyboard.press("c")
        assert "contour=false" in str(overlay.get_attribute("src"))
        choices.nth(0).check()
        assert overlay.is_hidden()
        page.locator("[data-brightness]").fill("150")
        filtered = page.locator("[data-picture]").evaluate("one => one.style.filter")
        assert filtered == "brightness(150%) contrast(100%)"
        stage.focus()
        for _ in range(5):
            page.keyboard.press("+")
        page.keyboard.press("ArrowRight")
        moved = page.locator("[data-layers]").evaluate("one => one.style.transform")
        assert float(re.findall(r"scale\((.*)\)", moved)[0]) == pytest.approx(1.25**5)
        page.get_by_role("button", name="Reset").click()
        assert overlay.get_attribute("src") == first
        reset = page.locator("[data-layers]").evaluate("one => one.style.transform")
        assert reset == "translate(0px, 0px) scale(1)"
        assert visit.problems == []


def test_the_panel_shows_picture_and_overlay_on_one_another(look: Look, analysed: Shown) -> None:
    with look() as visit:
        page = visit.open(analysed.path)
        page.wait_for_function("[...document.images].every(one => one.complete)")
        boxes = page.locator("[data-layers] img").evaluate_all(
            "all => all.map(one => [one.naturalWidth, one.naturalHeight,"
            " one.getBoundingClientRect().width])"
        )
        assert boxes[0] == boxes[1]
        assert boxes[0][:2] == [analysed.picture.shape[1], analysed.picture.shape[0]]


def test_without_script_the_page_has_the_picture_and_links(look: Look, analysed: Shown) -> None:
    with look(script=False) as visit:
        page = visit.open(analysed.path)
        assert page.locator("[data-picture]").is_visible()
        assert page.locator("[data-tools]").is_hidden()
        present = sum(one.present for one in analysed.film.findings)
        assert page.locator("[data-links] a").count() == present
        page = visit.open(f"{analysed.path}/view")
        assert page.locator("img.view-plain").is_visible()
        assert visit.problems == []


def test_a_film_that_cannot_be_decoded_is_said(look: Look, node: BusyNode) -> None:
    shown = film_of(node, InstanceState.ANALYSED)
    path = node.data / "spool" / shown.film.spool_path
    data = path.read_bytes()
    try:
        path.write_bytes(data[:-100])
        with look() as visit:
            visit.expected = {404}
            page = visit.open(f"{shown.path}/view")
            page.wait_for_selector('[data-state="failed"]')
            assert "missing or altered" in page.inner_text("[data-load-words]")
            assert visit.problems == []
    finally:
        path.write_bytes(data)


def test_the_viewer_shows_the_film_of_the_analysis(look: Look, analysed: Shown) -> None:
    with viewing(look, analysed) as visit:
        page = visit.page
        page.get_by_role("button", name="One pixel of the film").click()
        seen = drawn(page)
        film = analysed.picture
        top, left = ((seen.shape[0] - film.shape[0]) // 2, (seen.shape[1] - film.shape[1]) // 2)
        rows = slice(max(0, -top), min(film.shape[0], seen.shape[0] - top))
        columns = slice(max(0, -left), min(film.shape[1], seen.shape[1] - left))
        part = film[rows, columns]
        there = seen[max(0, top) :, max(0, left) :][: part.shape[0], : part.shape[1]]
        # A film of odd size lies half a pixel off the middle.
        shifts = [
            np.abs(np.roll(there, (down, right), (0, 1)).astype(int) - part)[2:-2, 2:-2].max()
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        assert min(shifts) == 0
        assert visit.problems == []


def test_the_window_follows_mouse_keys_and_fields(look: Look, analysed: Shown) -> None:
    with viewing(look, analysed) as visit:
        page = visit.page
        centre, width = page.locator("[data-centre]"), page.locator("[data-width]")
        page.get_by_label("Preset").select_option("full")
        before = float(centre.input_value()), float(width.input_value())
        box = page.locator("[data-canvas]").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        assert re.search(r"column \d+, row \d+ .*value \d+", page.inner_text("[data-read]"))
        page.mouse.down()
        page.mouse.move(x - 80, y - 40)
        page.mouse.up()
        after = float(centre.input_value()), float(width.input_value())
        assert after[0] > before[0]
        assert after[1] == pytest.approx(before[1] * 0.9, rel=0.01)
        assert page.get_by_label("Preset").input_value() == "own"
        page.locator("[data-canvas]").focus()
        page.keyboard.press("Shift+ArrowRight")
        assert float(width.input_value()) > after[1]
        plain = drawn(page).astype(int)
        page.keyboard.press("i")
        inside = drawn(page)[plain > 0]
        assert np.abs(255 - inside.astype(int) - plain[plain > 0]).max() <= 1
        centre.fill("1000")
        centre.press("Enter")
        assert centre.input_value() == "1000"
        page.get_by_role("button", name="Reset").click()
        assert page.get_by_label("Preset").input_value() == "analysed"
        assert visit.problems == []


def test_turning_zooming_and_measuring(look: Look, analysed: Shown) -> None:
    with viewing(look, analysed) as visit:
        page = visit.page
        canvas = page.locator("[data-canvas]")
        upright = drawn(page)
        canvas.focus()
        page.keyboard.press("h")
        assert (np.abs(drawn(page)[:, ::-1].astype(int) - upright) > 40).mean() < 0.02
        assert "left and right are exchanged" in page.inner_text("[data-turned]")
        page.keyboard.press("h")
        for _ in range(4):
            page.keyboard.press("r")
        assert (drawn(page) == upright).all()
        assert page.locator("[data-turned]").is_hidden()
        page.keyboard.press("+")
        assert (drawn(page) != upright).any()
        page.keyboard.press("0")
        assert (drawn(page) == upright).all()
        page.get_by_role("button", name="Ruler").click()
        box = canvas.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2)
        page.mouse.up()
        assert _has_marks(page)
        page.keyboard.press("Escape")
        assert not _has_marks(page)
        page.get_by_role("button", name="Outlines").click()
        assert _has_marks(page)
        assert visit.problems == []


def _has_marks(page: Page) -> bool:
    drawn(page)
    return bool(_canvas(page, "marks")[..., 3].any())
