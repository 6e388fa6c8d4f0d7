"""`cxrd studies`: studies in doubt and their release; work done again. No logic."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json, raise_refused
from daemon.cli.tables import Column, print_paragraph, print_table
from daemon.errors import UsageError

if TYPE_CHECKING:
    from storage.images.by_hand.repetition import Repetition
    from storage.records import HeldStudy

studies_app = typer.Typer()

StudyArgument = Annotated[str, typer.Argument(help="The Study Instance UID.", metavar="STUDY_UID")]
_FILM_COLUMNS = (
    # The whole UID: `--drop` takes it.
    Column("Film of patient", least=24),
    Column("Revision", right=True),
    Column("Image", right=True),
    Column("Sender"),
    Column("Received (UTC)", yields=0),
)

SourceOption = Annotated[
    str | None, typer.Option(help="The source, if several sources hold the study.")
]


@studies_app.command("list")
def studies_list(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the studies in doubt with their films, held longest first."""
    from storage.store import Store

    with Store.open(load_config(config).resolved_database_url, migrate=False) as store:
        held = store.studies.held()
    if as_json:
        print_json({"studies": [_document(study) for study in held]})
        return
    for study in held:
        source = study.key.source or "not known"
        print_paragraph(
            f"{study.key.study_instance_uid}  {study.hold.reason}, source {source}, "
            f"since {study.since:%Y-%m-%d %H:%M} UTC",
            4,
        )
        print_table(_FILM_COLUMNS, _film_rows(study), indent=4)
    if not held:
        typer.echo("no study is in doubt")


def _film_rows(study: "HeldStudy") -> Iterator[tuple[object, ...]]:
    for number, films in enumerate(study.patients, 1):
        for film in films:
            received = f"{film.received_at:%Y-%m-%d %H:%M}"
            name = f"group {number}: {film.sop_instance_uid}"
            yield name, film.revision, film.number, film.calling_ae_title, received


def _document(study: "HeldStudy") -> dict[str, object]:
    return {
        "study": study.key.study_instance_uid,
        "source": study.key.source,
        "reason": study.hold.reason,
        "detail": study.hold.detail,
        "since": study.since,
        "patients": [
            [
                {
                    "uid": film.sop_instance_uid,
                    "revision": film.revision,
                    "image": film.number,
                    "sender": film.calling_ae_title,
                    "received": film.received_at,
                }
                for film in films
            ]
            for films in study.patients
        ],
    }


@studies_app.command("release")
def studies_release(
    study: StudyArgument,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="SOP_UID", help="A film to set aside; may be repeated."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(help="More films to set aside, after --drop.", metavar="SOP_UID"),
    ] = None,
    source: SourceOption = None,
    config: ConfigOption = None,
) -> None:
    """Set films of a study in doubt aside, and report the others.

    It is refused while the study holds two patients. A film that was sent again is taken as it was
    sent last.
    """
    from daemon.actions.actor import Actor
    from daemon.actions.studies import release_study
    from storage.store import Store

    if more and not drop:
        raise UsageError("name films to set aside after --drop")
    dropped = {*(drop or ()), *(more or ())}
    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        key = store.studies.key(study, source)
        release_study(settings, store, key, dropped, Actor.of_process())
    typer.echo(f"{study} is released, {len(dropped)} film(s) set aside; its report is made again")


@studies_app.command("analyse-again")
def studies_analyse_again(
    study: StudyArgument,
    films: Annotated[
        list[int] | None,
        typer.Option(
            "--film",
            metavar="NUMBER",
            help="Only this film, by its number in the store; may be repeated.",
        ),
    ] = None,
    source: SourceOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Analyse the films of a study again, then report it.

    The same model makes the same results, and none is sent. Another model makes new results,
    which are sent.
    """
    from daemon.actions.actor import Actor
    from daemon.actions.studies import analyse_again
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        key = store.studies.key(study, source)
        repetition = analyse_again(settings, store, key, Actor.of_process(), films)
    if not as_json:
        typer.echo(f"{len(repetition.queued)} film(s) of {study} are analysed again")
    _show_repetition(repetition, "film", as_json=as_json)


@studies_app.command("send-again")
def studies_send_again(
    study: StudyArgument,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The destination.")],
    source: SourceOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Deliver the last report of a study and its pictures to one destination again.

    The destination need not have got them before, but it must be one for results of this source.
    """
    from daemon.actions.actor import Actor
    from daemon.actions.studies import send_again
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        key = store.studies.key(study, source)
        repetition = send_again(settings, store, key, to, Actor.of_process())
    if not as_json:
        typer.echo(f"{len(repetition.queued)} object(s) of {study} are sent to {to}")
    _show_repetition(repetition, "object", as_json=as_json)


def _show_repetition(repetition: "Repetition", what: str, *, as_json: bool) -> None:
    """Print the document, and what is refused as errors. Raises UsageError if there is any."""
    refused = repetition.refused
    if as_json:
        listed = [{"uid": uid, "reason": reason} for uid, reason in refused.items()]
        print_json({"queued": repetition.queued, "refused": listed})
    lines = [f"{what} {uid} stays as it is: {reason}" for uid, reason in refused.items()]
    raise_refused(lines, f"{what}(s) are not queued")
