"""`cxrd studies`: the studies in doubt, and their release. No logic."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, load_config

if TYPE_CHECKING:
    from storage.records import HeldStudy

studies_app = typer.Typer()


@studies_app.command("list")
def studies_list(config: ConfigOption = None) -> None:
    """List the studies in doubt with their films, held longest first."""
    from storage.store import Store

    with Store.open(load_config(config).resolved_database_url, migrate=False) as store:
        held = store.studies.held()
    for study in held:
        for line in _lines(study):
            typer.echo(line)
    if not held:
        typer.echo("no study is in doubt")


def _lines(study: "HeldStudy") -> Iterator[str]:
    source = study.key.source or "not known"
    yield (
        f"{study.key.study_instance_uid}  {study.hold.reason}, source {source}, "
        f"since {study.since:%Y-%m-%d %H:%M} UTC"
    )
    for number, films in enumerate(study.patients, 1):
        for film in films:
            yield (
                f"    group {number}: {film.sop_instance_uid}, revision {film.revision}, image "
                f"{film.number}, from {film.calling_ae_title}, {film.received_at:%Y-%m-%d %H:%M}"
            )


@studies_app.command("release")
def studies_release(
    study: Annotated[str, typer.Argument(help="The Study Instance UID.", metavar="STUDY_UID")],
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="SOP_UID", help="A film to set aside; may be repeated."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(help="More films to set aside, after --drop.", metavar="SOP_UID"),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The source, if several sources hold the study.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Set films of a study in doubt aside, and report the others.

    It is refused while the study holds two patients. A film that was sent again is taken as it was
    sent last.
    """
    from daemon.audit.users import current_user
    from daemon.errors import UsageError
    from daemon.worker.bell import ring_all
    from storage.store import Store

    if more and not drop:
        raise UsageError("name films to set aside after --drop")
    dropped = {*(drop or ()), *(more or ())}
    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        store.studies.release(study, dropped, source=source, actor=current_user())
    ring_all(settings)
    typer.echo(f"{study} is released, {len(dropped)} film(s) set aside; its report is made again")
