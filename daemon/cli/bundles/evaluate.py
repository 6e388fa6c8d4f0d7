"""`cxrd model evaluate`: measures a bundle on films, or a table of predictions."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_model.predict.choices import Device
from daemon.cli.tables import draw, print_text
from daemon.errors import UsageError

if TYPE_CHECKING:
    from cxr_model.data.chestxray14 import Record
    from cxr_model.evaluate.evaluation import Evaluation
    from cxr_model.predict.bundle import Bundle

PredictionsOption = Annotated[
    Path | None,
    typer.Option(help="CSV (or .csv.gz): image, patient_id, prob_<label>…, y_<label>…"),
]


@dataclass(frozen=True, slots=True)
class _Films:
    """Films to measure a bundle on, as the command line names them."""

    images: Path
    labels: Path
    original_sizes: Path | None
    bundle: Path | None
    boxes: Path | None
    every_film: bool
    stability: bool
    bundle_out: Path | None
    training_only: tuple[str, ...]
    device: str
    threads: int | None


def evaluate(
    out: Annotated[
        Path, typer.Option(help="The metrics.csv to write; diagrams are written beside it.")
    ],
    predictions: PredictionsOption = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json, fitted on other patients.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of films to predict.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label table of the films, as for train.")
    ] = None,
    original_sizes: Annotated[
        Path | None, typer.Option(help="CSV of the sizes before NIH squeezed films, as for train.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle that predicts the films; default: the starter.")
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Radiologists' boxes, in the layout of NIH's BBox_List_2017.csv."),
    ] = None,
    every_film: Annotated[
        bool,
        typer.Option("--every-film", help="Score patients of the bundle's training, too."),
    ] = False,
    training_only: Annotated[
        list[str] | None,
        typer.Option(
            help="Source whose films are never measured; repeat for more. A bundle's card names "
            "its own."
        ),
    ] = None,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Also count the calls that small changes to the films make appear or vanish.",
        ),
    ] = False,
    bundle_out: Annotated[
        Path | None,
        typer.Option(help="Folder for the bundle with these figures on its card."),
    ] = None,
    device: Annotated[Device, typer.Option(help="auto uses a GPU if there is one.")] = Device.AUTO,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; default: chosen by torch.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=2, help="Resamples of patients for the intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
) -> None:
    """Measure AUC, Brier, NLL and calibration with 95 % intervals over patients, and by source.

    Give --predictions, or --images and --labels. With images, the predictions are written to
    OUT_predictions.csv and, before calibration, to OUT_uncalibrated.csv.
    """
    excluded = tuple(name.strip() for name in training_only or ())
    of_films = (images, labels, original_sizes, bundle, boxes, bundle_out)
    if predictions is not None and not any(of_films) and not (stability or every_film):
        _evaluate_table(predictions, calibration, out, excluded, resamples, seed)
    elif predictions is None and images is not None and labels is not None and calibration is None:
        if every_film and bundle_out is not None:
            raise UsageError(
                "--every-film measures patients of the training, too: such figures are not "
                "written to a card; leave out --every-film or --bundle-out"
            )
        films = _Films(
            images=images,
            labels=labels,
            original_sizes=original_sizes,
            bundle=bundle,
            boxes=boxes,
            every_film=every_film,
            stability=stability,
            bundle_out=bundle_out,
            training_only=excluded,
            device=device.value,
            threads=threads,
        )
        _evaluate_films(films, out, resamples, seed)
    else:
        raise UsageError(
            "give either --predictions (and --calibration), or --images and --labels "
            "(and --bundle, --boxes, --every-film, --stability, --bundle-out)"
        )


def _evaluate_table(
    predictions: Path,
    calibration: Path | None,
    out: Path,
    training_only: tuple[str, ...],
    resamples: int,
    seed: int,
) -> None:
    from cxr_model.calibrate.calibration import Calibration
    from cxr_model.data.predictions import Predictions
    from cxr_model.evaluate.evaluation import evaluate as measure

    table = Predictions.from_csv(predictions)
    _check_sources(training_only, () if table.sources is None else table.sources)
    left = table.without_sources(training_only)
    _report_left_out(len(table), len(left), training_only)
    curves = Calibration.load(calibration) if calibration is not None else None
    result = measure(left, calibration=curves, resamples=resamples, seed=seed)
    _report(result, out)
    typer.echo(f"\nmetrics: {out}")


def _evaluate_films(films: _Films, out: Path, resamples: int, seed: int) -> None:
    from cxr_model.data.boxes import read_boxes
    from cxr_model.engine.choice import open_predictor
    from cxr_model.evaluate.card_metrics import refuse_fitted, with_metrics
    from cxr_model.evaluate.evaluation import evaluate as measure
    from cxr_model.evaluate.localisation import write_localisation
    from cxr_model.evaluate.metrics import measure_reliability
    from cxr_model.evaluate.score_films import score_films
    from cxr_model.evaluate.stability import measure_stability, write_stability
    from cxr_model.evaluate.text import localisation_text, stability_text
    from cxr_model.files.reliability_file import write_reliability
    from cxr_model.predict.bundle import STARTER, Bundle

    model = Bundle.load(films.bundle or STARTER)
    predictor = open_predictor(model, device=films.device, threads=films.threads)
    records, part = _films_to_measure(films, model)
    if films.bundle_out is not None:
        # Before the films are read, which may take hours.
        refuse_fitted(model.card, (record.patient_id for record in records))
    progress = sys.stderr.isatty()
    boxes = read_boxes(films.boxes) if films.boxes is not None else ()
    scored = score_films(predictor, records, boxes, progress=progress)
    neutralise = _safe_text()
    scored.calibrated.to_csv(out.with_name(f"{out.stem}_predictions.csv"), neutralise)
    scored.uncalibrated.to_csv(out.with_name(f"{out.stem}_uncalibrated.csv"), neutralise)
    result = measure(
        scored.calibrated,
        thresholds=model.card.thresholds,
        shifts=model.card.calibration.get("shifts"),
        resamples=resamples,
        seed=seed,
    )
    _report(result, out)
    if films.boxes is not None:
        write_localisation(scored.localisation, out.with_name(f"{out.stem}_localisation.csv"))
        print_text(f"\n{localisation_text(scored.localisation, draw)}")
    stability = None
    if films.stability:
        stability = measure_stability(
            *(predictor, records, scored.calibrated),
            resamples=resamples,
            seed=seed,
            progress=progress,
        )
        write_stability(stability, out.with_name(f"{out.stem}_stability.csv"))
        print_text(f"\n{stability_text(stability, draw)}")
    if films.bundle_out is not None:
        renewed = with_metrics(
            model,
            scored.calibrated,
            part=part,
            excluded=films.training_only,
            stability=stability,
            localisation=scored.localisation,
            resamples=resamples,
        )
        renewed.save(films.bundle_out)
        shifts = model.card.calibration.get("shifts", {})
        measured = measure_reliability(scored.calibrated, shifts, part)
        write_reliability(films.bundle_out, renewed.sha256, measured)
        typer.echo(f"\nbundle: {films.bundle_out}, sha256 {renewed.sha256}")
    typer.echo(f"\nmetrics: {out}")


def _films_to_measure(films: _Films, model: "Bundle") -> "tuple[Sequence[Record], str]":
    """Return the films, and the name of their part on a card."""
    from cxr_model.data.chestxray14 import load_labels
    from cxr_model.evaluate.card_metrics import training_only
    from cxr_model.evaluate.score_films import held_out_films, without_sources

    records = load_labels(films.images, films.labels, films.original_sizes).records
    _check_sources(films.training_only, (record.source for record in records))
    unseen = None if films.every_film else held_out_films(model, records)
    if unseen is not None:
        typer.echo(
            f"{model.card.name} was trained with this table: of {len(records)} films only the "
            f"{len(unseen)} of held-out patients are scored",
            err=True,
        )
        records = unseen
    excluded = {*films.training_only, *training_only(model.card)}
    left = without_sources(records, excluded)
    _report_left_out(len(records), len(left), excluded)
    return left, "evaluated" if unseen is None else "held_out"


def _check_sources(training_only: Sequence[str], sources: Iterable[str]) -> None:
    """Raise UsageError for a source that no film has: a typing error would measure its films."""
    from cxr_model.evaluate.evaluation import source_name

    known = {source.strip() for source in sources} - {""}
    unknown = [name for name in training_only if name not in known]
    if unknown:
        some = ", ".join(sorted(map(source_name, known))[:10])
        raise UsageError(
            f"--training-only {unknown[0]!r}: no film is of that source; "
            + (f"the sources are {some}" if some else "the table names no sources")
        )


def _report_left_out(before: int, after: int, training_only: Iterable[str]) -> None:
    names = ", ".join(sorted(training_only))
    if after == 0:
        raise UsageError(f"no film is left to measure: all {before} are of {names}")
    if after < before:
        typer.echo(
            f"{before - after} films are left out, because their source is for training only: "
            f"{names}",
            err=True,
        )


def _report(result: "Evaluation", out: Path) -> None:
    from cxr_model.evaluate.evaluation import write
    from cxr_model.evaluate.text import by_source_text, evaluation_text

    write(result, out, _safe_text())
    print_text(evaluation_text(result.table, draw))
    by_source = by_source_text(result.by_group, draw)
    if by_source:
        print_text(f"\n{by_source}")


def _safe_text() -> Callable[[str], str]:
    from storage.files.csv_file import neutralise

    return neutralise
