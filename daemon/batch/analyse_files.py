"""`cxrd analyse`: the daemon's pipeline over files and directories of any size.

An interrupted run can be resumed: an image's row is written after its heatmaps, and a run skips
images with a row.
"""

import datetime
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DEFAULT_LIMITS, DecoderLimits
from daemon.batch.batch import Batch
from daemon.batch.csv_report import (
    DASHBOARD_FILE,
    THRESHOLDS_FILE,
    Report,
    State,
    one_line,
    read_rows,
)
from daemon.batch.dashboard.labelled import measure_labels
from daemon.batch.dashboard.overview import Overview
from daemon.batch.dashboard.page import write_dashboard
from daemon.batch.find_files import find_files
from daemon.batch.thresholds import write_thresholds
from daemon.config.picture_form import DEFAULT_MAX_SIDE
from daemon.config.sections.work import ModelConfig
from dicom_io.gate.rules import DEFAULT_RULES, Rules


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of the files by result, including those of earlier runs, and the output files.

    `work` is the rate of this run and the share of each stage; empty if it had no file to analyse.
    """

    analysed: int
    refused: int
    unreadable: int
    unsupported: int
    report: Path
    dashboard: Path
    work: str = ""

    def __str__(self) -> str:
        return (
            f"{self.analysed} analysed, {self.refused} not analysed, {self.unreadable} unreadable, "
            f"{self.unsupported} other file(s)\n"
            f"report: {self.report}, dashboard: {self.dashboard}. Research use only."
        )


def analyse_files(
    paths: Sequence[Path],
    out: Path,
    model: ModelConfig,
    *,
    identifiers: bool = True,
    limits: DecoderLimits = DEFAULT_LIMITS,
    rules: Rules = DEFAULT_RULES,
    workers: int | None = None,
    picture_side: int | None = DEFAULT_MAX_SIDE,
    labels: Path | None = None,
    now: datetime.datetime,
    echo: Callable[[str], None],
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Summary:
    """Analyse the files at `paths` into folder `out`.

    `identifiers` adds those of patient and study to the report. `limits` apply to reading one
    image, and `rules` to every film. `workers` and `picture_side` are those of `Batch`. `labels` is
    a table of `read_outcomes`, by which the dashboard measures the films. `echo` receives a line
    for every file that is not analysed, `progress` the numbers of files that are done and that this
    run has to do. Raises DataError for an unusable table, UsageError for
    unusable paths or an unusable folder, ModelError for an unusable bundle, ModelFailedError if the
    model's output for a film is not a result, and StorageError if the disk stops the run; rows
    written before are kept.
    """
    files = find_files(paths, out)
    outcomes = None
    if labels is not None:
        from cxr_model.data.outcomes import read_outcomes

        # Before the films are read, which may take hours.
        outcomes = read_outcomes(labels)
    pipeline = Pipeline.open(model, limits)
    with Report(out, pipeline.algorithm, identifiers=identifiers) as report:
        if report.is_older:
            echo(f"{report.path} keeps the columns of the earlier version that began it")
        write_thresholds(out / THRESHOLDS_FILE, pipeline.card, pipeline.algorithm)
        remaining = [file for file in files if not report.holds(file.image_id)]
        batch = Batch(pipeline, out, workers, rules, picture_side)
        start = time.perf_counter()
        with closing(batch.run(remaining)) as rows:
            for done, row in enumerate(rows, 1):
                report.append(row)
                progress(done, len(remaining))
                if row.reason is not None:
                    echo(one_line(f"{row.image_id}: not analysed: {row.reason}: {row.detail}"))
        elapsed = time.perf_counter() - start
        states = Counter(report.state(file.image_id) for file in files)
        overview = Overview.of((row for row, _ in read_rows(report.path)), out)
        labelled = None
        if outcomes is not None:
            rows = (row for row, _ in read_rows(report.path))
            labelled = measure_labels(outcomes, rows, pipeline.card)
        dashboard = out / DASHBOARD_FILE
        sha256 = pipeline.algorithm.sha256
        write_dashboard(dashboard, overview, pipeline.card, sha256, now, labelled)
    return Summary(
        states[State.ANALYSED],
        states[State.REFUSED],
        states[State.UNREADABLE],
        states[State.UNSUPPORTED],
        report.path,
        dashboard,
        batch.work.describe(len(remaining), elapsed) if remaining else "",
    )
