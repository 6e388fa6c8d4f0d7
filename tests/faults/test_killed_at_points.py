"""The daemon is killed before and after each write, fsync, commit, response and request."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.life import CLAIM, Kill, die_at, kills_of, live, rounds
from tests.faults.points import AFTER, BEFORE
from tests.faults.site import ROLES, FaultSite, fault_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]
FORKS = True
KINDS = (
    "make folder",
    "create",
    "write",
    "write the rest",
    "fsync file",
    "rename to",
    "fsync folder",
    "unlink",
    "commit",
    "send C_STORE_RSP",
    "send C_STORE_RQ",
    "send N_ACTION_RQ",
    "send N_ACTION_RSP",
    "send N_EVENT_REPORT_RQ",
    "send N_EVENT_REPORT_RSP",
)
SELECTION: tuple[tuple[Kill, ...], ...] = (
    (
        ("listener: commit store._record", BEFORE),
        ("listener: send C_STORE_RSP", BEFORE),
        (CLAIM, AFTER),
        ("analyst: rename to spool/objects", AFTER),
        ("courier: send C_STORE_RQ", AFTER),
        ("courier: commit results.record_delivery", BEFORE),
    ),
    (
        ("listener: write the rest spool/tmp", BEFORE),
        ("listener: fsync folder spool/received", BEFORE),
        ("analyst: write the rest spool/tmp", BEFORE),
        ("analyst: commit results.record_report", BEFORE),
        ("courier: send N_ACTION_RQ", BEFORE),
        ("courier: commit requests.next_step", AFTER),
    ),
    (
        ("listener: unlink spool/received", BEFORE),
        ("analyst: commit results.record_analysis", BEFORE),
        ("courier: send N_EVENT_REPORT_RQ", AFTER),
        ("supervisor: commit jobs._requeue", BEFORE),
    ),
)


# The first kill leaves a file without a row, which the next start sets aside. The second restarts
# the listener after the image was sent again: the sweep then deletes the file set aside.
TO_LOST_AND_FOUND = (
    ("listener: commit store._record", BEFORE),
    ("listener: unlink spool/received", BEFORE),
)
NOT_AGAIN = frozenset(
    {
        # An archive that is slower than our association answers the listener instead.
        "courier: commit requests.record_answer",
        "courier: send N_EVENT_REPORT_RSP",
        # Passed by a supervisor whose predecessor was killed, and at its own end.
        "supervisor: unlink run",
        # Created once.
        "listener: make folder spool/lost+found",
    }
)
"""Points that not every life passes."""


def kinds_in(points: set[str]) -> set[str]:
    return {kind for kind in KINDS for point in points if point.partition(": ")[2].startswith(kind)}


def report(kills: Counter[Kill], figures: dict[str, int]) -> None:
    """Print the kills by role and point, and the figures."""
    print()
    for (point, when), count in sorted(kills.items()):
        print(f"  {count:4} {when:6} {point}")
    by_role = Counter(point.split(":")[0] for point, _ in kills.elements())
    roles = ", ".join(f"{role} {count}" for role, count in sorted(by_role.items()))
    print(f"  {kills.total()} kills: {roles}")
    print("  " + ", ".join(f"{name} {count}" for name, count in figures.items()))


def nothing_lost(figures: dict[str, int]) -> bool:
    return figures["acknowledged"] > 0 and not any(
        figures[name] for name in ("lost", "duplicates", "orphans")
    )


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_acknowledged_images_survive_a_kill_at_points_of_each_kind(site: FaultSite) -> None:
    for kills in SELECTION:
        assert die_at(site, kills) == []
        assert nothing_lost(site.check())
    killed = Counter(site.daemon.killed())
    report(killed, site.check())
    assert killed.total() >= 16
    assert kinds_in({point for _, point in site.daemon.passed()}) == set(KINDS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_acknowledged_images_survive_a_kill_at_every_point(site: FaultSite) -> None:
    site.daemon.start()
    passed_at_start = site.daemon.passed()
    live(site)
    starting = {point for _, point in passed_at_start}
    living = {point for _, point in site.daemon.passed()[len(passed_at_start) :]}
    assert die_at(site, [("listener: commit store._record", BEFORE)]) == []
    assert die_at(site, [("supervisor: commit jobs._requeue", AFTER)]) == []
    # The next test kills at the points that only a start passes.
    points = living | ({point for _, point in site.daemon.passed()} - starting)
    assert kinds_in(points) >= set(KINDS) - {"make folder"}
    unreached: list[Kill] = []
    kills = kills_of(points)
    for together in rounds(kills):
        unreached += die_at(site, together)
        assert nothing_lost(site.check()), together
    print(f"\n  {len(unreached)} not reached at first: {unreached}")
    never = [
        kill for kill in unreached if kill in die_at(site, [*TO_LOST_AND_FOUND, kill], lives=4)
    ]
    figures = site.check()
    report(Counter(site.daemon.killed()), figures)
    assert nothing_lost(figures)
    assert {point for point, _ in never} <= NOT_AGAIN


def first_start(folder: Path, bundle: Path, role: str, kill: Kill | None) -> FaultSite:
    """Start a role for the first time until it runs. Check that no file is lost or orphaned."""
    with fault_site(folder, bundle, forks=True) as site:
        site.daemon.options = ("--only", role)
        if kill is not None:
            site.daemon.arm(*kill)
        site.daemon.start_if_dead()
        site.daemon.stop()
        figures = site.check()
        assert (figures["lost"], figures["orphans"]) == (0, 0)
    return site


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_first_start_killed_at_any_point_is_repaired(tmp_path: Path, bundle: Path) -> None:
    killed: Counter[Kill] = Counter()
    figures: dict[str, int] = {}
    for role in ROLES:
        site = first_start(tmp_path / role, bundle, role, None)
        points = {point for _, point in site.daemon.passed()}
        if role != ROLES[0]:
            points = {point for point in points if point.startswith(role)}
        for number, kill in enumerate(kills_of(points)):
            site = first_start(tmp_path / f"{role}-{number}", bundle, role, kill)
            assert site.daemon.killed() == [kill]
            killed.update(site.daemon.killed())
    report(killed, figures)
    assert any(point.startswith("supervisor: commit upgrade") for point, _ in killed)
