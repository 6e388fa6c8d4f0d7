"""A review as a form or a program sends it, checked against the film."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.web.problems import BadRequestError
from storage.records import Instance, Verdict

MOST_CHARACTERS = 2000
"""Characters of a remark."""

VERDICT_FIELD, SEEN_FIELD = "verdict.", "seen."
"""Begin the names of a form's fields; the label follows."""


@dataclass(frozen=True, slots=True)
class SentReview:
    """A review of one film.

    `verdicts` are by label, None takes a verdict back; a label that is not named stays as it is.
    `seen` are the calls that the reviewer saw. `remark` is None if it stays as it is.
    """

    verdicts: Mapping[str, Verdict | None]
    seen: Mapping[str, bool]
    remark: str | None


def of_form(fields: Mapping[str, list[str]], film: Instance) -> SentReview:
    """Return the review in the fields of a form. Raises BadRequestError."""
    values = {name: given[-1] for name, given in fields.items()}
    verdicts: dict[str, str | None] = {}
    seen: dict[str, bool] = {}
    for name, value in values.items():
        if name.startswith(VERDICT_FIELD):
            verdicts[name.removeprefix(VERDICT_FIELD)] = value or None
        elif name.startswith(SEEN_FIELD):
            seen[name.removeprefix(SEEN_FIELD)] = value == "1"
    return check_review(verdicts, seen, values.get("remark"), film)


def check_review(
    verdicts: Mapping[str, str | None], seen: Mapping[str, bool], remark: str | None, film: Instance
) -> SentReview:
    """Return a review whose findings are those of the film. Raises BadRequestError."""
    labels = {finding.label for finding in film.findings}
    for label in (*verdicts, *seen):
        if label not in labels:
            raise BadRequestError(f"the film has no finding {label[:32]!r}")
    return SentReview(
        {label: _verdict(label, value) for label, value in verdicts.items()}, seen, _remark(remark)
    )


def _verdict(label: str, value: str | None) -> Verdict | None:
    if value is None:
        return None
    if value not in list(Verdict):
        raise BadRequestError(f"the verdict on {label} is {', '.join(Verdict)} or none")
    return Verdict(value)


def _remark(value: str | None) -> str | None:
    if value is None:
        return None
    remark = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(remark) > MOST_CHARACTERS:
        raise BadRequestError(
            f"the remark has {len(remark)} characters; {MOST_CHARACTERS} are allowed. Go back to"
            " shorten it: the review is not saved."
        )
    return remark
