"""Random processes are killed at random times, under load."""

import random

import pytest

from tests.faults.site import FaultSite
from tests.faults.storm import Storm

pytestmark = [pytest.mark.daemon, pytest.mark.network]
FORKS = True


def weather(site: FaultSite, kills: int, seconds: float) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"\n  seed {seed}")
    storm = Storm(site, seed)
    storm.rage(kills)
    roles = ", ".join(f"{role} {count}" for role, count in sorted(storm.kills.items()))
    print(f"  {storm.kills.total()} kills: {roles}")
    assert storm.failures == []
    site.wait_until_idle(storm.studies, seconds)
    figures = site.check()
    print("  " + ", ".join(f"{name} {count}" for name, count in figures.items()))
    assert figures["acknowledged"] == len(storm.studies) > 0
    assert figures["lost"] == figures["duplicates"] == figures["orphans"] == 0


@pytest.mark.timeout(240)
def test_random_kills_lose_nothing(site: FaultSite) -> None:
    weather(site, kills=6, seconds=90)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_hundreds_of_random_kills_lose_nothing(site: FaultSite) -> None:
    weather(site, kills=220, seconds=900)
