"""`cxrd model calibrate`: curves from a table of predictions, or from the reviews of a site."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cxr_model.calibrate.goal import MAX_FALSE_CALLS, Goal
from cxr_model.predict.choices import Prevalence, Sharing
from daemon.cli.options import ConfigOption
from daemon.cli.tables import Column, print_table, print_text
from daemon.errors import UsageError

if TYPE_CHECKING:
    from cxr_model.calibrate.calibration import Calibration
    from cxr_model.data.predictions import Predictions

FalseCallsOption = Annotated[
    float | None,
    typer.Option(
        help="At most these false calls per film without findings, on these predictions; "
        f"default: {MAX_FALSE_CALLS}."
    ),
]
SpecificityOption = Annotated[
    float | None,
    typer.Option(help="Instead: at least this specificity, finding by finding."),
]

_CURVES = (Column("Label"), Column("Curve"), Column("Prevalence"))
_NOT_MEASURED = "not in the table of the site"
_LOCAL = "--local"
_REVIEWS = "reviews"
"""Value of `--local` without a file."""


class WithReviews(TyperCommand):
    """A command whose option `--local` may stand without a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give `--local` the value `reviews` where no file follows it."""
        completed = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            completed.append(word)
            if word == _LOCAL and (not following or following.startswith("-")):
                completed.append(_REVIEWS)
        return super().parse_args(ctx, completed)


def calibrate(
    out: Annotated[Path, typer.Option(help="The calibration.json to write.")],
    predictions: Annotated[
        Path | None,
        typer.Option(help="CSV (or .csv.gz): image, patient_id, prob_<label>…, y_<label>…"),
    ] = None,
    method: Annotated[
        list[Sharing] | None,
        typer.Option(
            help="Ways to fit the curves of all labels; repeat for more. The best on left-out "
            "patients is taken. Default: common, platt and beta (reviews: common and platt)."
        ),
    ] = None,
    prevalence: Annotated[
        str,
        typer.Option(
            help="Prevalence that the probabilities hold for: sample (that of PREDICTIONS, or of "
            "--local), nih (the whole label table of ChestX-ray14), or a CSV: label, prevalence."
        ),
    ] = Prevalence.SAMPLE,
    local: Annotated[
        Path | None,
        typer.Option(
            metavar="[FILE]",
            help="Predictions of a site, in the layout of PREDICTIONS: the offset of each curve is "
            "refitted to them. Without FILE and without --predictions: the reviews in the store "
            "of --config.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Bundle that gave PREDICTIONS, before its calibration; with reviews, the bundle "
            "whose films count. Default with reviews: that of the configuration."
        ),
    ] = None,
    bundle_out: Annotated[
        Path | None, typer.Option(help="Folder for BUNDLE with the new curves and thresholds.")
    ] = None,
    max_false_calls: FalseCallsOption = None,
    specificity: SpecificityOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the cross-validation over patients.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Fit a calibration curve per label; they are selected on patients left out of the fit.

    With --local FILE, predictions of a site, the offset of each curve is refitted to its
    prevalence. With --local alone, the labels are the reviews of the site and the predictions are
    those that its films were recorded with; see docs/measuring.md.
    """
    goal_given = max_false_calls is not None or specificity is not None
    if local == Path(_REVIEWS) and predictions is None:
        from daemon.cli.bundles.reviews import calibrate_by_reviews

        if prevalence != Prevalence.SAMPLE:
            raise UsageError("reviews take the prevalence of the site: leave out --prevalence")
        if goal_given:
            raise UsageError(
                "with reviews each threshold moves with its curve, so that the same films are "
                "called: leave out --max-false-calls and --specificity, and choose thresholds with "
                "`cxrd model thresholds` on labelled films"
            )
        calibrate_by_reviews(out, config, bundle, bundle_out, method, seed)
        return
    if predictions is None:
        raise UsageError(
            "give the labels: --predictions FILE, or --local alone for the reviews in the store"
        )
    if local == Path(_REVIEWS):
        raise UsageError(
            "--local without a file reads the reviews, whose films bring their predictions: leave "
            "out --predictions, or name the site's table (--local FILE)"
        )
    if config is not None:
        raise UsageError("--config names the store of the reviews: leave it out with --predictions")
    if (bundle is None) is not (bundle_out is None):
        raise UsageError("--bundle and --bundle-out belong together: give both or neither")
    if goal_given and bundle is None:
        raise UsageError(
            "--max-false-calls and --specificity choose the thresholds of a bundle: give --bundle "
            "and --bundle-out, too, or leave them out"
        )
    goal = Goal.of(max_false_calls=max_false_calls, specificity=specificity)
    if local is not None and prevalence != Prevalence.SAMPLE:
        raise UsageError("--local takes the prevalence of the site: leave out --prevalence")
    _calibrate_by_table(
        predictions, out, local, prevalence, method, (bundle, bundle_out), goal, seed
    )


def _calibrate_by_table(
    predictions: Path,
    out: Path,
    local: Path | None,
    prevalence: str,
    method: list[Sharing] | None,
    bundles: tuple[Path | None, Path | None],
    goal: Goal,
    seed: int,
) -> None:
    from cxr_model.calibrate.calibration import calibrate as fit
    from cxr_model.calibrate.calibration import refit_offsets
    from cxr_model.calibrate.prevalence import target_prevalence
    from cxr_model.calibrate.selection import DEFAULT_METHODS
    from cxr_model.data.predictions import Predictions
    from cxr_model.evaluate.text import slope_line
    from cxr_model.evaluate.unseen import (
        CROSS_VALIDATED,
        calibration_record,
        left_out_slope,
        slope_of,
    )

    fitted = Predictions.from_csv(predictions)
    target = target_prevalence(prevalence, fitted.labels)
    methods = tuple(method or DEFAULT_METHODS)
    calibration = fit(fitted, methods=methods, seed=seed, prevalence=target)
    if local is None:
        slope, measured = left_out_slope(fitted, methods=methods, seed=seed), CROSS_VALIDATED
    else:
        fitted = Predictions.from_csv(local)
        slope, measured = slope_of(calibration.apply(fitted), seed=seed), "patients of the site"
        calibration = refit_offsets(calibration, fitted)
    calibration.save(out)
    shares = calibration.prevalence
    # A site's table may lack labels, whose curves stay.
    rows = (
        (label, curve["method"], f"{shares[label]:.4f}" if label in shares else _NOT_MEASURED)
        for label, curve in calibration.to_card().items()
    )
    print_table(_CURVES, rows)
    print_text(slope_line(slope.value, slope.low, slope.high))
    typer.echo(f"calibration: {out}; score it on other patients with `cxrd model evaluate`")
    bundle, bundle_out = bundles
    if bundle is not None and bundle_out is not None:
        agreement = calibration_record(calibration, slope, measured)
        _write_recalibrated(bundle, bundle_out, calibration, fitted, agreement, goal)


def _write_recalibrated(
    bundle: Path,
    out: Path,
    calibration: "Calibration",
    fitted: "Predictions",
    agreement: dict[str, Any],
    goal: Goal,
) -> None:
    from cxr_model.calibrate.operating_point import recalibrate_bundle
    from cxr_model.predict.bundle import Bundle

    renewed = recalibrate_bundle(
        Bundle.load(bundle),
        calibration,
        fitted,
        agreement,
        goal=goal,
        now=datetime.datetime.now(datetime.UTC),
    )
    renewed.save(out)
    typer.echo(f"bundle: {out}, sha256 {renewed.sha256}")
