"""`cxrd purge`, `cxrd backup` and `cxrd verify`. No logic."""

import contextlib
import dataclasses
import datetime
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json
from daemon.cli.progress import beside_bars, progress_bar, progress_of, waiting
from daemon.cli.tables import Column, print_paragraph, print_table
from daemon.errors import UsageError

if TYPE_CHECKING:
    from storage.upkeep.old_studies import OldStudy

upkeep_app = typer.Typer()

_OLD_COLUMNS = (
    Column("Study"),
    Column("Images", right=True),
    Column("Objects", right=True),
    Column("Size", right=True),
)


@upkeep_app.command()
def purge(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only list the studies to purge, and count those that stay with the reason.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Delete the files of delivered studies that are older than retention.days."""
    from daemon.audit.users import current_user
    from daemon.deliver.purge import old_studies
    from daemon.deliver.purge import purge as purge_studies
    from storage.files.places import open_spool
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        if dry_run:
            _show_old_studies(old_studies(settings, store))
            return
        spool = open_spool(settings.spool_place)
        store.binding.require(spool)
        old = sum(study.hold is None for study in old_studies(settings, store))
        purged = []
        with progress_bar(old, "study", "purging") as progress:
            for study in purge_studies(settings, store, spool, current_user()):
                purged.append(study)
                progress(1)
    megabytes = sum(study.size for study in purged) / 2**20
    typer.echo(f"{len(purged)} study(ies) are purged, {megabytes:.1f} MB freed")


def _show_old_studies(old: "Sequence[OldStudy]") -> None:
    purgeable = [study for study in old if study.hold is None]
    print_table(
        _OLD_COLUMNS,
        (
            (
                f"study of instance {study.number}",
                f"{study.images} image(s)",
                f"{study.objects} object(s)",
                _megabytes(study),
            )
            for study in purgeable
        ),
    )
    size = sum(study.size for study in purgeable)
    holds = Counter(study.hold for study in old)
    typer.echo(f"{holds.pop(None, 0)} study(ies) would be purged, {size / 2**20:.1f} MB")
    for hold, count in holds.items():
        print_paragraph(f"{count} older study(ies) stay: {hold}")


def _megabytes(study: "OldStudy") -> str:
    return f"{study.size / 2**20:.1f} MB"


@upkeep_app.command()
def backup(
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder of all backups; the new backup is a folder inside."),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Check this backup instead of making one.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Copy the store and every file it names; the daemon may run meanwhile."""
    if (to is None) == (verify is None):
        raise UsageError("name the folder for backups with --to, or a backup with --verify")
    if verify is not None:
        _verify_backup(verify)
    elif to is not None:
        _make_backup(to, config)


def _verify_backup(folder: Path) -> None:
    from storage.upkeep.backup import check_backup

    with progress_of("B", "checking the backup") as progress:
        intact, faults = check_backup(folder, progress)
    for fault in faults:
        print_paragraph(fault)
    if faults:
        raise UsageError(f"{folder}: {len(faults)} fault(s) in this backup; use another one")
    typer.echo(f"{folder}: {intact} file(s), all as they were backed up")


def _make_backup(into: Path, config: Path | None) -> None:
    from daemon.audit.users import current_user
    from storage.audit.records import AuditKind, AuditOutcome
    from storage.errors import StorageError
    from storage.files.places import open_spool
    from storage.store import Store
    from storage.upkeep.backup import back_up

    settings = load_config(config)
    spool = open_spool(settings.spool_place)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        record = functools.partial(store.audit.record, AuditKind.BACKED_UP, actor=current_user())
        # Recorded before the backup too, so that the copied trail contains the backup.
        record(detail=f"begun, to {into}")
        try:
            store.binding.require(spool)
            with progress_of("B", "backing up") as progress:
                folder, made = back_up(
                    settings.resolved_database_url,
                    spool,
                    into,
                    store.leases,
                    datetime.datetime.now(datetime.UTC),
                    progress=progress,
                )
        except StorageError as error:
            # On a full disk this row may fail, too; the error of the backup is the one to show.
            with contextlib.suppress(StorageError):
                record(outcome=AuditOutcome.FAILURE, detail=f"not made, to {into}: {error}")
            raise
        record(detail=f"made: {folder}, {made.files} file(s), {len(made.damaged)} left out")
    typer.echo(
        f"{folder}: {made.files} file(s) and the store, {made.size / 2**20:.1f} MB; "
        f"{made.linked} file(s) are shared with the previous backup"
    )
    if made.damaged:
        raise UsageError(
            f"{len(made.damaged)} file(s) are damaged or missing and were left out: "
            f"{', '.join(made.damaged[:10])}; `cxrd verify` lists them"
        )


@upkeep_app.command()
def verify(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Check only that each file is present and has its recorded size."
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check the store, and the SHA-256 of every file it names."""
    from storage.files.places import open_spool
    from storage.store import Store
    from storage.upkeep.integrity import check_store

    settings = load_config(config)
    spool = open_spool(settings.spool_place)
    with waiting("checking the store"):
        check_store(settings.resolved_database_url, spool, None)
    faults = []
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        store.binding.require(spool)
        with progress_of("B", "verifying") as progress:
            for fault in store.integrity.faults(spool, read=not quick, progress=progress):
                faults.append(fault)
                if not as_json:
                    with beside_bars():
                        print_paragraph(str(fault))
    if as_json:
        print_json({"ok": not faults, "faults": [dataclasses.asdict(fault) for fault in faults]})
    if faults:
        raise UsageError(f"{len(faults)} file(s) are missing or altered; see above")
    if not as_json:
        typer.echo("the store is sound, and every file is present and unaltered")
