"""`python -m tests.pages.pictures`: photograph the pages of a running node for the documentation.

A temporary archive, the daemon with the bundled model and drawn films: no film of a patient.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from playwright.sync_api import Page

from daemon.config.sections.work import STARTER_BUNDLE
from daemon.config.settings import TOKEN_FILE
from dicom_io.phantom import PhantomFilm, PhantomView, build_film
from dicom_io.read.header import read_dataset, read_header
from tests.servers.browser import Visit, running_browser, visiting
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.paths import ROOT
from tests.tools.waiting import wait_until

FOLDER = ROOT / "docs" / "images"
MOST_BYTES = 300_000
COLOURS = 256
HEATMAP_SIDE = 900

FILMS = (
    PhantomFilm("PHANTOM-1", "DEMO-1", heart_failure=True),
    PhantomFilm("PHANTOM-1", "DEMO-1", view=PhantomView.LL, seed=2),
    PhantomFilm("PHANTOM-2", "DEMO-2", photometric_interpretation="MONOCHROME1", seed=3),
    PhantomFilm("PHANTOM-3", "DEMO-3", heart_failure=True, rows=896, columns=1024, seed=4),
)


@dataclass(frozen=True)
class Loop:
    """A node that has processed the films, its archive, and a window that is logged in."""

    visit: Visit
    pacs: RecordingPacs
    study: str
    """The Study Instance UID of the first film."""


@contextmanager
def looped(folder: Path) -> Iterator[Loop]:
    """Run the loop with the films, and open the pages when all results have arrived."""
    films = [build_film(film, datetime.now(UTC)) for film in FILMS]
    studies = {read_header(film).study_instance_uid for film in films}
    with (
        RecordingPacs(folder / "pacs") as pacs,
        RunningDaemon(folder / "node", Path(STARTER_BUNDLE), pacs.port) as daemon,
        running_browser() as browser,
    ):
        daemon.send(*films)
        wait_until(lambda: len(pacs.of("SR")) == len(studies), "every report has arrived", 120)
        port = yaml.safe_load(daemon.config.read_text(encoding="utf-8"))["web"]["port"]
        token = (daemon.data / TOKEN_FILE).read_text(encoding="utf-8").strip()
        base = f"http://localhost:{port}/"
        with visiting(browser, base, token, width=1200) as visit:
            yield Loop(visit, pacs, read_header(films[0]).study_instance_uid)


def photograph(loop: Loop) -> dict[str, Image.Image]:
    """Return the pictures by name."""
    return {
        "studies": _shot(loop.visit.open("studies"), 680),
        "study": _shot(loop.visit.open(f"studies/{loop.study}"), 1330),
        "overlay": _heatmap(loop),
    }


def _shot(page: Page, height: int) -> Image.Image:
    """Return the upper part of a page, of at most this height."""
    full = Image.open(BytesIO(page.screenshot(full_page=True)))
    return full.crop((0, 0, full.width, min(height, full.height)))


def _heatmap(loop: Loop) -> Image.Image:
    """Return the heatmap of the first film with the most red, as the archive got it."""
    of_study = {uid for uid, study in loop.pacs.studies.items() if study == loop.study}
    files = (path for path in loop.pacs.of("OT") if path.stem in of_study)
    heatmaps = [read_dataset(path).pixel_array.astype(int) for path in sorted(files)]
    reddest = max(heatmaps, key=lambda pixels: (pixels[..., 0] - pixels[..., 1]).clip(0).sum())
    picture = Image.fromarray(reddest.astype(np.uint8))
    picture.thumbnail((HEATMAP_SIDE, HEATMAP_SIDE))
    return picture


def save(picture: Image.Image, name: str) -> int:
    """Write a picture with few colours. Return its size; raise ValueError above MOST_BYTES."""
    path = FOLDER / f"{name}.png"
    picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than {MOST_BYTES}: show less of the page")
    return size


def main() -> None:
    """Write every picture to docs/images."""
    with tempfile.TemporaryDirectory() as folder, looped(Path(folder)) as loop:
        for name, picture in photograph(loop).items():
            print(f"docs/images/{name}.png: {save(picture, name)} bytes")


if __name__ == "__main__":
    main()
