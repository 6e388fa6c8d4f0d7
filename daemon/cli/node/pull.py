"""`cxrd pull`: fetches studies from an archive. No logic."""

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json
from daemon.cli.progress import progress_of, waiting
from daemon.cli.tables import Column, print_table
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.config.settings import Config
    from dicom_io.query.values import FoundStudy, StudyQuery
    from storage.retrievals.records import RetrievalOrder
    from storage.store import Store

LOOK_SECONDS = 0.5
"""Time between two looks at the progress of an order."""
_ISO_DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
_STUDIES = (
    Column("Study", yields=0, least=13, is_shortened=True),
    Column("Date"),
    Column("Accession", yields=2, least=9),
    Column("Modalities", yields=1, least=6),
    Column("Objects", right=True),
)
_ORDERS = (
    Column("Order", right=True),
    Column("Archive", yields=1, least=8),
    Column("Ordered (UTC)"),
    Column("By", yields=0, least=4),
    Column("Studies", right=True),
    Column("Fetched", right=True),
    Column("Left", right=True),
    Column("Parked", right=True),
    Column("State"),
)


def pull(
    archive: Annotated[
        str | None, typer.Option("--from", help="The peer to fetch from, by its name.")
    ] = None,
    accession: Annotated[str | None, typer.Option(help="This accession number.")] = None,
    study: Annotated[str | None, typer.Option(help="This Study Instance UID.")] = None,
    patient: Annotated[str | None, typer.Option(help="All studies of this Patient ID.")] = None,
    issuer: Annotated[str | None, typer.Option(help="The issuer of the Patient ID.")] = None,
    date: Annotated[
        str | None, typer.Option(help="A day, or days as 2026-01-01..2026-01-31.")
    ] = None,
    modality: Annotated[
        str, typer.Option(help="Only studies with one of these modalities; '' is any.")
    ] = "CR,DX",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the studies, and fetch none.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Fetch outside the hours of `pull`, too.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="End after the order; the daemon fetches.")
    ] = False,
    show_orders: Annotated[bool, typer.Option("--list", help="List the newest orders.")] = False,
    stop: Annotated[
        int | None, typer.Option(help="Stop this order.", metavar="ORDER", max=2**63 - 1)
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Fetch studies from an archive at low priority; the daemon does it (docs/query.md)."""
    settings = load_config(config)
    keys = {
        "study_instance_uid": study or "",
        "accession_number": accession or "",
        "patient_id": patient or "",
        "issuer_of_patient_id": issuer or "",
    }
    if show_orders or stop is not None:
        if archive or date or any(keys.values()) or (show_orders and stop is not None):
            raise UsageError("--list and --stop stand alone")
        _list(settings, as_json) if stop is None else _stop(settings, stop)
        return
    if archive is None:
        raise UsageError("name the archive: --from PEER; `cxrd pull -h` shows the other options")
    query = _query(keys, date, modality)
    _fetch(settings, archive, query, dry_run=dry_run, now=now, wait=not no_wait, as_json=as_json)


def _query(keys: dict[str, str], date: str | None, modality: str) -> "StudyQuery":
    from dicom_io.query.values import StudyQuery

    first, last = _days(date)
    modalities = tuple(word for part in modality.upper().split(",") if (word := part.strip()))
    try:
        return StudyQuery(**keys, first_day=first, last_day=last, modalities=modalities)
    except ValueError as error:
        raise UsageError(f"{error}; `cxrd pull -h` shows the options") from None


def _days(date: str | None) -> tuple[str, str]:
    if date is None:
        return "", ""
    first, dots, last = date.partition("..")
    found = [_ISO_DAY.fullmatch(part) for part in ((first, last) if dots else (first, first))]
    days = ["".join(one.groups()) if one else "" for one in found]
    if not all(days):
        raise UsageError(f"--date: {date!r} is no day as 2026-01-31, and no days as DAY..DAY")
    return days[0], days[1]


def _fetch(
    settings: "Config",
    name: str,
    query: "StudyQuery",
    *,
    dry_run: bool,
    now: bool,
    wait: bool,
    as_json: bool,
) -> None:
    from daemon.audit.users import current_user
    from daemon.retrieve.archives import queried_peer
    from daemon.retrieve.pulling import find, order
    from storage.store import Store

    peer, config = queried_peer(settings, name)
    if config.retrieve is None and not dry_run:
        raise UsageError(f"{name} is only queried: set retrieve of its query, or use --dry-run")
    user = current_user()
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        with waiting(f"asking {name}"):
            found = find(settings, store, peer, query, user)
        if not found.studies:
            raise UsageError(
                "; ".join(filter(None, (f"{name} has no such study", found.complaint)))
            )
        if dry_run:
            _show(found.studies, as_json)
        else:
            number = order(settings, store, peer, found, user, at_once=now)
            if not as_json:
                typer.echo(f"order {number}: {len(found.studies)} study(ies) from {name}")
            if wait:
                _wait(store, number)
            if as_json:
                print_json(_document(store.retrievals.get(number)))
        if found.complaint:
            raise UsageError(f"{name}: {found.complaint}")


def _wait(store: "Store", number: int) -> None:
    """Show the progress of an order until it ends."""
    from daemon.retrieve.pulling import outcome, progress

    try:
        with progress_of("study", "fetching") as reached:
            done, total = progress(store, number)
            while done < total:
                reached(done, total)
                time.sleep(LOOK_SECONDS)
                done, total = progress(store, number)
            reached(done, total)
    except KeyboardInterrupt:
        done, total = progress(store, number)
        typer.echo(
            f"{done} of {total} study(ies) are done; the daemon goes on with order {number}:"
            f" `cxrd pull --list` shows it, `cxrd pull --stop {number}` stops it",
            err=True,
        )
        raise
    if fault := outcome(store, number):
        raise UsageError(fault)
    typer.echo(f"order {number}: all {total} study(ies) are here")


def _show(studies: "tuple[FoundStudy, ...]", as_json: bool) -> None:
    if as_json:
        print_json({"studies": [_study(one) for one in studies]})
        return
    print_table(
        _STUDIES,
        (
            (
                one.study_instance_uid,
                one.study_date,
                one.accession_number,
                " ".join(one.modalities),
                "" if one.instances is None else one.instances,
            )
            for one in studies
        ),
    )
    typer.echo(f"{len(studies)} study(ies); nothing is fetched")


def _study(one: "FoundStudy") -> dict[str, object]:
    return {
        "study": one.study_instance_uid,
        "accession": one.accession_number,
        "date": one.study_date,
        "modalities": list(one.modalities),
        "objects": one.instances,
    }


def _list(settings: "Config", as_json: bool) -> None:
    from storage.records import JobState
    from storage.store import Store

    with Store.open(settings.resolved_database_url, migrate=False) as store:
        orders = store.retrievals.list()
    if as_json:
        print_json({"orders": [_document(one) for one in orders]})
        return
    print_table(
        _ORDERS,
        (
            (
                one.id,
                one.peer,
                f"{one.ordered_at:%Y-%m-%d %H:%M}",
                one.ordered_by,
                one.total,
                one.studies.get(JobState.DONE, 0),
                one.left,
                one.studies.get(JobState.PARKED, 0),
                _state(one),
            )
            for one in orders
        ),
    )
    if not orders:
        typer.echo("no orders")


def _state(order: "RetrievalOrder") -> str:
    if order.stopped_at is not None:
        return "stopped"
    return "under way" if order.left else "ended"


def _document(order: "RetrievalOrder") -> dict[str, object]:
    return {
        "order": order.id,
        "peer": order.peer,
        "ordered": order.ordered_at,
        "by": order.ordered_by,
        "state": _state(order),
        "studies": {str(state): count for state, count in sorted(order.studies.items())},
    }


def _stop(settings: "Config", number: int) -> None:
    from daemon.audit.users import current_user
    from storage.store import Store

    with Store.open(settings.resolved_database_url, migrate=False) as store:
        discarded = store.retrievals.stop(number, current_user())
    typer.echo(f"order {number} is stopped: {discarded} study(ies) are not fetched")
