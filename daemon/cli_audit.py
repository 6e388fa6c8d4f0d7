"""`cxrd audit`: the trail of what happened, checked and exported. No logic."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.config import load_config
from daemon.errors import UsageError

audit_app = typer.Typer(no_args_is_help=True, help="The audit trail.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; default: ./config.yaml if there."),
]


@audit_app.command("verify")
def audit_verify(
    head: Annotated[
        str | None,
        typer.Option(help="A head noted earlier, NUMBER:HASH, that the trail must still hold."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check the hash chain: name the first altered row, or print the head to note elsewhere."""
    from storage.audit_records import AuditHead
    from storage.store import Store

    try:
        noted = None if head is None else AuditHead.parse(head)
    except ValueError as error:
        raise UsageError(f"--head: {error}") from None
    with Store.open(load_config(config).resolved_database_url, migrate=False) as store:
        found = store.audit.verify(noted)
    typer.echo(f"{found.number} row(s), none altered; head {found}")
