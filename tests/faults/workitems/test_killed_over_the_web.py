"""The daemon is killed at the transitions of workitems of a manager over the web (UPS-RS)."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.life import Kill
from tests.faults.points import AFTER, BEFORE
from tests.faults.workitems.site import WorklistSite, worklist_site
from tests.faults.workitems.test_killed_workitems import AT_CANCEL, AT_COMMITS, AT_MANAGER

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[WorklistSite]:
    with worklist_site(tmp_path / "node", bundle, over_the_web=True) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_workitem_over_the_web_ends_once_after_kills(site: WorklistSite) -> None:
    kills: list[Kill] = [("claim", AFTER), ("performed", BEFORE), ("complete", AFTER)]
    assert site.die_at(kills, site.complete) == []
    assert site.die_at([("cancel", AFTER)], site.cancel) == []
    figures = site.check()
    print(f"\n  {figures}")
    assert figures["kills"] == 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_workitems_over_the_web_end_once_after_every_kill(site: WorklistSite) -> None:
    kills = AT_MANAGER + AT_COMMITS
    for kill in kills:
        assert site.die_at([kill], partial(site.complete, 1)) == []
    for kill in AT_CANCEL:
        assert site.die_at([kill], partial(site.cancel, 1)) == []
    figures = Counter(site.check())
    print(f"\n  {dict(figures)}")
    assert figures["kills"] >= len(kills) + len(AT_CANCEL)
