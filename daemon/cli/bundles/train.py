"""`cxrd model train` and `train-check`: training of the model and of the picture check.

The options of `train` are the settings of `TrainingConfig`.
"""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from cxr_model.train.config import Initialisation, Option, TrainingConfig
from daemon.cli.tables import draw, print_text
from daemon.errors import UsageError

# Types of the options whose setting has a type that typer does not know.
_TYPES: dict[str, Any] = {
    "init": str,
    "teachers": list[Path] | None,
    "training_only": list[str] | None,
}


def train(**settings: Any) -> None:
    """Train a DenseNet-121, calibrate it and measure it on patients it has not seen."""
    from cxr_model.evaluate.text import bundle_text
    from cxr_model.train import training
    from daemon.config.sections.log import LogConfig
    from daemon.worker.logs.setup import configure_logging

    configure_logging(LogConfig(), "train")
    config = TrainingConfig(**settings | _converted(**settings))
    bundle = training.train(config, now=lambda: datetime.now(UTC), progress=sys.stderr.isatty())
    print_text(bundle_text(bundle, draw))
    typer.echo(f"\nbundle: {config.out}")


def _converted(
    *, init: str, teachers: list[Path] | None, training_only: list[str] | None, **_: Any
) -> dict[str, Any]:
    """Return the settings of `_TYPES` in the type of their field."""
    is_path = init not in list(Initialisation)
    return {
        "init": Path(init) if is_path else Initialisation(init),
        "teachers": tuple(teachers or ()),
        "training_only": tuple(training_only or ()),
    }


def _parameters() -> Iterator[Parameter]:
    """Yield a parameter for typer per setting of `TrainingConfig` with an `Option`."""
    hints = get_type_hints(TrainingConfig, include_extras=True)
    for field in fields(TrainingConfig):
        type_, *metadata = get_args(hints[field.name]) or (hints[field.name],)
        for option in metadata:
            if isinstance(option, Option):
                names = [option.name] if option.name else []
                shown = typer.Option(*names, help=option.help)
                yield Parameter(
                    field.name,
                    Parameter.KEYWORD_ONLY,
                    default=Parameter.empty if field.default is MISSING else field.default,
                    annotation=Annotated[_TYPES.get(field.name, type_), shown],
                )


vars(train)["__signature__"] = Signature(list(_parameters()))


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
    from cxr_model.check.training.make_check import train_check as make
    from cxr_model.check.training.measurement import figure_rows
    from daemon.config.sections.log import LogConfig
    from daemon.worker.logs.setup import configure_logging

    configure_logging(LogConfig(), "train-check")
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
    check, figures = make(settings, datetime.now(UTC))
    for line in draw(figure_rows(figures)):
        typer.echo(line)
    typer.echo(f"\n{check.card.thresholds}")
    typer.echo(f"picture check: {out}, sha256 {check.card.sha256}")


def _licence(text: str) -> tuple[str, str]:
    name, equals, licence = text.partition("=")
    if not (name and equals and licence):
        raise UsageError(f"--licence {text!r} is not NAME=TEXT")
    return name, licence
