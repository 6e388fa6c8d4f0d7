"""The daemon is killed at every transition of a workitem: each ends exactly once.

The manager is independent, and so are the destinations, whose stored objects are compared with the
outputs that the workitem names.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.life import Kill
from tests.faults.points import AFTER, BEFORE
from tests.faults.workitems.site import WorklistSite, worklist_site

pytestmark = [pytest.mark.daemon, pytest.mark.network]

COMPLETING = ("find", "get", "claim", "progress", "performed", "complete")
"""Operations of the manager in the life of a workitem that is completed."""
CANCELING = ("progress", "cancel")
COMMITS = ("add", "begin", "record_claim", "begin_completion", "end")
AT_MANAGER: list[Kill] = [(name, when) for name in COMPLETING for when in (BEFORE, AFTER)]
AT_COMMITS: list[Kill] = [
    (f"courier: commit workitems.{name}", when) for name in COMMITS for when in (BEFORE, AFTER)
]
AT_CANCEL: list[Kill] = [
    *((name, when) for name in CANCELING for when in (BEFORE, AFTER)),
    ("courier: commit workitems.begin_cancel", BEFORE),
    ("courier: commit workitems.begin_cancel", AFTER),
    ("courier: commit workitems.end", BEFORE),
    ("courier: commit workitems.end", AFTER),
]


@pytest.fixture
def site(tmp_path: Path, bundle: Path) -> Iterator[WorklistSite]:
    with worklist_site(tmp_path / "node", bundle) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_workitem_ends_once_after_kills_at_its_transitions(site: WorklistSite) -> None:
    kills: list[Kill] = [
        ("claim", AFTER),
        ("courier: commit workitems.begin", AFTER),
        ("courier: commit workitems.record_claim", BEFORE),
        ("performed", AFTER),
        ("complete", AFTER),
        ("courier: commit workitems.end", BEFORE),
    ]
    assert site.die_at(kills, site.complete) == []
    assert site.die_at([("cancel", AFTER)], site.cancel) == []
    figures = site.check()
    print(f"\n  {figures}")
    assert figures["kills"] == 7


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_workitems_end_once_after_a_kill_at_every_transition(site: WorklistSite) -> None:
    kills = AT_MANAGER + AT_COMMITS
    for number in (1, 3):
        for kill in kills:
            assert site.die_at([kill], partial(site.complete, number)) == []
        for kill in AT_CANCEL:
            assert site.die_at([kill], partial(site.cancel, number)) == []
        site.check()
    figures = Counter(site.check())
    print(f"\n  {dict(figures)}")
    assert figures["kills"] >= 2 * (len(kills) + len(AT_CANCEL))
