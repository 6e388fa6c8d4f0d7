"""The search as the pages use it."""

from collections.abc import Iterator

from sqlalchemy import select

from storage.records import StudyKey
from storage.search.measured import PART_STUDIES, load_part
from storage.search.records import MeasuredStudy, StudyFilter, StudyPage, StudySort
from storage.search.studies import load_numbers, load_page
from storage.search.study import load_view
from storage.search.study_records import StudyView
from storage.tables.database import Database
from storage.tables.schema import study_summaries


class Search:
    """Studies by any field, and one study with its history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(
        self,
        chosen: StudyFilter,
        sort: StudySort = StudySort.RECEIVED,
        *,
        descending: bool = True,
        offset: int = 0,
        limit: int = 50,
    ) -> StudyPage:
        """Return `limit` studies of a filter from `offset` on, in an order.

        The number of all studies of the filter is exact up to a limit (`studies.COUNTED`), from
        which on `more` is true. Raises ValueError for a negative offset or limit.
        """
        if offset < 0 or limit < 0:
            raise ValueError(f"no page: offset {offset}, limit {limit}")
        with self._database.reading() as connection:
            return load_page(
                connection, chosen, sort, descending=descending, offset=offset, limit=limit
            )

    def study(self, key: StudyKey) -> StudyView | None:
        """Return a study with its films, results, deliveries and history; None if it is unknown."""
        with self._database.reading() as connection:
            return load_view(connection, key)

    def parts(
        self,
        chosen: StudyFilter,
        sort: StudySort = StudySort.RECEIVED,
        *,
        descending: bool = True,
        studies: int = PART_STUDIES,
    ) -> Iterator[tuple[MeasuredStudy, ...]]:
        """Yield all studies of a filter in an order, some at a time, with their probabilities.

        The studies are chosen at once, and read part by part: a slow caller holds no transaction,
        and a study that is purged meanwhile is left out.
        """
        with self._database.reading() as connection:
            numbers = load_numbers(connection, chosen, sort, descending=descending)
        for start in range(0, len(numbers), studies):
            with self._database.reading() as connection:
                part = load_part(connection, numbers[start : start + studies])
            yield part

    def keys_of(self, study_instance_uid: str) -> tuple[StudyKey, ...]:
        """Return the studies with this UID, in the order of their sources."""
        query = (
            select(study_summaries.c.source)
            .where(study_summaries.c.study_instance_uid == study_instance_uid)
            .order_by(study_summaries.c.source)
        )
        with self._database.reading() as connection:
            return tuple(
                StudyKey(source, study_instance_uid) for source in connection.scalars(query)
            )
