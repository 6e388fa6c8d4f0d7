"""Every film has one report, whatever happens to the hosts on its way."""

import pytest

from tests.hosts.scenario import Figures, run_scenario
from tests.hosts.site import HostsSite

pytestmark = [pytest.mark.daemon, pytest.mark.network]


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
