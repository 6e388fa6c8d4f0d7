"""The commands about what is kept: purge, backup, verify. No logic, as in `cli.py`."""

import datetime
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.config.settings import load_config
from daemon.errors import UsageError

if TYPE_CHECKING:
    from storage.upkeep.retention import OldStudy

store_app = typer.Typer()

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; default: ./config.yaml if there."),
]


@store_app.command()
def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would go, and what stays and why.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Delete the files of what is delivered everywhere and older than retention.days, now."""
    from daemon.audit.users import current_user
    from daemon.deliver import purge as housekeeping
    from storage.files.spool import Spool
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        if dry_run:
            _show_old(housekeeping.old_studies(settings, store))
            return
        store.integrity.require_spool(settings.spool_dir)
        spool = Spool(settings.spool_dir, create=False)
        purged = list(housekeeping.purge(settings, store, spool, current_user()))
    megabytes = sum(one.size for one in purged) / 2**20
    typer.echo(f"{len(purged)} study(ies) are purged, {megabytes:.1f} MB are free again")


def _show_old(old: "Sequence[OldStudy]") -> None:
    for one in old:
        if one.hold is None:
            typer.echo(
                f"study of instance {one.number}: {one.images} image(s), {one.objects} object(s), "
                f"{one.size / 2**20:.1f} MB"
            )
    size = sum(one.size for one in old if one.hold is None)
    holds = Counter(one.hold for one in old)
    typer.echo(f"{holds.pop(None, 0)} study(ies) would be purged, {size / 2**20:.1f} MB")
    for hold, count in holds.items():
        typer.echo(f"{count} older study(ies) stay: {hold}")


@store_app.command()
def backup(
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder that holds backups; a new one is made in it."),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", help="Check this backup instead of making one.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Copy the store and every file it names, while the daemon runs."""
    if (to is None) == (verify is None):
        raise UsageError("name the folder for backups with --to, or a backup to --verify")
    if verify is not None:
        _verify_backup(verify)
    elif to is not None:
        _make_backup(to, config)


def _verify_backup(folder: Path) -> None:
    from storage.upkeep.backup_check import check_backup

    good, wrong = check_backup(folder)
    for line in wrong:
        typer.echo(line)
    if wrong:
        raise UsageError(f"{folder}: {len(wrong)} fault(s) in this backup; use another one")
    typer.echo(f"{folder}: {good} file(s), all as they were backed up")


def _make_backup(into: Path, config: Path | None) -> None:
    from daemon.audit.users import current_user
    from storage.audit.records import AuditKind, AuditOutcome
    from storage.errors import StorageError
    from storage.files.spool import Spool
    from storage.store import Store
    from storage.upkeep.backup import back_up

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        record = functools.partial(store.audit.record, AuditKind.BACKED_UP, actor=current_user())
        # Before it is made, too, so that the copy of the trail tells of itself.
        record(detail=f"begun, to {into}")
        try:
            store.integrity.require_spool(settings.spool_dir)
            folder, made = back_up(
                settings.resolved_database_url,
                Spool(settings.spool_dir, create=False),
                into,
                settings.maintenance_lock,
                datetime.datetime.now(datetime.UTC),
            )
        except StorageError as error:
            record(outcome=AuditOutcome.FAILURE, detail=f"not made, to {into}: {error}")
            raise
        record(detail=f"made: {folder}, {made.files} file(s), {len(made.damaged)} left out")
    typer.echo(
        f"{folder}: {made.files} file(s) and the store, {made.size / 2**20:.1f} MB; "
        f"{made.linked} file(s) are shared with the backup before"
    )
    if made.damaged:
        raise UsageError(
            f"{len(made.damaged)} file(s) are damaged or missing and were left out: "
            f"{', '.join(made.damaged[:10])}; cxrd verify says more"
        )


@store_app.command()
def verify(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only whether files are there and as long as they were.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Check the store itself, and every file it names by its SHA-256."""
    from storage.files.spool import Spool
    from storage.store import Store
    from storage.upkeep.integrity import require_sound

    settings = load_config(config)
    require_sound(settings.resolved_database_url, settings.spool_dir, None)
    faults = 0
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        store.integrity.require_spool(settings.spool_dir)
        spool = Spool(settings.spool_dir, create=False)
        for fault in store.integrity.faults(spool, read=not quick):
            faults += 1
            typer.echo(str(fault))
    if faults:
        raise UsageError(f"{faults} file(s) are missing or altered; see above")
    typer.echo("the store is sound, and every file is there as it was written")
