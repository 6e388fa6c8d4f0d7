"""The reviews of a film as cells of the audit table."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Verdict

_MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class FilmReviews:
    """Reviews of a film: of each reviewer the newest about each finding.

    `outcomes` has, per label, the outcomes that they hold for true. `newest` is a time as the
    driver gives it.
    """

    outcomes: Mapping[str, Sequence[bool]]
    remarks: str
    reviewers: str
    newest: Any

    def verdict_on(self, label: str, call: bool | None) -> str:
        """Return agree, disagree or mixed on a call, or an empty text without a review or a call.

        A review of an earlier call counts for its outcome: to disagree with present is to agree
        with absent.
        """
        outcomes = set(self.outcomes.get(label, ()))
        if call is None or not outcomes:
            return ""
        if len(outcomes) == 2:
            return _MIXED
        return Verdict.AGREE if outcomes == {call} else Verdict.DISAGREE


NO_REVIEWS = FilmReviews({}, "", "", None)


def film_reviews(rows: Iterable[tuple[Any, ...]]) -> dict[int, FilmReviews]:
    """Return the reviews by instance, from rows of `REVIEWS`."""
    newest: dict[int, dict[tuple[str, str], tuple[Any, ...]]] = defaultdict(dict)
    for instance_id, label, reviewer, *said in rows:
        # The place is that of the newest, too: the order of remarks is that of their times.
        newest[instance_id].pop((label, reviewer), None)
        newest[instance_id][label, reviewer] = tuple(said)
    return {instance_id: _of_film(found) for instance_id, found in newest.items()}


def _of_film(found: Mapping[tuple[str, str], tuple[Any, ...]]) -> FilmReviews:
    outcomes: dict[str, list[bool]] = defaultdict(list)
    remarks, reviewers, at = [], [], None
    for (label, reviewer), (verdict, present, remark, reviewed_at) in found.items():
        if verdict is None and not remark:
            # Taken back.
            continue
        if verdict is not None:
            outcomes[label].append(bool(present) is (verdict == Verdict.AGREE))
        if remark:
            remarks.append(f"{reviewer} on {label}: {remark}" if label else f"{reviewer}: {remark}")
        reviewers.append(reviewer)
        at = reviewed_at
    return FilmReviews(outcomes, "; ".join(remarks), "; ".join(dict.fromkeys(reviewers)), at)
