"""The builder of large stores makes stores that the search, the queue and the trail agree with."""

from storage.records import JobState, StudyState
from storage.search.records import StudyFilter
from storage.store import Store
from tests.builders.big_store import build
from tests.storage.listed import assert_listed

STUDIES = 300


def test_a_built_store_is_whole(database_url: str) -> None:
    build(database_url, STUDIES)
    assert_listed(database_url)
    with Store.open(database_url, migrate=False) as store:
        everything = store.search.studies(StudyFilter(), limit=STUDIES)
        assert (everything.total, len(everything.rows)) == (STUDIES, STUDIES)
        assert {row.state for row in everything.rows} == set(StudyState)
        assert store.audit.verify().number == store.audit.count() > STUDIES
        assert store.jobs.list(state=JobState.PARKED) != ()
        assert store.search.studies(StudyFilter(patient_id="frequent-1")).total == 10
        for row in everything.rows[:20]:
            view = store.search.study(row.key)
            assert view is not None
            assert view.timeline[0].kind == "received"
