"""`cxrd show`: the page of a study, in a terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json
from daemon.cli.tables import Column, clean, moment, print_fields, print_paragraph, print_table
from daemon.errors import UsageError
from storage.errors import SpoolError

if TYPE_CHECKING:
    from daemon.web.studies.study_view import FilmView, ObjectView, StudyDetails
    from daemon.words.reasons import Advice
    from storage.files.spool import Spool
    from storage.records import Instance, ObjectRecord, StudyKey
    from storage.search.records import StudyFilter, StudyRow
    from storage.search.study_records import StudyView
    from storage.store import Store

_PAGE = 500
_MOST_CANDIDATES = 50
_CANDIDATES = (
    # The whole UID: the command takes it.
    Column("Study", least=32),
    Column("Source", yields=0),
    Column("Accession"),
    Column("Study date", yields=0),
    Column("Films", right=True),
    Column("State", yields=0, least=12),
)
_FINDINGS = (
    Column("Finding"),
    Column("Result"),
    Column("Probability", right=True),
    Column("Threshold", right=True),
    Column("Reviews", yields=0, least=12),
)
_FILES = (
    Column("Object", yields=2, least=12),
    Column("Standing"),
    Column("Size", right=True),
    Column("File", yields=1, least=30),
)
_DELIVERIES = (
    Column("To", yields=3, least=8),
    Column("Object", yields=2, least=12),
    Column("State", yields=1, least=12),
    Column("Attempts", right=True),
    Column("Delivered (UTC)", yields=1),
    Column("Job", right=True),
    Column("Answer or last error", yields=0, least=16),
)
_JOBS = (
    Column("Job", right=True),
    Column("Task", yields=2, least=8),
    Column("State"),
    Column("Attempts", right=True),
    Column("Changed (UTC)", yields=1),
    Column("Last error", yields=0, least=20),
)
_HISTORY = (
    Column("Time (UTC)"),
    Column("Event", yields=1, least=20),
    Column("Detail", yields=0, least=20),
)


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A file of a study in the spool, at its path or URL.

    `state` is `there`, `missing`, `unavailable` or `deleted`.
    """

    uid: str
    kind: str
    path: str | None
    size: int
    state: str


def show(
    study: Annotated[
        str,
        typer.Argument(
            help="Study Instance UID, accession number or Patient ID.", metavar="STUDY|ACCESSION"
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(help="The source, if several hold the study; '' if it is not known."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show a study: findings, reasons, files, deliveries, jobs and history.

    It shows patient data: the look is recorded in the audit trail, as one at the page is.
    """
    from daemon.audit.users import current_user
    from daemon.web.formats import plain
    from daemon.web.studies.model_words import ModelCard
    from daemon.web.studies.study_builder import StudyBuilder
    from storage.audit.records import AuditKind, subject_of
    from storage.files.places import open_spool
    from storage.store import Store

    settings = load_config(config)
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        rows, is_exact = find_studies(store, study, source)
        key = _only_one(rows, study, is_exact=is_exact, lists=not as_json)
        found = store.search.study(key)
        if found is None:
            raise UsageError(f"{key.study_instance_uid} was purged while it was looked for")
        subject = subject_of(study=key.study_instance_uid, source=key.source)
        store.audit.record(AuditKind.STUDY_VIEWED, actor=current_user(), subject=subject)
    details = StudyBuilder(settings, ModelCard(settings)).details(found, None)
    files = list(_files(open_spool(settings.spool_place), found))
    if as_json:
        document = plain(details)
        del document["report"]
        print_json({"study": document, "files": [plain(file) for file in files]})
        return
    _print(details, files)


def find_studies(store: "Store", text: str, source: str | None) -> "tuple[list[StudyRow], bool]":
    """Return the studies with this UID; if there is none, with this number of order or patient.

    Upper and lower case and white space at the ends do not matter. The second value is False if the
    text is only a part of their accession number or Patient ID.
    """
    from storage.search.records import StudyFilter

    views = [store.search.study(key) for key in store.search.keys_of(text.strip())]
    of_uid = [view.row for view in views if view is not None]
    found = [row for row in of_uid if source in (None, row.key.source)]
    if found or not text.strip():
        return found, True
    by_number = list(_rows(store, StudyFilter(accession_number=text, source=source)))
    by_patient = list(_rows(store, StudyFilter(patient_id=text, source=source)))
    wanted = _folded(text)
    for exact in (
        [row for row in by_number if _folded(row.accession_number) == wanted],
        [row for row in by_patient if _folded(row.patient_id) == wanted],
    ):
        if exact:
            return exact, True
    return list({row.key: row for row in (*by_number, *by_patient)}.values()), False


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _rows(store: "Store", chosen: "StudyFilter") -> "Iterator[StudyRow]":
    offset = 0
    while page := store.search.studies(chosen, offset=offset, limit=_PAGE).rows:
        yield from page
        offset += len(page)


def _only_one(rows: "Sequence[StudyRow]", text: str, *, is_exact: bool, lists: bool) -> "StudyKey":
    """Return the only study. Raises UsageError if it is not clear which one is meant.

    With `lists` the candidates are listed on stdout.
    """
    if not rows:
        raise UsageError(
            f"no study with the UID, accession number or Patient ID {clean(text)} is here: it may "
            "have been sent to another node, or refused (`cxrd status`)"
        )
    if len(rows) == 1 and is_exact:
        return rows[0].key
    shown = rows[:_MOST_CANDIDATES] if lists else rows
    if lists:
        print_table(_CANDIDATES, map(_candidate, shown))
    some = f", the first {len(shown)} are above" if len(rows) > len(shown) else ""
    if not is_exact:
        raise UsageError(
            f"{clean(text)} is no UID, accession number or Patient ID; {len(rows)} study(ies) hold "
            f"it as a part of one{some}"
        )
    same = len({row.key.study_instance_uid for row in rows}) == 1
    how = "name the source with --source" if same else "name one by its Study Instance UID"
    raise UsageError(f"{len(rows)} studies are meant by {clean(text)}{some}: {how}")


def _candidate(row: "StudyRow") -> tuple[object, ...]:
    from daemon.web.formats import day
    from daemon.web.studies.list_view import STATE_WORDS

    return (
        row.key.study_instance_uid,
        row.key.source,
        row.accession_number,
        day(row.study_date),
        row.films,
        STATE_WORDS[row.state],
    )


def _files(spool: "Spool", found: "StudyView") -> Iterator[StudyFile]:
    """Yield the files of films, then of objects made here."""
    received = [film.instance for film in found.films]
    for film in received:
        yield _file(spool, film.sop_instance_uid, "film", film)
    for made in found.objects:
        yield _file(spool, made.record.sop_instance_uid, made.record.kind, made.record)


def _file(spool: "Spool", uid: str, kind: str, row: "Instance | ObjectRecord") -> StudyFile:
    if row.purged_at is not None or not row.spool_path:
        return StudyFile(uid, kind, None, row.size, "deleted")
    try:
        state = "there" if spool.exists(row.spool_path) else "missing"
    except SpoolError:
        state = "unavailable"
    return StudyFile(uid, kind, spool.address(row.spool_path), row.size, state)


def _print(study: "StudyDetails", files: "Sequence[StudyFile]") -> None:
    from daemon.words.findings import A_FINDING_IS

    places = {file.uid: file for file in files}
    print_fields(_head(study))
    if study.hold is not None:
        _print_advice(study.hold, study.hold_detail)
    # The status of a study that was in doubt when its report was due repeats the doubt.
    repeats = study.hold is not None and study.hold_detail in study.status_detail
    if study.status is not None and not repeats:
        _print_advice(study.status, study.status_detail)
    for film in study.films:
        _print_film(film, places)
    for film in study.earlier:
        _print_film(film, places)
    if any(film.findings for film in study.films):
        typer.echo("")
        print_paragraph(A_FINDING_IS, 0)
    _section("Objects made here", _FILES, (_object_row(made, places) for made in study.objects))
    _section("Deliveries", _DELIVERIES, _delivery_rows(study))
    _section(
        "Jobs",
        _JOBS,
        (
            (job.number, job.task, job.state, job.attempts, moment(job.updated_at), job.error)
            for job in study.jobs
        ),
    )
    _section(
        "History",
        _HISTORY,
        ((moment(step.at), step.words, step.detail) for step in study.timeline),
    )
    typer.echo("\nResearch use only.")


def _print_advice(advice: "Advice", detail: str) -> None:
    typer.echo("")
    print_paragraph(advice.words, 0)
    if detail:
        print_paragraph(f"  {detail}", 2)
    if advice.action:
        print_paragraph(f"  What to do: {advice.action}", 2)


def _head(study: "StudyDetails") -> Iterator[tuple[str, object]]:
    from daemon.web.formats import day
    from daemon.words.readable import person_name

    name = str(person_name(study.patient_name)) if study.patient_name is not None else ""
    age = f"{study.age} years" if study.age is not None else ""
    yield "study", study.study_instance_uid
    yield "accession", study.accession_number or "none"
    yield "patient", ", ".join(filter(None, (study.patient_id or "no ID", name, study.sex, age)))
    yield "study date", day(study.study_date) or "none"
    yield "source", study.source or "not known"
    yield "senders", ", ".join(study.senders)
    yield "received", f"{moment(study.received_at)} to {moment(study.last_received_at)} UTC"
    yield "state", study.state_words
    if study.priority == "stat":
        yield "priority", "STAT"


def _print_film(film: "FilmView", places: "Mapping[str, StudyFile]") -> None:
    from cxr_model.finding_text import probability_text

    mark = f"; {film.mark}" if film.mark else ""
    kind = " ".join(filter(None, (film.modality, film.view_position)))
    typer.echo("")
    print_paragraph(
        f"Film {film.place}, {kind}, from {film.sender} at {moment(film.received_at)} UTC, "
        f"image {film.number}, revision {film.revision}{mark}",
        2,
    )
    print_paragraph(f"  {film.sop_instance_uid}", 2)
    if (file := places.get(film.sop_instance_uid)) is not None and not film.mark:
        print_paragraph(f"  file {_place(file)}", 2)
    for advice in film.marks:
        print_paragraph(f"  {advice.code}: {advice.words}", 4)
    if film.advice is not None:
        print_paragraph(f"  not analysed, {film.advice.code}: {film.advice.words}", 4)
        if film.detail:
            print_paragraph(f"  {film.detail}", 4)
        print_paragraph(f"  What to do: {film.advice.action}", 4)
    elif film.analysed_at is not None:
        calibrated = "" if film.is_calibrated else "; not calibrated"
        print_paragraph(
            f"  analysed at {moment(film.analysed_at)} UTC by {film.model}{calibrated}: "
            f"{film.present} of {len(film.findings)} findings present",
            4,
        )
        rows = [
            (
                finding.title,
                "Present" if finding.present else "Absent",
                probability_text(finding.probability),
                probability_text(finding.threshold),
                ", ".join(f"{each.reviewer}: {each.verdict}" for each in finding.reviews),
            )
            for finding in film.findings
        ]
        print_table(_FINDINGS, rows, indent=2, heading=True)
    else:
        print_paragraph("  waits for its analysis")
    for remark in film.remarks:
        print_paragraph(f"  remark of {remark.reviewer}: {remark.remark}", 4)
    for note in film.notes:
        print_paragraph(f"  note: {note.text}. {note.explanation}".rstrip(), 4)


def _object_row(made: "ObjectView", places: "Mapping[str, StudyFile]") -> tuple[object, ...]:
    from daemon.web.formats import size

    title = " ".join(filter(None, (made.title, made.form)))
    standing = made.standing.replace("_", " ")
    return title, standing, size(made.size), _place(places[made.sop_instance_uid])


def _place(file: "StudyFile") -> str:
    if file.path is None:
        return "deleted after its retention time"
    return f"{file.path}{'' if file.state == 'there' else f' ({file.state})'}"


def _delivery_rows(study: "StudyDetails") -> Iterator[tuple[object, ...]]:
    sent = [(made, each) for made in study.objects for each in made.deliveries]
    for made, each in sorted(sent, key=lambda pair: pair[1].destination):
        yield (
            each.destination,
            made.title,
            each.words,
            each.attempts,
            moment(each.delivered_at),
            each.job,
            "; ".join(filter(None, (each.status, each.error))),
        )


def _section(title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    found = list(rows)
    if found:
        typer.echo(f"\n{title}")
        print_table(columns, found, indent=2, heading=True)
