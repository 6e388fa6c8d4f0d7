"""Options that several commands share."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; default: ./config.yaml if there."),
]


def _as_utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    return moment.replace(tzinfo=datetime.UTC) if moment is not None else None


SinceOption = Annotated[
    datetime.datetime | None,
    typer.Option(callback=_as_utc, help="Only rows of this time (UTC) or later."),
]

UntilOption = Annotated[
    datetime.datetime | None,
    typer.Option(callback=_as_utc, help="Only rows of an earlier time (UTC)."),
]
