"""Options that several commands share."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.config.settings import Config

ConfigOption = Annotated[
    Path | None,
    # A file that this user cannot read is refused by `read_yaml`, in one line.
    typer.Option(
        "--config",
        "-c",
        readable=False,
        help="Configuration file; default: ./config.yaml if there.",
    ),
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

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document (docs/commands.md).")
]


RolesOption = Annotated[
    str | None,
    typer.Option("--only", help="Check what these roles need, as serve --only runs them."),
]


def load_config(path: Path | None) -> "Config":
    """Read the configuration; see `daemon.config.settings`, which no help needs."""
    from daemon.config.loading import load_config as load

    return load(path)


def print_json(document: Mapping[str, object]) -> None:
    """Print the document of a command in ASCII: it may quote a peer. Times are in ISO 8601."""
    typer.echo(json.dumps(document, indent=1, default=_in_json))


def raise_refused(lines: Sequence[str], summary: str) -> None:
    """Raise UsageError if there are lines: with the only line, or after all of them on stderr."""
    if len(lines) == 1:
        raise UsageError(lines[0])
    for line in lines:
        typer.echo(line, err=True)
    if lines:
        raise UsageError(f"{len(lines)} {summary}; see above")


def _in_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)
