"""The processes of three hosts on PostgreSQL and S3 are killed; no film is lost or doubled."""

import random
import time
from collections import Counter

import pytest

from storage.tables.database import open_database
from storage.tables.upgrade import migrate
from tests.faults.points import AFTER, BEFORE
from tests.hosts.kills import (
    FaultyHost,
    Kill,
    Reviver,
    die_at,
    faulty_hosts,
    kill_at_random,
    rounds,
    settle,
)
from tests.hosts.scenario import Clinic, figures_of
from tests.hosts.site import HostsSite

pytestmark = [pytest.mark.daemon, pytest.mark.network]

SELECTION: tuple[tuple[Kill, ...], ...] = (
    (
        ("front", "listener: S3 put_object", AFTER),
        ("north", "analyst: commit jobs._claim", AFTER),
        ("south", "courier: send C_STORE_RQ", AFTER),
    ),
    (
        ("front", "listener: commit store._record", AFTER),
        ("south", "analyst: commit results.record_report", BEFORE),
        ("north", "courier: commit results.record_delivery", BEFORE),
    ),
)


AT_FIRST_START = (
    "supervisor: commit upgrade._migrate",
    "supervisor: commit binding._give_store_id",
    "supervisor: S3 put_object",
    "supervisor: commit binding.bind",
)
"""Points that only the first start on a store of the version before passes."""


def before_the_upgrade(site: HostsSite) -> None:
    """Make the tables of the version before this one."""
    with open_database(site.url) as database:
        migrate(database, "0007")


def check(
    site: HostsSite, daemons: list[FaultyHost], clinic: Clinic, at_random: Counter[str]
) -> int:
    """Print the kills, and check that nothing is lost or doubled. Return the number of kills."""
    settle(site, clinic, 300)
    figures = figures_of(site, clinic, daemons, 0.0, [])
    at_points = Counter(kill for daemon in daemons for kill in daemon.killed())
    print()
    for (host, point, when), count in sorted(at_points.items()):
        print(f"  {count:3} {when:6} {host} {point}")
    for process, count in sorted(at_random.items()):
        print(f"  {count:3} random {process}")
    total = at_points.total() + at_random.total()
    print(f"  {total} kills: {at_points.total()} at points, {at_random.total()} at random")
    print("  " + figures.lines()[0])
    assert figures.studies == clinic.count > 0
    assert (figures.lost, figures.duplicates) == (0, 0)
    return total


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_hosts_killed_between_engines_lose_nothing(site: HostsSite) -> None:
    daemons, clinic = faulty_hosts(site), Clinic(site, "kills")
    with Reviver(daemons):
        for kills in SELECTION:
            die_at(daemons, clinic, kills)
    assert check(site, daemons, clinic, Counter()) >= 5


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hosts_killed_at_every_point_that_they_share_lose_nothing(site: HostsSite) -> None:
    before_the_upgrade(site)
    daemons, clinic = faulty_hosts(site, AT_FIRST_START), Clinic(site, "points")
    with Reviver(daemons):
        clinic.send(8)
        clinic.join()
        settle(site, clinic, 120)
        time.sleep(6)  # a beat of each supervisor
        for kills in rounds(daemons):
            die_at(daemons, clinic, kills)
    assert check(site, daemons, clinic, Counter()) >= 80


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hosts_killed_at_random_lose_nothing(site: HostsSite) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"\n  seed {seed}")
    daemons, clinic = faulty_hosts(site), Clinic(site, f"kills-{seed}")
    with Reviver(daemons):
        at_random = kill_at_random(daemons, clinic, 200, seed)
    assert check(site, daemons, clinic, at_random) >= 200
