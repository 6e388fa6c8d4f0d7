"""`dashboard.html`: an overview of the report, as one file beside its folders of pictures."""

import base64
import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import write_atomically
from cxr_model.predict.card import Card
from daemon.analyse.operating_point import false_calls_sentence, operating_point_sentence
from daemon.batch.csv_report import DASHBOARD_FILE
from daemon.batch.dashboard.card_tables import (
    TextTable,
    calibration_table,
    card_metrics,
    patients_text,
    plain,
)
from daemon.batch.dashboard.films import FIRST_FILMS, film_view, films_data, ordered
from daemon.batch.dashboard.labelled import Labelled
from daemon.batch.dashboard.overview import Overview
from daemon.batch.thumbnails import TILE
from daemon.charts.bars import bars
from daemon.charts.chart import Chart, stylesheet
from daemon.charts.histogram import histogram_of
from daemon.charts.matrix import matrix
from daemon.charts.pie import pie
from daemon.charts.text import grouped, share
from storage.files.durable import storage_errors

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = "style.css"
_SCRIPT = "films.js"


def write_dashboard(
    path: Path,
    overview: Overview,
    card: Card,
    sha256: str,
    now: datetime.datetime,
    labelled: Labelled | None = None,
) -> None:
    """Write the page, whole or not at all. Raises StorageError."""
    page = render_dashboard(overview, card, sha256, now, labelled)
    with storage_errors(path):
        write_atomically(path, page.encode("utf-8"))


def render_dashboard(
    overview: Overview,
    card: Card,
    sha256: str,
    now: datetime.datetime,
    labelled: Labelled | None = None,
) -> str:
    """Return the page as HTML; text from files and the card is escaped.

    `labelled` are the figures of the films by a table of labels.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    thresholds = card.thresholds
    films = ordered(overview.films, thresholds)
    script = (_TEMPLATES / _SCRIPT).read_text(encoding="utf-8").strip()
    return environment.get_template(DASHBOARD_FILE).render(
        overview=overview,
        card=card,
        sha256=sha256,
        now=now,
        drawn=_drawn(overview, card) if overview.analysed else None,
        reasons=_reasons(overview),
        films=[film_view(film, thresholds) for film in films[:FIRST_FILMS]],
        listed=len(films),
        films_data=films_data(films, thresholds),
        tile=TILE,
        places=range(1, len(LABELS) + 1),
        labels=[(label, plain(label)) for label in LABELS],
        labelled=labelled,
        labelled_table=_labelled_table(labelled) if labelled else None,
        calibration=calibration_table(overview, card),
        probability="calibrated probability" if card.calibrated else "probability (not calibrated)",
        measured=card_metrics(card),
        operating_point=" ".join(
            filter(
                None,
                (
                    operating_point_sentence(card.operating_point),
                    false_calls_sentence(card.operating_point),
                ),
            )
        ),
        patients=patients_text(card.provenance),
        share=share,
        grouped=grouped,
        chart_style=Markup(stylesheet()),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@dataclass(frozen=True, slots=True)
class _Drawn:
    findings: Chart
    healthy: Chart
    histograms: tuple[tuple[str, int, Chart], ...]
    matrix: Markup
    mix: tuple[tuple[str, Chart], ...]


def _drawn(overview: Overview, card: Card) -> _Drawn:
    counts = overview.present.sum(axis=0, dtype=np.int64).tolist()
    names = tuple(plain(label) for label in LABELS)
    order = sorted(range(len(LABELS)), key=lambda i: -counts[i])
    without = overview.analysed - overview.with_findings
    return _Drawn(
        bars(
            "Images with each finding",
            [names[i] for i in order],
            [counts[i] for i in order],
            overview.analysed,
        ),
        pie(
            "Healthy versus findings",
            ("No finding", "One or more findings"),
            (without, overview.with_findings),
        ),
        tuple(
            (
                names[i],
                counts[i],
                histogram_of(
                    names[i],
                    overview.probabilities[:, i],
                    overview.present[:, i].astype(np.bool_),
                    card.thresholds[label],
                ),
            )
            for i, label in enumerate(LABELS)
        ),
        matrix("Co-occurrence of findings", names, overview.co_occurrence().tolist()),
        tuple(
            (
                attribute,
                bars(
                    attribute,
                    [name for name, _ in groups],
                    [count for _, count in groups],
                    overview.analysed,
                ),
            )
            for attribute, groups in overview.mix.items()
        ),
    )


def _labelled_table(labelled: Labelled) -> TextTable:
    heads = ("Finding", "Films", "Positives", "AUC", "Brier")
    return TextTable(heads, tuple((one.name, *one.cells) for one in labelled.labels))


def _reasons(overview: Overview) -> Chart | None:
    """Return the bars of several reasons; a single one needs none."""
    if len(overview.reasons) < 2:
        return None
    return bars(
        "Files not analysed",
        [str(group.reason) for group in overview.reasons],
        [group.count for group in overview.reasons],
        sum(group.count for group in overview.reasons),
    )
