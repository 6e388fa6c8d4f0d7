"""`cxrd model`: commands for bundles. Each command reads its options, calls `cxr_model` and prints.

The commands import numeric libraries when they run, so that the help needs none.
"""

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_model.calibrate.goal import Goal
from daemon.cli.bundles.calibrate import (
    FalseCallsOption,
    SpecificityOption,
    WithReviews,
    calibrate,
)
from daemon.cli.bundles.evaluate import evaluate
from daemon.cli.bundles.train import train, train_check
from daemon.cli.tables import draw, print_text
from daemon.errors import UsageError

if TYPE_CHECKING:
    from cxr_model.predict.bundle import Bundle

model_app = typer.Typer()


model_app.command()(train)
model_app.command("train-check")(train_check)


@model_app.command()
def thresholds(
    predictions: Annotated[
        Path,
        typer.Option(
            help="CSV (or .csv.gz) of BUNDLE's network before calibration, "
            "OUT_uncalibrated.csv of evaluate: image, patient_id, prob_<label>…, y_<label>…"
        ),
    ],
    bundle: Annotated[Path, typer.Option(help="Bundle that gave PREDICTIONS.")],
    bundle_out: Annotated[Path, typer.Option(help="Folder for BUNDLE with the new thresholds.")],
    max_false_calls: FalseCallsOption = None,
    ppv: Annotated[
        float | None,
        typer.Option(help="Instead: at least this share of true calls, over all findings."),
    ] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(help="Instead: at least this share of positives called, over all findings."),
    ] = None,
    specificity: SpecificityOption = None,
) -> None:
    """Choose thresholds on labelled films of patients that the bundle has not seen.

    All findings share one likelihood ratio; see docs/measuring.md. BUNDLE keeps its weights and its
    calibration.
    """
    from cxr_model.calibrate.site_thresholds import rethreshold_bundle
    from cxr_model.data.predictions import Predictions
    from cxr_model.evaluate.text import operating_text
    from cxr_model.predict.bundle import Bundle

    goal = Goal.of(
        max_false_calls=max_false_calls, ppv=ppv, sensitivity=sensitivity, specificity=specificity
    )
    films = Predictions.from_csv(predictions)
    renewed = rethreshold_bundle(Bundle.load(bundle), films, goal=goal, now=_now())
    renewed.save(bundle_out)
    print_text(operating_text(renewed, draw))
    typer.echo(f"\nbundle: {bundle_out}, sha256 {renewed.sha256}")


@model_app.command()
def show(
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder of a bundle; default: the starter.")
    ] = None,
) -> None:
    """Show a bundle's identity, intended use, thresholds, metrics and provenance."""
    from cxr_model.engine.choice import open_predictor
    from cxr_model.evaluate.text import bundle_text
    from cxr_model.predict.bundle import STARTER, Bundle
    from cxr_model.reference_film import reference_sentence

    model = Bundle.load(bundle or STARTER)
    predictor = open_predictor(model)
    difference = predictor.check_reference()
    print_text(bundle_text(model, draw))
    print_text(f"\nengine: {predictor.engine.name}")
    print_text(reference_sentence(difference))


model_app.command(cls=WithReviews)(calibrate)
model_app.command()(evaluate)


@model_app.command("import")
def import_checkpoint(
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    file: Annotated[Path | None, typer.Argument(help="A DenseNet-121 checkpoint.")] = None,
    download: Annotated[
        str | None,
        typer.Option(
            help="Fetch published weights instead: densenet121-res224-all, -pc or -nih of "
            "torchxrayvision. An interrupted download is resumed."
        ),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="URL of a folder with the published files.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name; default: that of the file or weights.")
    ] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    allow_modules: Annotated[
        bool,
        typer.Option("--allow-modules", help="Read pickled modules, too, without running code."),
    ] = False,
    sha256: Annotated[str | None, typer.Option(help="Required sha256 of the file.")] = None,
    golden: Annotated[
        Path | None,
        typer.Option(
            help=".npz or .safetensors with `input` and the original network's `logits`; the "
            "import is refused if its logits differ."
        ),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Largest difference of a golden logit.")] = 1e-4,
) -> None:
    """Make a bundle of a published checkpoint; refuse it unless every weight fits."""
    from cxr_model.checkpoints.golden import check_golden
    from cxr_model.checkpoints.importers import import_bundle

    if (file is None) is (download is None):
        raise UsageError("name a checkpoint FILE, or published weights with --download")
    if file is not None:
        bundle = import_bundle(
            file,
            name=name or file.name.split(".")[0],
            version=version,
            now=_now(),
            allow_modules=allow_modules,
            sha256=sha256,
        )
    else:
        bundle = _download(str(download), out, mirror, name, version, allow_modules, sha256)
    if golden is not None:
        difference = check_golden(bundle, golden, tolerance=tolerance)
        typer.echo(f"golden logits: largest difference {difference:.2g}")
    bundle.save(out)
    typer.echo(f"bundle: {out}, sha256 {bundle.sha256}")
    typer.echo("not calibrated to your films yet: see docs/measuring.md. Research use only.")


def _download(
    download: str,
    out: Path,
    mirror: str | None,
    name: str | None,
    version: str,
    allow_modules: bool,
    sha256: str | None,
) -> "Bundle":
    from cxr_model.checkpoints.published import import_published, published

    weights = published(download)
    folder = out.with_name(f"{out.name}.download")
    typer.echo(f"fetching into {folder}; it can be deleted afterwards", err=True)
    return import_published(
        weights,
        folder,
        name=name,
        version=version,
        now=_now(),
        mirror=mirror,
        allow_modules=allow_modules,
        sha256=sha256,
        progress=sys.stderr.isatty(),
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
