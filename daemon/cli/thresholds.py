"""`cxrd model thresholds`: chooses the thresholds of a bundle on labelled films of a site."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cxr_model.calibrate.goal import MAX_FALSE_CALLS, Goal

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
    renewed = rethreshold_bundle(Bundle.load(bundle), films, goal=goal, now=datetime.now(UTC))
    renewed.save(bundle_out)
    typer.echo(operating_text(renewed))
    typer.echo(f"\nbundle: {bundle_out}, sha256 {renewed.sha256}")
