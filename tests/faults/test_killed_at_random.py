"""Any process is killed at any moment, under load."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.site import FaultSite, fault_site
from tests.faults.storm import Storm
from tests.servers.running import build_bundle


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FaultSite]:
    build_bundle(tmp_path / "bundle")
    with fault_site(tmp_path / "node", tmp_path / "bundle", forks=True) as made:
        yield made


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
