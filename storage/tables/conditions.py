"""Conditions on rows that several rooms use."""

from sqlalchemy import ColumnElement, Table, and_, select

from storage.records import StudyKey
from storage.tables.schema import instances


def of_study(table: Table, key: StudyKey) -> ColumnElement[bool]:
    """Return the condition that a row of instances, objects or studies is of this study."""
    return and_(table.c.source == key.source, table.c.study_instance_uid == key.study_instance_uid)


def has_later_revision() -> ColumnElement[bool]:
    """Return the condition that the source sent a later revision, in this or another study."""
    later = instances.alias()
    return (
        select(later.c.id)
        .where(
            later.c.source == instances.c.source,
            later.c.sop_instance_uid == instances.c.sop_instance_uid,
            later.c.revision > instances.c.revision,
        )
        .exists()
    )
