"""Queries of the audit table; times are left as the driver gives them, see `raw_rows`."""

from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, cast, func, select

from storage.export.columns import BEFORE_LABELS
from storage.records import ObjectKind
from storage.tables.schema import deliveries, findings, instances, jobs, objects, reviews, studies


def _cell(column: Any) -> Any:
    """Return a column as text, which is empty where the column is null."""
    return func.coalesce(cast(column, Text), "")


_newer = instances.alias()
_SUPERSEDED_AT = (
    select(func.min(_newer.c.received_at))
    .where(
        _newer.c.source == instances.c.source,
        _newer.c.sop_instance_uid == instances.c.sop_instance_uid,
        _newer.c.revision > instances.c.revision,
    )
    .scalar_subquery()
)

_TIMES = frozenset({"received_at", "analysed_at"})
INSTANCES: Select[Any] = (
    select(
        *(
            instances.c[name] if name in _TIMES else _cell(instances.c[name])
            for name in BEFORE_LABELS
        ),
        instances.c.purged_at,
        instances.c.source,
        _cell(studies.c.status),
        _cell(studies.c.detail),
        _SUPERSEDED_AT,
        instances.c.set_aside_at,
        _cell(instances.c.rejected_by),
        cast(instances.c.notes, Text),
        instances.c.id,
    )
    .outerjoin(
        studies,
        and_(
            studies.c.source == instances.c.source,
            studies.c.study_instance_uid == instances.c.study_instance_uid,
        ),
    )
    .order_by(instances.c.received_at, instances.c.id)
)
REPORTS: Select[Any] = (
    select(
        objects.c.source,
        objects.c.study_instance_uid,
        objects.c.form,
        objects.c.created_at,
        objects.c.sop_instance_uid,
        objects.c.standing,
    )
    .where(
        objects.c.kind == ObjectKind.REPORT,
        objects.c.study_instance_uid.in_(bindparam("studies", expanding=True, type_=Text())),
    )
    .order_by(objects.c.id)
)

FINDINGS: Select[Any] = (
    select(
        findings.c.instance_id,
        findings.c.label,
        findings.c.probability,
        findings.c.threshold,
        findings.c.present,
    )
    .where(findings.c.instance_id.in_(bindparam("ids", expanding=True)))
    .order_by(findings.c.instance_id, findings.c.position)
)

DELIVERIES: Select[Any] = (
    select(
        deliveries.c.sop_instance_uid,
        deliveries.c.destination,
        deliveries.c.delivered_at,
        deliveries.c.sop_class_uid,
        objects.c.sop_class_uid,
        deliveries.c.committed_at,
        jobs.c.state,
    )
    .join(jobs, jobs.c.id == deliveries.c.job_id)
    .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
    .where(deliveries.c.sop_instance_uid.in_(bindparam("uids", expanding=True, type_=Text())))
    .order_by(deliveries.c.destination)
)

REVIEWS: Select[Any] = (
    select(
        reviews.c.instance_id,
        reviews.c.label,
        reviews.c.reviewer,
        reviews.c.verdict,
        reviews.c.present,
        reviews.c.remark,
        reviews.c.reviewed_at,
    )
    .where(reviews.c.instance_id.in_(bindparam("ids", expanding=True)))
    .order_by(reviews.c.instance_id, reviews.c.id)
)
