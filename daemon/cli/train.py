"""`cxrd model train`: a command whose options are the settings of `TrainingConfig`."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from cxr_model.train.config import Initialisation, Option, TrainingConfig

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
    from daemon.worker.role import configure_logging

    configure_logging()
    config = TrainingConfig(**settings | _converted(**settings))
    bundle = training.train(config, now=lambda: datetime.now(UTC), progress=sys.stderr.isatty())
    typer.echo(bundle_text(bundle))
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
