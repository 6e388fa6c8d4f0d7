"""The faults of the node for the overview: each with its reason and the step that mends it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.config.settings import Config
from daemon.hosts.survey import SILENT, Host, Survey
from daemon.web.health.checks import Check, HealthReport, Level, Part
from daemon.web.overview.rows import DestinationRow, QueueRow
from daemon.web.overview.work import nearest_rank
from daemon.worker.board import RoleState
from daemon.worker.role import RoleName
from storage.records import JobKind
from storage.store import Store

LATE = timedelta(minutes=10)
"""Time for which due work may wait before the overview names it."""
TIMES_USUAL = 5
"""Multiple of the usual wait of an analysis that is named as late."""
FEWEST_FILMS = 20
"""Films that make a usual wait."""
LOW_DISK = 2
"""Multiple of `spool.min_free_mb` below which the disk is named as nearly full."""

_ADVICE = {
    Part.STORE: (
        "Nothing is received or analysed while the store does not answer. Check its disk or its "
        "server; `cxrd check` repeats the test."
    ),
    Part.SPOOL: (
        "Images are refused with 0xA700, and their senders try again. Free space on the disk of "
        "the spool, and check its permissions; for a bucket, check its service and its quota."
    ),
    Part.ROLE: (
        "A supervisor that runs starts its role again by itself. If it ends again and again, the "
        "log of `cxrd serve` says why."
    ),
    Part.PORT: "Callers cannot connect there. `cxrd check` names a program that holds the port.",
    Part.CERTIFICATE: (
        "Replace the files that `{0}.certificate` and `{0}.key` name, then restart `cxrd serve`."
    ),
}

_WITHOUT = {
    RoleName.LISTENER: "no film is received",
    RoleName.ANALYST: "films wait for their analysis",
    RoleName.COURIER: "results wait for their delivery",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: what it is and why, what to do, and the page that shows more ('' for none).

    Only viewers may open the page.
    """

    level: Level
    text: str
    advice: str = ""
    page: str = ""
    page_name: str = ""


def refusal_by_space(config: Config) -> str:
    """Return the limit of space at which images are refused, in words."""
    if config.spool_folder is None:
        return "images are refused when the quota of the bucket is reached"
    return f"images are refused below {config.spool.min_free_mb} MB"


def find_faults(
    config: Config,
    health: HealthReport,
    queue: Sequence[QueueRow],
    destinations: Sequence[DestinationRow],
    held: int,
    usual_wait: timedelta | None,
) -> tuple[Fault, ...]:
    """Return the faults, the worst first."""
    found = [
        *(_of_check(check) for check in health.at(Level.FAILING)),
        *_of_missing_roles(health.hosts),
        *_of_held_studies(held),
        *_of_late_work(queue, usual_wait),
        *_of_parked_jobs(queue),
        *_of_destinations(config, destinations),
        *(_of_check(c) for c in health.at(Level.DEGRADED) if c.part is not Part.DESTINATION),
        *_of_disk(config, health),
        *(fault for host in health.hosts.others for fault in _of_host(host)),
    ]
    for level in (Level.STARTING, Level.STOPPING):
        names = ", ".join(check.name for check in health.at(level))
        if names:
            found.append(Fault(level, f"{level.capitalize()}: {names}."))
    order = (Level.FAILING, Level.DEGRADED, Level.STOPPING, Level.STARTING)
    return tuple(sorted(found, key=lambda fault: order.index(fault.level)))


def usual_wait(store: Store, due: datetime | None) -> timedelta | None:
    """Return the 95th percentile of the waits for analysis before work became due.

    None without such work, or if fewer than FEWEST_FILMS films were analysed before. The films of
    the queue itself are not among them.
    """
    if due is None:
        return None
    waits = store.activity.usual_wait(due)
    return nearest_rank(waits, 0.95) if len(waits) >= FEWEST_FILMS else None


def _of_check(check: Check) -> Fault:
    name = check.name[:1].upper() + check.name[1:]
    advice = _ADVICE.get(check.part, "") if check.subject or check.part is not Part.ROLE else ""
    return Fault(check.level, f"{name}: {check.detail}", advice.format(check.subject))


def _of_missing_roles(hosts: Survey) -> Iterator[Fault]:
    for role in hosts.missing:
        yield Fault(
            Level.FAILING,
            f"No {role} works on any host: {_WITHOUT[role]}.",
            f"Start `cxrd serve` on a host, with the role {role} among its roles.",
            "hosts",
            "all hosts",
        )


def _of_host(host: Host) -> Iterator[Fault]:
    """Yield the faults of another host."""
    if silent := host.in_state(SILENT):
        names = ", ".join(role.role for role in silent)
        seen = max(role.seen_at for role in silent)
        yield Fault(
            Level.DEGRADED,
            f"Host {host.name} is silent: {names}, last seen at {seen:%Y-%m-%d %H:%M:%S} UTC.",
            "It was killed, suspended or cut off from the store; its jobs go back to the queue. "
            "Start `cxrd serve` there. A host that is gone for good is forgotten after a day.",
            "hosts",
            "all hosts",
        )
    for role in host.in_state(RoleState.DOWN):
        yield Fault(
            Level.DEGRADED,
            f"Host {host.name}: the {role.role} is down: {role.detail}",
            "Its supervisor starts it again by itself; the log of `cxrd serve` there says more.",
            "hosts",
            "all hosts",
        )
    if host.differs and not host.is_silent:
        yield Fault(
            Level.DEGRADED,
            f"Host {host.name} has other settings than this host in: {', '.join(host.differs)}.",
            "The result of a film then depends on the host that has it. Give all hosts the same "
            "settings in these sections, and restart them.",
            "hosts",
            "all hosts",
        )


def _of_held_studies(held: int) -> Iterator[Fault]:
    if held:
        names, them = ("1 study is", "it") if held == 1 else (f"{held} studies are", "them")
        yield Fault(
            Level.FAILING,
            f"{names} in doubt, and nothing of {them} leaves.",
            "Correct the films at their source, or set films aside and release the study.",
            "studies?state=held",
            "studies in doubt",
        )


def _of_late_work(queue: Sequence[QueueRow], usual: timedelta | None) -> Iterator[Fault]:
    for row in queue:
        if row.waited is None or row.kind in (JobKind.DELIVER, JobKind.COMMIT):
            continue
        limit, than = LATE, "10 minutes"
        if row.kind is JobKind.ANALYSE and usual is not None:
            limit = max(TIMES_USUAL * usual, timedelta(minutes=1))
            than = f"usual ({_short(usual)} for 95 % of the films before)"
        if row.waited > limit:
            waited = _short(row.waited)
            yield Fault(
                Level.DEGRADED,
                f"Work waits: {row.kind} has been due for {waited}, longer than {than}.",
                "A role may be down on another host, or more films arrive than are analysed.",
                f"jobs?state=queued&kind={row.kind}",
                "waiting jobs",
            )


def _of_parked_jobs(queue: Sequence[QueueRow]) -> Iterator[Fault]:
    parked = sum(row.parked for row in queue)
    if parked:
        yield Fault(
            Level.DEGRADED,
            f"{parked} parked job{'s' if parked > 1 else ''}: a person has to decide.",
            "Remove the cause, then retry the jobs or discard them.",
            "jobs?state=parked",
            "parked jobs",
        )


def _of_destinations(config: Config, rows: Sequence[DestinationRow]) -> Iterator[Fault]:
    for row in rows:
        if not row.waiting or (row.configured and row.error is None):
            continue
        text = f"{row.name}: {row.waiting} waiting, but it is not in the configuration."
        advice = "Add it to `peers` again, or discard the jobs."
        if row.configured:
            seconds = config.courier.retry_max_seconds
            text = f"{row.name}: {row.waiting} waiting, the last attempt failed."
            advice = (
                f"Deliveries are repeated by themselves, at least every {seconds:g} s. "
                "`cxrd check` tests the connection."
            )
        yield Fault(Level.DEGRADED, text, advice, row.page, "its jobs")


def _of_disk(config: Config, health: HealthReport) -> Iterator[Fault]:
    least = config.spool.min_free_mb * 2**20
    if health.free_bytes is not None and least <= health.free_bytes < LOW_DISK * least:
        yield Fault(
            Level.DEGRADED,
            f"The disk is nearly full: {health.free_bytes / 1e6:.0f} MB free.",
            f"Below {config.spool.min_free_mb} MB images are refused. Free space, or let "
            "`retention.days` delete old files.",
        )


def _short(value: timedelta) -> str:
    seconds = value.total_seconds()
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
