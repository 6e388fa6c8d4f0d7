"""/worklists: the managers, and the workitems that this node found at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.site import Site
from daemon.words.workitems import workitem_words
from storage.worklist.records import Workitem, WorkitemState

ROWS = 100
"""Workitems that the page shows, those changed last first."""


@dataclass(frozen=True, slots=True)
class WorklistView:
    """A worklist: its last answer, its fault, and the number of its workitems by state."""

    name: str
    kind: str
    source: str
    answered_at: datetime | None
    subscribed_at: datetime | None
    fault: str
    counts: dict[WorkitemState, int]


@dataclass(frozen=True, slots=True)
class WorkitemView:
    """A workitem in words; `outputs` is the number of objects that it names."""

    worklist: str
    uid: str
    state: WorkitemState
    words: str
    level: str
    priority: str
    study_instance_uid: str
    source: str
    outputs: int
    reason: str
    found_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, item: Workitem) -> "WorkitemView":
        """Return the view of a workitem."""
        told = workitem_words(item)
        return cls(
            worklist=item.manager,
            uid=item.uid,
            state=item.state,
            words=told.words,
            level=told.level,
            priority=item.priority.name.lower(),
            study_instance_uid=item.study.study_instance_uid,
            source=item.study.source,
            outputs=len(item.outputs),
            reason=item.reason,
            found_at=item.found_at,
            claimed_at=item.claimed_at,
            ended_at=item.ended_at,
        )


@dataclass(frozen=True, slots=True)
class WorklistsView:
    """All worklists, and the workitems changed last."""

    worklists: tuple[WorklistView, ...]
    workitems: tuple[WorkitemView, ...]


def worklist_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the worklists."""

    def look() -> WorklistsView:
        counts = site.store.workitems.counts()
        lists = []
        for one in site.config.worklists:
            known = site.store.workitems.worklist(one.name)
            of_it = {state: counts.get((one.name, state), 0) for state in WorkitemState}
            lists.append(
                WorklistView(
                    one.name,
                    one.kind,
                    one.source,
                    known.answered_at,
                    known.subscribed_at,
                    known.fault,
                    {state: number for state, number in of_it.items() if number},
                )
            )
        items = site.store.workitems.list(limit=ROWS)
        return WorklistsView(tuple(lists), tuple(map(WorkitemView.of, items)))

    def page(request: Request) -> Response:
        return site.render(request, "worklists/worklists.html", view=look())

    def document(_request: Request) -> Response:
        return site.json(look())

    return [
        Entry("/worklists", page, Role.VIEWER, summary="The worklists and their workitems."),
        Entry(
            "/api/worklists",
            document,
            Role.VIEWER,
            summary="The worklists: last answer, fault, and the workitems changed last.",
            view=WorklistsView,
        ),
    ]
