"""Every film has one report, whatever happens to the hosts on its way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.scenario import Figures, run_scenario
from tests.hosts.site import HostsSite, hosts_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[HostsSite]:
    with hosts_site(tmp_path, bundle) as made:
        yield made


def check(figures: Figures, studies: int) -> None:
    print("", *figures.lines(), sep="\n  ")
    assert figures.studies == studies
    assert (figures.lost, figures.duplicates) == (0, 0)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_few_films_through_faulty_hosts(site: HostsSite) -> None:
    check(run_scenario(site, 40, 120), 40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_films_through_faulty_hosts(site: HostsSite) -> None:
    check(run_scenario(site, 500, 1200), 500)
