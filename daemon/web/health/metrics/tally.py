"""Counts and durations of the events of the audit trail, row by row.

Rows are never deleted, and so no count ever falls: neither a restart nor a purge changes it. Only
names that the configuration has, or that stand in the trail, become labels, MOST_NAMES at most.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from daemon.worker.waits.histogram import Histogram
from dicom_io.gate.reasons import Reason
from storage.audit.records import AuditKind, parse_subject
from storage.records import ReceiptOutcome, StudyStatus

MOST_NAMES = 100
"""Names of a label that are not in the configuration, beyond which a new one counts as OTHER."""
MOST_WAITING = 50_000
"""Films, studies or requests by hand that are remembered: of more, the oldest are forgotten."""
OTHER = "other"
NO_STATUS = "none"
COMMITMENT_RESULTS = ("committed", "sent_again", "refused")

FORMAT = 2
"""Number of the form of `plain`: counts of another form are counted anew."""

_REPORT_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
_STATUS = re.compile(r"status (0x[0-9A-F]{4})")
_REPEATS = re.compile(r" \((\d+) times\)$")
_OBJECTS = re.compile(r"(\d+) committed, (\d+) sent again, (\d+) refused")
_PRESENT = re.compile(r"(?:^|[;,] )([A-Za-z_ -]+) \d")
"""A finding and its probability, after a semicolon; in rows of version 0.1.0 after a comma."""
_REVISION = re.compile(r", revision (\d+)")
_QUEUES_A_REPORT = frozenset(ReceiptOutcome) - {ReceiptOutcome.DUPLICATE}
_QUEUES_AN_ANALYSIS = frozenset({ReceiptOutcome.NEW, ReceiptOutcome.REVISION})
_ENDED = frozenset(StudyStatus) - {StudyStatus.HELD}
_MAY_BE_REPEATED = frozenset({AuditKind.ASSOCIATION_ACCEPTED, AuditKind.ASSOCIATION_REFUSED})

Waiting = TypeVar("Waiting", str, list[str])

Row = Sequence[Any]
"""(number, recorded_at, kind, outcome, actor, subject, detail)"""


class ReportDelivery(NamedTuple):
    """The delivery of a report to a destination."""

    report: str
    destination: str
    at: str


class Tally:
    """The counts after a row.

    Attributes:
        number: the number of the last row.
        counts: counts by family and labels, as ("films_received", "XRAY1", "new").
        analysis: from the reception of a film to its first analysis.
        report: from the last film of a study to its report.
        delivery: from a report to its delivery, by destination.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        """`known` are names in the configuration: senders, destinations."""
        self.number = 0
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.analysis = Histogram()
        self.report = Histogram()
        self.delivery: dict[str, Histogram] = {}
        self._known = frozenset(known)
        self._names: dict[str, set[str]] = {}
        self._films: dict[str, str] = {}
        self._studies: dict[str, str] = {}
        self._by_hand: dict[str, list[str]] = {}

    def add(self, rows: Iterable[Row]) -> list[ReportDelivery]:
        """Count rows in their order; return the deliveries of reports, for `add_deliveries`."""
        delivered: list[ReportDelivery] = []
        for number, at, kind, outcome, actor, subject, detail in rows:
            self.number = number
            repeats = _REPEATS.search(detail) if kind in _MAY_BE_REPEATED else None
            self.counts["events", kind, outcome] += int(repeats[1]) if repeats else 1
            match kind:
                case AuditKind.INSTANCE_RECEIVED:
                    self._received(at, actor, subject, detail)
                case AuditKind.INSTANCE_REFUSED:
                    sender = self._name("sender", actor)
                    self.counts["films_refused", sender, self._dimse_status(detail)] += 1
                case AuditKind.INSTANCE_ANALYSED:
                    self._analysed(at, subject, detail)
                case AuditKind.INSTANCE_NOT_ANALYSED:
                    self._not_analysed(subject, detail)
                case AuditKind.INSTANCES_REJECTED:
                    self._not_analysed(subject, Reason.REJECTION_NOTE)
                case AuditKind.STUDY_REPORTED:
                    self._reported(at, subject, detail.partition(",")[0])
                case AuditKind.OBJECT_DELIVERED:
                    delivered += self._delivered(at, actor, subject, detail)
                case AuditKind.DELIVERY_REQUESTED:
                    self._sent_by_hand(parse_subject(subject))
                case AuditKind.JOB_PARKED:
                    name = self._name("kind", detail.partition(":")[0])
                    self.counts["job_parkings", name] += 1
                case AuditKind.COMMITMENT_RECEIVED:
                    self._committed(actor, detail)
        return delivered

    def add_deliveries(
        self, delivered: Iterable[ReportDelivery], made: Mapping[str, datetime]
    ) -> None:
        """Count the durations of deliveries of reports that were `made` at these times."""
        for report, destination, at in delivered:
            if report in made:
                seconds = (datetime.fromisoformat(at) - made[report]).total_seconds()
                self.delivery.setdefault(destination, Histogram()).add(seconds)

    def _received(self, at: str, sender: str, subject: str, detail: str) -> None:
        outcome = detail.partition(",")[0]
        named = self._name("sender", sender), self._name("outcome", outcome)
        self.counts["films_received", *named] += 1
        names = parse_subject(subject)
        revision = _REVISION.search(detail)
        film = _film({**names, "revision": revision[1] if revision else ""})
        is_late = outcome == ReceiptOutcome.KEPT_AGAIN and film in self._films
        if outcome in _QUEUES_AN_ANALYSIS or is_late:
            _wait(self._films, film, at)
        if outcome in _QUEUES_A_REPORT:
            _wait(self._studies, _study(names), at)

    def _analysed(self, at: str, subject: str, detail: str) -> None:
        self.counts["films_analysed",] += 1
        received = self._end_wait(subject)
        if received is not None:
            self.analysis.add(_seconds(received, at))
        for label in _PRESENT.findall(detail.partition("; model ")[0]):
            self.counts["findings_present", self._name("finding", label)] += 1

    def _not_analysed(self, subject: str, reason: str) -> None:
        self._end_wait(subject)
        self.counts["films_not_analysed", self._name("reason", reason)] += 1

    def _end_wait(self, subject: str) -> str | None:
        """Return when the film was received that has its first result now; else None."""
        return self._films.pop(_film(parse_subject(subject)), None)

    def _sent_by_hand(self, names: Mapping[str, str]) -> None:
        """Note that deliveries of a study to a destination are not those of its report."""
        study, destination = _study(names), names.get("destination", "")
        _wait(self._by_hand, study, sorted({*self._by_hand.get(study, ()), destination}))

    def _reported(self, at: str, subject: str, status: str) -> None:
        self.counts["studies_reported", self._name("status", status)] += 1
        study = _study(parse_subject(subject))
        if status not in _ENDED:
            return
        last_film = self._studies.pop(study, None)
        if last_film is not None and status == StudyStatus.REPORTED:
            self.report.add(_seconds(last_film, at))
        self._by_hand.pop(study, None)

    def _delivered(
        self, at: str, actor: str, subject: str, detail: str
    ) -> Iterator[ReportDelivery]:
        destination = self._name("destination", actor)
        self.counts["objects_delivered", destination, self._dimse_status(detail)] += 1
        names = parse_subject(subject)
        is_report = names.get("sop_class", "").startswith(_REPORT_CLASSES)
        if is_report and actor not in self._by_hand.get(_study(names), ()):
            yield ReportDelivery(names.get("object", ""), destination, at)

    def _committed(self, actor: str, detail: str) -> None:
        found = _OBJECTS.match(detail)
        destination = self._name("destination", actor)
        for result, number in zip(
            ("committed", "sent_again", "refused"), found.groups() if found else (), strict=False
        ):
            self.counts["commitment_objects", destination, result] += int(number)

    def _dimse_status(self, detail: str) -> str:
        found = _STATUS.match(detail)
        return self._name("DIMSE status", found[1] if found else NO_STATUS)

    def _name(self, label: str, name: str) -> str:
        """Return a name as the value of a label; OTHER for an empty one, and for one too many."""
        if name in self._known:
            return name
        if not name:
            return OTHER
        names = self._names.setdefault(label, set())
        if name not in names:
            if len(names) >= MOST_NAMES:
                return OTHER
            names.add(name)
        return name

    def plain(self) -> dict[str, Any]:
        """Return a copy of all of it as JSON values."""
        return {
            "format": FORMAT,
            "counts": [[*labels, number] for labels, number in self.counts.items()],
            "analysis": self.analysis.plain(),
            "report": self.report.plain(),
            "delivery": {name: one.plain() for name, one in self.delivery.items()},
            "names": {label: sorted(names) for label, names in self._names.items()},
            "films": dict(self._films),
            "studies": dict(self._studies),
            "by_hand": dict(self._by_hand),
        }

    def restore(self, number: int, plain: Any) -> bool:
        """Go on after the row `number` with JSON values; return False for another form of them."""
        try:
            if plain["format"] != FORMAT:
                return False
            counts = Counter({tuple(labels): int(one) for *labels, one in plain["counts"]})
            analysis = Histogram.of_plain(plain["analysis"])
            report = Histogram.of_plain(plain["report"])
            delivery = {
                str(name): Histogram.of_plain(one) for name, one in plain["delivery"].items()
            }
            names = {str(label): set(found) for label, found in plain["names"].items()}
            films, studies = dict(plain["films"]), dict(plain["studies"])
            by_hand = {str(study): list(names) for study, names in plain["by_hand"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return False
        self.number, self.counts = number, counts
        self.analysis, self.report, self.delivery = analysis, report, delivery
        self._names, self._films, self._studies, self._by_hand = names, films, studies, by_hand
        return True


def _film(names: Mapping[str, str]) -> str:
    """Return the name of a revision of a film."""
    return " ".join(names.get(name, "") for name in ("source", "instance", "revision"))


def _study(names: Mapping[str, str]) -> str:
    return f"{names.get('source', '')}/{names.get('study', '')}"


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _wait(waiting: dict[str, Waiting], name: str, since: Waiting) -> None:
    """Note what waits since when, as the newest; forget the oldest of more than MOST_WAITING."""
    waiting.pop(name, None)
    waiting[name] = since
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]
