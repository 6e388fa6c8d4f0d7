"""`cxrd model train-check`: trains the check that a picture is a frontal chest film."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from daemon.errors import UsageError


def train_check(
    frontal: Annotated[
        list[Path],
        typer.Option(
            help="Frontal chest films, upright and right way round: a folder, or a table (CSV) "
            "with the column file; optional columns are kind, group or patient_id, licence, "
            "source. Repeat for more."
        ),
    ],
    other: Annotated[
        list[Path],
        typer.Option(
            help="Pictures of anything else, as for --frontal; kind lateral is a lateral chest "
            "film. Repeat for more."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the weights and the card.")],
    lateral: Annotated[
        list[Path] | None, typer.Option(help="Lateral chest films, as for --frontal.")
    ] = None,
    volume: Annotated[
        list[Path] | None,
        typer.Option(help="Chest CT as NIfTI-1, projected to lateral and frontal films."),
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=TEXT: licence of a folder, of the folder of a table, or of a volume's file."
        ),
    ] = None,
    training_only: Annotated[
        list[str] | None,
        typer.Option(help="A source whose films never choose thresholds and never measure."),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Most frontal films of a source that train.")
    ] = 1500,
    seed: Annotated[int, typer.Option(help="Seed of the division and of the training.")] = 0,
) -> None:
    """Train a picture check and measure it on held-out patients.

    Pictures under a non-commercial licence (NC) are measured and never train.
    """
    from cxr_model.check.training.make_check import CheckSettings
    from cxr_model.check.training.make_check import train_check as train
    from cxr_model.check.training.measurement import figures_text
    from daemon.worker.role import configure_logging

    configure_logging()
    settings = CheckSettings(
        out=out,
        frontal=frontal,
        other=other,
        lateral=lateral or (),
        volume=volume or (),
        licences=dict(_licence(text) for text in licence or ()),
        training_only=frozenset(training_only or ()),
        most=most,
        seed=seed,
    )
    check, figures = train(settings, datetime.now(UTC))
    typer.echo(figures_text(figures))
    typer.echo(f"\n{check.card.thresholds}")
    typer.echo(f"picture check: {out}, sha256 {check.card.sha256}")


def _licence(text: str) -> tuple[str, str]:
    name, equals, licence = text.partition("=")
    if not (name and equals and licence):
        raise UsageError(f"--licence {text!r} is not NAME=TEXT")
    return name, licence
