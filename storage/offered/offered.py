"""Queries for the films and results that a caller may fetch, by the sources that it may read.

On offer are received films and results made here whose file is kept. A film is not on offer after a
later revision, its rejection by its archive (IOCM), or its removal from its study by an operator. A
result is not on offer while its study is in doubt, after a later one replaced it, or without its
film. Pictures are offered in their default form.

Every query is limited to the sources that the caller names: a study of another source is answered
like a study that does not exist.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    func,
    or_,
    select,
)

from storage.offered.records import MODALITIES, OfferedInstance, OfferedStudy, StudyMatch
from storage.records import RETENTION_EXPIRED, Standing
from storage.tables.conditions import has_later_revision
from storage.tables.database import Database
from storage.tables.schema import instances, objects, study_summaries

_KINDS = tuple(MODALITIES)


class Offered:
    """The instances on offer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self, sources: Collection[str], match: StudyMatch, *, offset: int, limit: int
    ) -> tuple[OfferedStudy, ...]:
        """Return the studies of these sources that match, in the order of their reception."""
        query = (
            select(study_summaries)
            .where(study_summaries.c.source.in_(sources), *_conditions(match))
            .where(
                or_(
                    _films_of_study().exists(),
                    _results_of_study().exists(),
                )
            )
            .order_by(study_summaries.c.id)
            .offset(offset)
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
            found = _modalities(connection, [(row.source, row.study_instance_uid) for row in rows])
        return tuple(
            OfferedStudy(
                source=row.source,
                study_instance_uid=row.study_instance_uid,
                patient_id=row.patient_id,
                patient_name=row.patient_name,
                patient_sex=row.patient_sex,
                patient_birth_date=row.patient_birth_date,
                accession_number=row.accession_number,
                study_date=row.study_date,
                modalities=tuple(sorted(found[row.source, row.study_instance_uid])),
                instances=sum(found[row.source, row.study_instance_uid].values()),
            )
            for row in rows
        )

    def instances(
        self, sources: Collection[str], study_instance_uids: Collection[str]
    ) -> tuple[OfferedInstance, ...]:
        """Return the instances of these studies: the films, then the results."""
        films = (
            select(instances)
            .where(
                instances.c.source.in_(sources),
                instances.c.study_instance_uid.in_(study_instance_uids),
                _film_is_offered(),
            )
            .order_by(instances.c.id)
        )
        results = (
            select(objects)
            .where(
                objects.c.source.in_(sources),
                objects.c.study_instance_uid.in_(study_instance_uids),
                _result_is_offered(),
            )
            .order_by(objects.c.id)
        )
        with self._database.reading() as connection:
            found = [
                OfferedInstance(
                    source=row.source,
                    study_instance_uid=row.study_instance_uid,
                    series_instance_uid=row.series_instance_uid,
                    sop_instance_uid=row.sop_instance_uid,
                    sop_class_uid=row.sop_class_uid,
                    transfer_syntax_uid=row.transfer_syntax_uid,
                    modality=row.modality,
                    spool_path=row.spool_path,
                    sha256=row.sha256,
                    size=row.size,
                    number=row.id,
                )
                for row in connection.execute(films)
            ]
            found += [
                OfferedInstance(
                    source=row.source,
                    study_instance_uid=row.study_instance_uid,
                    series_instance_uid="",
                    sop_instance_uid=row.sop_instance_uid,
                    sop_class_uid=row.sop_class_uid,
                    transfer_syntax_uid="",
                    modality=MODALITIES[row.kind],
                    spool_path=row.spool_path,
                    sha256=row.sha256,
                    size=row.size,
                    kind=row.kind,
                )
                for row in connection.execute(results)
            ]
        return tuple(found)


def _conditions(match: StudyMatch) -> list[ColumnElement[bool]]:
    table = study_summaries.c
    found: list[ColumnElement[bool]] = []
    if match.study_instance_uids:
        found.append(table.study_instance_uid.in_(match.study_instance_uids))
    if match.patient_id:
        found.append(_matches(table.patient_id, match.patient_id))
    if match.patient_name:
        found.append(table.patient_name.regexp_match(f"(?i){_pattern(match.patient_name)}"))
    if match.accession_number:
        found.append(_matches(table.accession_number, match.accession_number))
    if match.first_date:
        found.append(table.study_date >= match.first_date)
    if match.last_date:
        found.append(and_(table.study_date <= match.last_date, table.study_date != ""))
    if match.modalities:
        kinds = [kind for kind, modality in MODALITIES.items() if modality in match.modalities]
        found.append(
            or_(
                _films_of_study().where(instances.c.modality.in_(match.modalities)).exists(),
                _results_of_study().where(objects.c.kind.in_(kinds)).exists(),
            )
        )
    return found


def _matches(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Compare with case on both databases, of which SQLite's LIKE would not."""
    if "*" not in text and "?" not in text:
        return column == text
    return column.regexp_match(_pattern(text))


def _pattern(text: str) -> str:
    """Return a regular expression that both databases understand.

    A run of wildcards is one repetition: several side by side would be tried in every combination.
    """
    parts = []
    for part in re.split(r"([*?]+)", text):
        if part.startswith(("*", "?")):
            least = part.count("?")
            parts.append(f".{{{least},}}" if "*" in part else f".{{{least}}}")
        else:
            parts.append(re.escape(part))
    return f"^{''.join(parts)}$"


def _films_of_study() -> Select[tuple[int]]:
    return _of_summary(instances).where(_film_is_offered())


def _results_of_study() -> Select[tuple[int]]:
    return _of_summary(objects).where(_result_is_offered())


def _of_summary(table: Table) -> Select[tuple[int]]:
    return (
        select(table.c.id)
        .where(
            table.c.source == study_summaries.c.source,
            table.c.study_instance_uid == study_summaries.c.study_instance_uid,
        )
        .correlate(study_summaries)
    )


def _film_is_offered() -> ColumnElement[bool]:
    return and_(
        instances.c.purged_at.is_(None),
        instances.c.set_aside_at.is_(None),
        or_(instances.c.rejected_by.is_(None), instances.c.rejected_by == RETENTION_EXPIRED),
        ~has_later_revision(),
    )


def _result_is_offered() -> ColumnElement[bool]:
    return and_(
        objects.c.purged_at.is_(None),
        objects.c.standing == Standing.VALID,
        objects.c.form == "",
        objects.c.kind.in_(_KINDS),
        or_(
            objects.c.instance_id.is_(None),
            select(instances.c.id)
            .where(instances.c.id == objects.c.instance_id, _film_is_offered())
            .exists(),
        ),
    )


def _modalities(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> defaultdict[tuple[str, str], dict[str, int]]:
    """Return the number of instances of each modality in each of these studies."""
    sources = {source for source, _ in keys}
    uids = {uid for _, uid in keys}
    films = (
        select(
            instances.c.source,
            instances.c.study_instance_uid,
            instances.c.modality,
            func.count(),
        )
        .where(
            instances.c.source.in_(sources),
            instances.c.study_instance_uid.in_(uids),
            _film_is_offered(),
        )
        .group_by(instances.c.source, instances.c.study_instance_uid, instances.c.modality)
    )
    results = (
        select(objects.c.source, objects.c.study_instance_uid, objects.c.kind, func.count())
        .where(
            objects.c.source.in_(sources),
            objects.c.study_instance_uid.in_(uids),
            _result_is_offered(),
        )
        .group_by(objects.c.source, objects.c.study_instance_uid, objects.c.kind)
    )
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    counted = [tuple(row) for row in connection.execute(films)]
    counted += [
        (source, uid, MODALITIES[kind], count)
        for source, uid, kind, count in connection.execute(results)
    ]
    for source, uid, modality, count in counted:
        of_study = found[source, uid]
        of_study[modality] = of_study.get(modality, 0) + count
    return found
