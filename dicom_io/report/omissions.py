"""Objects of the study that were not analysed: one line per series and reason.

A study can hold a film and hundreds of CT slices. The report then has one line for the slices. A
line names few objects; only these are in the evidence of the report, which stays short as well.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.uid import UID

from dicom_io.gate.reasons import Reason
from dicom_io.report.content import NotAnalysed

_MOST_NAMED = 3
_MOST_SERIES = 10
_MOST_DETAILS = 3


@dataclass(frozen=True, slots=True)
class Omission:
    """Objects that were not analysed for one reason: those of one series, or of many series."""

    objects: Sequence[NotAnalysed]

    @property
    def named(self) -> Sequence[NotAnalysed]:
        """The objects whose UIDs the report names: all if they are few, else none."""
        return self.objects if len(self.objects) <= _MOST_NAMED else ()

    def line(self) -> str:
        """Return the line: the objects, the code of the reason, its meaning, the details."""
        reason = self.objects[0].reason
        meaning = Reason(reason).explanation if reason in Reason.__members__ else ""
        parts = f"Not analysed: {self._subject()}: {reason!s}:", meaning, self._details()
        return " ".join(part for part in parts if part)

    def _subject(self) -> str:
        names = ", ".join(skipped.sop_instance_uid for skipped in self.named)
        if len(self.objects) == 1:
            return names
        kinds = {UID(skipped.sop_class_uid).name for skipped in self.objects}
        kind = f" ({kinds.pop().replace(' Storage', '')})" if len(kinds) == 1 else ""
        series = {skipped.series_instance_uid for skipped in self.objects}
        place = f"{len(series)} series" if len(series) > 1 else f"series {series.pop()}"
        counted = f"{len(self.objects)} objects{kind} of {place}"
        return f"{counted}: {names}" if names else counted

    def _details(self) -> str:
        details = list(dict.fromkeys(s.detail for s in self.objects if s.detail))
        return "; ".join(details[:_MOST_DETAILS]) + ("; ..." if details[_MOST_DETAILS:] else "")


def omissions(not_analysed: Iterable[NotAnalysed]) -> list[Omission]:
    """Return the objects by reason and series, in the order of their first objects.

    A reason that applies to more than ten series gets one line for all of them.
    """
    by_place: dict[tuple[str, str], list[NotAnalysed]] = {}
    for skipped in not_analysed:
        place = skipped.reason, skipped.series_instance_uid
        by_place.setdefault(place, []).append(skipped)
    series = Counter(reason for reason, _ in by_place)
    lines: dict[tuple[str, str], list[NotAnalysed]] = {}
    for (reason, uid), objects in by_place.items():
        place = reason, uid if series[reason] <= _MOST_SERIES else ""
        lines.setdefault(place, []).extend(objects)
    return [Omission(objects) for objects in lines.values()]
