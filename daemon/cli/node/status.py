"""`cxrd status`: the overview of the pages, in a terminal.

It works beside a running node and without one: it reads the store and the states in `data_dir/run`,
and creates nothing. The overview names no patient and no study.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import typer

from daemon.cli.options import ConfigOption, JsonOption, load_config, print_json
from daemon.cli.tables import Column, moment, print_fields, print_paragraph, print_table
from daemon.errors import UsageError

if TYPE_CHECKING:
    from daemon.config.settings import Config
    from daemon.web.health.checks import HealthReport, Level
    from daemon.web.overview.collect import Overview
    from daemon.web.overview.faults import Fault
    from daemon.web.overview.work import Spread

_PARTS = (
    Column("Part"),
    Column("State"),
    Column("Since (UTC)", yields=2),
    Column("Restarts", right=True),
    Column("Detail", yields=0, least=24),
)
_HOSTS = (
    Column("Host", yields=2, least=8),
    Column("Role"),
    Column("State"),
    Column("Since (UTC)", yields=2),
    Column("Seen", right=True),
    Column("Version", yields=2),
    Column("Settings", yields=1, least=10),
    Column("Detail", yields=0, least=16),
)
_QUEUE = (Column("Work"), *(Column(title, right=True) for title in ("Queued", "Running", "Parked")))
_QUEUE += (Column("Done", right=True), Column("Discarded", right=True), Column("Due for"))
_PARKED = (
    Column("Task", yields=2, least=8),
    Column("Jobs", right=True),
    Column("First (UTC)", yields=2),
    Column("Reason", yields=0, least=24),
)
_DOUBTFUL = (Column("Reason"), Column("Source"), Column("Since (UTC)"), Column("Images", yields=0))
_DESTINATIONS = (
    Column("Destination", yields=2, least=8),
    Column("Delivered", right=True),
    Column("Today", right=True),
    Column("Waiting", right=True),
    Column("For"),
    Column("Parked", right=True),
    Column("Last success (UTC)", yields=1),
    Column("Last error", yields=0, least=20),
)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The state of the node. `overview` is None if the store cannot be read."""

    at: datetime.datetime
    health: "HealthReport"
    faults: "Sequence[Fault]"
    overview: "Overview | None"

    @property
    def level(self) -> "Level":
        """The level of the worst fault."""
        from daemon.web.health.checks import Level

        return self.faults[0].level if self.faults else Level.OK

    @property
    def problems(self) -> int:
        """The number of faults, without parts that start or stop."""
        from daemon.web.health.checks import Level

        passing = (Level.STARTING, Level.STOPPING)
        return sum(fault.level not in passing for fault in self.faults)


def status(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show the state of the node: faults with their remedy, roles, queue, destinations, disk.

    The exit status is 1 if there is a fault. Nothing is created, and no store is upgraded.
    """
    settings = load_config(config)
    found = node_status(settings)
    if as_json:
        print_json(_document(found))
    else:
        _print(settings, found)
    if found.problems:
        raise UsageError(f"{found.problems} fault(s); see above")


def node_status(config: "Config") -> NodeStatus:
    """Return the state of the node, also if its store cannot be opened or read."""
    from daemon.web.health.checks import report_once
    from daemon.web.health.totals import count_totals
    from daemon.web.overview.collect import collect_overview
    from daemon.web.overview.faults import find_faults
    from storage.errors import StorageError
    from storage.store import Store
    from storage.tables.clock import utc_now

    try:
        with Store.open(config.resolved_database_url, migrate=False) as store:
            now = store.now()
            health = report_once(config, store, now)
            overview = collect_overview(config, store, health, count_totals(store, now), now)
    except StorageError as error:
        now = utc_now()
        health = report_once(config, error, now)
        return NodeStatus(now, health, find_faults(config, health, (), (), 0, None), None)
    return NodeStatus(now, health, overview.faults, overview)


def command_of(page: str) -> str:
    """Return the command that lists the same as a page of a fault; '' for no page."""
    place = urlsplit(page)
    if place.path == "studies":
        return "cxrd studies list"
    if place.path != "jobs":
        return ""
    options = {"state": "--state", "kind": "--kind", "destination": "--to"}
    given = parse_qs(place.query)
    words = [f"{options[name]} {given[name][0]}" for name in options if name in given]
    return " ".join(["cxrd jobs list", *words])


def _print(config: "Config", found: NodeStatus) -> None:
    faults = f"{found.problems} fault(s)" if found.problems else "no fault"
    # The first line is what Nagios shows.
    print_paragraph(f"{found.level}: {faults}; {_roles(found)}; {found.at:%Y-%m-%d %H:%M:%S} UTC")
    for fault in found.faults:
        typer.echo("")
        print_paragraph(f"{fault.level}: {fault.text}", 2)
        command = command_of(fault.page)
        advice = f"{fault.advice} See `{command}`." if command else fault.advice
        if advice:
            print_paragraph(f"  {advice.strip()}", 2)
    _print_parts(found.health)
    _print_hosts(found.health)
    if found.overview is not None:
        _print_work(found.overview)
        _print_figures(config, found.overview)


def _roles(found: NodeStatus) -> str:
    states = [f"{status.role} {status.state}" for status in found.health.roles]
    return ", ".join(states) or "no role runs on this host"


def _print_parts(health: "HealthReport") -> None:
    from daemon.web.overview.rows import part_rows

    rows = [
        (part.name, part.level, moment(part.since), _or_empty(part.restarts), part.detail)
        for part in part_rows(health)
    ]
    _section("Roles, ports and certificates of this host", _PARTS, rows)


def _print_hosts(health: "HealthReport") -> None:
    """Print the roles of all hosts, if another host than this one works or worked."""
    from daemon.web.formats import span

    rows = [
        (
            f"{role.host} (this host)" if role.is_here else role.host,
            role.role,
            role.state,
            moment(role.since),
            span(datetime.timedelta(seconds=role.seen_seconds)),
            role.version,
            "" if role.is_here else _agreement(role.differs),
            role.detail,
        )
        for role in health.hosts.roles
    ]
    _section("Roles of all hosts", _HOSTS, rows if health.hosts.others else ())


def _agreement(differs: Sequence[str]) -> str:
    return f"differ: {', '.join(differs)}" if differs else "same"


def _print_work(overview: "Overview") -> None:
    from daemon.web.formats import span
    from storage.records import JobState

    doubtful = [
        (
            study.reason,
            study.source or "not known",
            moment(study.since),
            "; ".join(", ".join(map(str, images)) for images in study.patients),
        )
        for study in overview.doubtful
    ]
    _section("Studies in doubt", _DOUBTFUL, doubtful, of=overview.doubtful_count)
    parked = [(row.task, row.count, moment(row.first_at), row.reason) for row in overview.parked]
    _section("Parked", _PARKED, parked)
    states = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED, JobState.DONE, JobState.DISCARDED)
    queue = [
        (
            row.kind,
            *(row.counts[state] for state in states),
            span(row.waited) if row.waited is not None else "",
        )
        for row in overview.queue
    ]
    _section("Queue", _QUEUE, queue)
    destinations = [
        (
            row.name if row.configured else f"{row.name} (not configured)",
            row.delivered,
            row.delivered_today,
            row.waiting,
            span(overview.made_at - row.waiting_since) if row.waiting_since is not None else "",
            row.parked,
            moment(row.last_success),
            row.error.error if row.error is not None else "",
        )
        for row in overview.destinations
    ]
    _section("Destinations", _DESTINATIONS, destinations)


def _print_figures(config: "Config", overview: "Overview") -> None:
    from daemon.web.formats import size
    from daemon.web.overview.faults import refusal_by_space

    today, counts = overview.work.today, overview.instance_counts
    free = size(overview.free_bytes) if overview.free_bytes is not None else "unknown"
    shown = "none yet: known after the first analysis"
    if (model := overview.model) is not None:
        shown = ", ".join(filter(None, (f"{model.name} {model.version}", overview.calibration)))
    typer.echo("")
    print_fields(
        {
            "films today": (
                f"{today.received} received, {today.analysed} analysed, {today.not_analysed} not "
                "analysed"
            ),
            "results today": f"{today.reported} report(s), {today.delivered} object(s) delivered",
            "film to report": _spread(overview.work.to_report),
            "film to delivery": _spread(overview.work.to_delivery),
            "all images": ", ".join(
                f"{count} {state.replace('_', ' ')}" for state, count in counts.items()
            ),
            "disk free": f"{free}; {refusal_by_space(config)}",
            "model": shown,
        }.items()
    )


def _section(
    title: str, columns: Sequence[Column], rows: Sequence[Sequence[object]], of: int = 0
) -> None:
    if rows:
        some = f" (the first {len(rows)} of {of})" if of > len(rows) else ""
        typer.echo("")
        print_paragraph(f"{title}{some}", 0)
        print_table(columns, rows, indent=2, heading=True)


def _spread(times: "Spread") -> str:
    from daemon.web.formats import span

    if times.p50 is None or times.p95 is None:
        return "none today"
    return f"half within {span(times.p50)}, 95 % within {span(times.p95)}; {times.count} today"


def _or_empty(value: object) -> object:
    return "" if value is None else value


def _document(found: NodeStatus) -> dict[str, object]:
    from daemon.web.overview.rows import part_rows

    return {
        "level": found.level,
        "at": found.at,
        "faults": [
            {
                "level": fault.level,
                "text": fault.text,
                "advice": fault.advice,
                "command": command_of(fault.page),
            }
            for fault in found.faults
        ],
        "parts": [
            {
                "name": part.name,
                "level": part.level,
                "since": part.since,
                "restarts": part.restarts,
                "detail": part.detail,
            }
            for part in part_rows(found.health)
        ],
        "hosts": [
            {
                "host": role.host,
                "role": role.role,
                "state": role.state,
                "since": role.since,
                "seen_seconds": role.seen_seconds,
                "version": role.version,
                "schema": role.schema,
                "differs": list(role.differs),
                "here": role.is_here,
                "detail": role.detail,
            }
            for role in found.health.hosts.roles
        ],
        "free_bytes": found.health.free_bytes,
        **dict(_of_store(found.overview)),
    }


def _of_store(overview: "Overview | None") -> Iterator[tuple[str, Any]]:
    """Yield the entries that the store knows; none without a readable store."""
    if overview is None:
        return
    yield "held", overview.doubtful_count
    yield (
        "queue",
        [
            {
                "kind": row.kind,
                **{str(state): count for state, count in row.counts.items()},
                "due_seconds": row.waited.total_seconds() if row.waited is not None else None,
            }
            for row in overview.queue
        ],
    )
    yield (
        "parked_jobs",
        [
            {
                "task": row.task,
                "jobs": row.count,
                "first": row.first_at,
                "last": row.last_at,
                "reason": row.reason,
            }
            for row in overview.parked
        ],
    )
    yield (
        "destinations",
        [
            {
                "name": row.name,
                "configured": row.configured,
                "delivered": row.delivered,
                "delivered_today": row.delivered_today,
                "waiting": row.waiting,
                "waiting_since": row.waiting_since,
                "parked": row.parked,
                "last_success": row.last_success,
                "error": row.error.error if row.error is not None else None,
            }
            for row in overview.destinations
        ],
    )
    today = overview.work.today
    yield (
        "today",
        {
            "received": today.received,
            "analysed": today.analysed,
            "not_analysed": today.not_analysed,
            "reported": today.reported,
            "delivered": today.delivered,
        },
    )
    times = {"report": overview.work.to_report, "delivery": overview.work.to_delivery}
    for name, spread in times.items():
        yield (
            f"to_{name}",
            {
                "count": spread.count,
                "p50_seconds": spread.p50.total_seconds() if spread.p50 is not None else None,
                "p95_seconds": spread.p95.total_seconds() if spread.p95 is not None else None,
            },
        )
