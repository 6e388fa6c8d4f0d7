"""The events in the history of a study in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from daemon.web.studies.study_view import StepView
from storage.search.study_records import TimelineEvent, TimelineKind

_WORDS: Mapping[TimelineKind, str] = {
    TimelineKind.ASSOCIATION: "{actor} opened an association",
    TimelineKind.RECEIVED: "{subject} received from {actor}",
    TimelineKind.RECEIVED_AGAIN: "{subject} received once more, with the same content",
    TimelineKind.REJECTED: "{subject} rejected in its archive",
    TimelineKind.PATIENT_CHANGED: "Patient changed by {actor}",
    TimelineKind.SET_ASIDE: "{subject} set aside by an operator",
    TimelineKind.ANALYSED: "{subject} analysed",
    TimelineKind.NOT_ANALYSED: "{subject} not analysed",
    TimelineKind.REPORTED: "{subject} made",
    TimelineKind.HELD: "Study held: nothing of it leaves",
    TimelineKind.RELEASED: "Study released by {actor}",
    TimelineKind.PARKED: "Parked: {subject}",
    TimelineKind.RETRIED: "Retried by {actor}: {subject}",
    TimelineKind.DISCARDED: "Discarded by {actor}: {subject}",
    TimelineKind.ANALYSIS_REQUESTED: "Another analysis asked for by {actor}",
    TimelineKind.DELIVERY_REQUESTED: "Another delivery to {subject} asked for by {actor}",
    TimelineKind.DELIVERED: "Delivered to {subject}",
    TimelineKind.COMMITMENT_REQUESTED: "{subject} asked to commit to what it got",
    TimelineKind.COMMITTED: "{subject} is committed to it",
    TimelineKind.WORKITEM_FOUND: "Workitem of {actor} found",
    TimelineKind.WORKITEM_CLAIMED: "Workitem of {actor} claimed",
    TimelineKind.WORKITEM_CANCEL_REQUESTED: "{actor} asked to cancel its workitem",
    TimelineKind.WORKITEM_ENDED: "Workitem of {actor} {subject}",
    TimelineKind.REVIEWED: "{subject} reviewed by {actor}",
    TimelineKind.PURGED: "File of {subject} deleted after its retention time",
}
_JOB = re.compile(r"(analyse|report|deliver|commit|answer|perform) \d+")
_TASKS = {
    "analyse": "analysis",
    "report": "report",
    "deliver": "delivery",
    "commit": "commitment",
    "answer": "answer",
    "perform": "workitem",
}
_UNKNOWN_ACTOR = "a caller"
_TOGETHER = timedelta(minutes=1)


def steps_of(
    events: Iterable[TimelineEvent], films: Mapping[str, int], reports: Mapping[str, int]
) -> Sequence[StepView]:
    """Return the events in words; those within a minute that read the same are one, counted.

    `films` and `reports` are their numbers in the study by SOP Instance UID.
    """
    found: list[tuple[datetime, str, str]] = []
    counts: list[int] = []
    last: dict[tuple[str, str], int] = {}
    for event in events:
        words, detail = _words(event, films, reports)
        place = last.get((words, detail), -1)
        if place < 0 or event.at - found[place][0] > _TOGETHER:
            place = last[words, detail] = len(found)
            found.append((event.at, words, detail))
            counts.append(0)
        counts[place] += event.count
    return [
        StepView(at, f"{words} ({count} times)" if count > 1 else words, detail)
        for (at, words, detail), count in zip(found, counts, strict=True)
    ]


def _words(
    event: TimelineEvent, films: Mapping[str, int], reports: Mapping[str, int]
) -> tuple[str, str]:
    """Return an event in words, and its detail."""
    subject = _subject(event, films, reports)
    pattern = _WORDS[event.kind]
    if event.kind is TimelineKind.REPORTED and not event.subject:
        pattern = "Decided about a report"
    words = pattern.format(actor=event.actor or _UNKNOWN_ACTOR, subject=subject)
    host = f"from {event.host}" if event.host else ""
    detail = "; ".join(filter(None, (event.detail, host)))
    return f"{words[:1].upper()}{words[1:]}", detail


def _subject(event: TimelineEvent, films: Mapping[str, int], reports: Mapping[str, int]) -> str:
    if event.subject in films:
        return f"film {films[event.subject]}"
    if event.subject in reports:
        return f"report {reports[event.subject]}"
    job = _JOB.fullmatch(event.subject)
    return f"the {_TASKS[job[1]]}" if job is not None else event.subject or "the study"
