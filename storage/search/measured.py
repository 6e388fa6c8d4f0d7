"""Studies of the list with the probabilities of their findings."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, and_, bindparam, func, select

from storage.images.doubt import counts
from storage.search.records import MeasuredStudy
from storage.search.studies import study_row
from storage.tables.conditions import has_later_revision
from storage.tables.schema import findings, instances
from storage.tables.schema import study_summaries as listed

PART_STUDIES = 500

_NUMBERS: BindParameter[Any] = bindparam("numbers", expanding=True)
_ROWS: Select[Any] = select(listed).where(listed.c.id.in_(_NUMBERS))
_HIGHEST: Select[Any] = (
    select(listed.c.id, findings.c.label, func.max(findings.c.probability))
    .join(
        instances,
        and_(
            instances.c.study_instance_uid == listed.c.study_instance_uid,
            instances.c.source == listed.c.source,
        ),
    )
    .join(findings, findings.c.instance_id == instances.c.id)
    .where(listed.c.id.in_(_NUMBERS), counts(), ~has_later_revision())
    .group_by(listed.c.id, findings.c.label)
)


def load_part(connection: Connection, numbers: Sequence[int]) -> tuple[MeasuredStudy, ...]:
    """Return the studies with these row numbers, in this order."""
    values = {"numbers": list(numbers)}
    rows = {row.id: row for row in connection.execute(_ROWS, values)}
    highest: dict[int, dict[str, float]] = defaultdict(dict)
    for number, label, probability in connection.execute(_HIGHEST, values):
        highest[number][label] = probability
    return tuple(
        MeasuredStudy(study_row(rows[number]), highest[number])
        for number in numbers
        if number in rows
    )
