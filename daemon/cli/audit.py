"""`cxrd audit`: check and export the audit trail. No logic."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import (
    ConfigOption,
    JsonOption,
    SinceOption,
    UntilOption,
    load_config,
    print_json,
)
from daemon.cli.progress import progress_bar
from daemon.errors import UsageError

audit_app = typer.Typer()


@audit_app.command("verify")
def audit_verify(
    head: Annotated[
        str | None,
        typer.Option(help="A head noted earlier, NUMBER:HASH, that the trail must still contain."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check the hash chain: name the first altered row, or print the head to note elsewhere."""
    from cxr_model.engine.processors import usable_cores
    from storage.audit.records import AuditHead
    from storage.store import Store

    try:
        noted = None if head is None else AuditHead.parse(head)
    except ValueError as error:
        raise UsageError(f"--head: {error}") from None
    with (
        Store.open(load_config(config).resolved_database_url, migrate=False) as store,
        progress_bar(store.audit.count(), "row", "verifying") as progress,
    ):
        found = store.audit.verify(noted, progress, usable_cores())
    if as_json:
        print_json({"ok": True, "rows": found.number, "head": str(found)})
        return
    typer.echo(f"{found.number} row(s), none altered; head {found}")


class TrailFormat(StrEnum):
    """Values of `--format`."""

    CSV = "csv"
    DICOM_XML = "dicom-xml"


@audit_app.command("export")
def audit_export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    form: Annotated[
        TrailFormat, typer.Option("--format", help="CSV, or one DICOM audit message per line.")
    ] = TrailFormat.CSV,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the trail to a file; the export is itself recorded."""
    from cxr_model.engine.processors import usable_cores
    from daemon.audit.export import export_csv, export_messages
    from storage.store import Store

    settings = load_config(config)
    with (
        Store.open(settings.resolved_database_url, migrate=False) as store,
        progress_bar(store.audit.count(since, until), "row", "exporting") as progress,
    ):
        if form is TrailFormat.CSV:
            written = export_csv(store, out, since, until, progress, usable_cores())
        else:
            written = export_messages(settings, store, out, since, until, progress)
    typer.echo(f"{written} row(s) in {out}")
