"""`cxrd store`: the store, its spool, and its move to another database. No logic."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, load_config
from daemon.cli.progress import progress_bar
from daemon.cli.tables import print_paragraph
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.config.settings import Config

store_app = typer.Typer()


@store_app.command("adopt-spool")
def adopt_spool(
    without_files: Annotated[
        bool,
        typer.Option(
            "--without-files",
            help="Accept a spool with none of the files that the store names. They stay missing "
            "until their senders send them again.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Make the configured spool the one of this store, with a new id; the daemon is stopped."""
    from daemon.audit.users import current_user
    from daemon.hosts.stopped import require_stopped
    from storage.files.places import open_spool
    from storage.store import Store

    settings = load_config(config)
    require_stopped(settings)
    spool = open_spool(settings.spool_place)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        missing = store.binding.adopt(spool, current_user(), without_files=without_files)
    typer.echo(f"{spool.place} is the spool of this store now")
    if missing:
        typer.echo(
            f"{missing} or more of the files that the store names are not there: `cxrd verify`"
            " lists them"
        )


@store_app.command()
def migrate(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="URL of an empty database: postgresql://USER@HOST/NAME, or sqlite:///PATH. Leave"
            " the password out, and put it into ~/.pgpass.",
        ),
    ] = None,
    to_file: Annotated[
        Path | None, typer.Option("--to-file", help="File with that URL on its only line.")
    ] = None,
    empty_target: Annotated[
        bool, typer.Option("--empty-target", help="Delete an unfinished copy, and begin again.")
    ] = False,
    keep_damage: Annotated[
        bool,
        typer.Option(
            "--keep-damage",
            help="Copy damaged text as the pages show it, and an altered audit trail as it is.",
        ),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Use the old store again: take back that it was moved.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Move the store to another database, and compare every row; the daemon is stopped meanwhile.

    An interrupted move goes on where it was with the same command.
    """
    if sum(each is not None for each in (to, to_file)) + undo != 1:
        raise UsageError("name the new database with --to or --to-file, or use --undo")
    settings = load_config(config)
    if undo:
        _take_back(settings)
        return
    if to_file is not None:
        from daemon.config.fields import read_secret

        to = read_secret(to_file).get_secret_value()
    _move(settings, to or "", empty=empty_target, keep_damage=keep_damage)


def _take_back(settings: "Config") -> None:
    from daemon.audit.users import current_user
    from storage.transfer.move import take_back

    url = settings.resolved_database_url
    place = take_back(url, actor=current_user())
    typer.echo(f"the store is in use again; what {place} has received since is not in it")


def _move(settings: "Config", to: str, *, empty: bool, keep_damage: bool) -> None:
    from cxr_model.engine.processors import usable_cores
    from daemon.audit.users import current_user
    from daemon.hosts.stopped import require_stopped
    from storage.transfer.move import Options, move_store

    require_stopped(settings)
    moved = move_store(
        settings.resolved_database_url,
        to,
        actor=current_user(),
        phase=progress_bar,
        options=Options(empty=empty, keep_damage=keep_damage, processes=usable_cores()),
    )
    for damage in moved.damage:
        print_paragraph(f"kept damaged: {damage}")
    typer.echo(
        f"moved: {moved.rows} row(s) in {moved.tables} tables are the same in both databases, and"
        f" the audit trail is verified up to row {moved.head.number}"
    )
    typer.echo("now set this in the configuration of every host, with the password if it has one:")
    typer.echo(f"database_url: {moved.database_url}")
