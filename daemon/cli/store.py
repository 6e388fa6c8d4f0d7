"""`cxrd store`: the store and its spool. No logic."""

from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, load_config
from daemon.errors import UsageError

store_app = typer.Typer()


@store_app.callback()
def _group() -> None:
    """Make a group of the only command."""


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
    from daemon.worker.board import RoleState, roles_here
    from storage.files.places import open_spool
    from storage.store import Store

    settings = load_config(config)
    if any(status.state is not RoleState.DOWN for status in roles_here(settings)):
        raise UsageError("this node runs: stop it on every host, then try again")
    spool = open_spool(settings.spool_place)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        missing = store.binding.adopt(spool, current_user(), without_files=without_files)
    typer.echo(f"{spool.place} is the spool of this store now")
    if missing:
        typer.echo(
            f"{missing} or more of the files that the store names are not there: `cxrd verify`"
            " lists them"
        )
