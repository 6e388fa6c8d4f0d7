"""The priority of a film passes to its report and its deliveries, and to a study that waits."""

from datetime import timedelta

from storage.images.results import Results
from storage.records import Delivery, JobKind, JobState, Priority, StudyStatus
from storage.store import Store
from tests.builders.store_rows import LEASE, STUDY, analysis, claim, made_object, new_instance
from tests.tools.clock import Clock

PACS = "pacs"
STAT, ROUTINE = Priority.STAT, Priority.ROUTINE


def receive(store: Store, uid: str, priority: Priority, study: str = STUDY) -> int:
    film = new_instance(uid, uid, study_instance_uid=study, priority=priority)
    return store.record_instance(film, 0).instance_id


def waiting(store: Store) -> dict[str, int]:
    """Return the priority of each job that has not ended, by its kind and subject."""
    states = JobState.QUEUED, JobState.RUNNING, JobState.PARKED
    found = (job for state in states for job in store.jobs.list(state))
    return {f"{job.kind} {job.subject}": job.priority for job in found}


def report(store: Store, clock: Clock) -> None:
    """Analyse what waits, and report the study with a delivery."""
    while (job := store.jobs.claim([JobKind.ANALYSE], "a", LEASE)) is not None:
        store.results.record_analysis(job, int(job.subject), analysis(clock.now))
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [made_object("9.1")],
        [Delivery("9.1", PACS)],
    )


def deliver(results: Results, store: Store) -> None:
    job = store.jobs.claim([JobKind.DELIVER], "c", LEASE, PACS)
    assert job is not None
    results.record_delivery(job, 0, "1.2", commit_after=timedelta(0))


def test_the_priority_of_a_film_is_that_of_all_that_follows(store: Store, clock: Clock) -> None:
    film = receive(store, "1.1", STAT)
    assert store.results.instance(film).priority == STAT
    assert waiting(store) == {f"analyse {film}": 1, f"report {STUDY}@": 1}
    (row,) = store.audit.rows()
    assert row.detail.endswith(", STAT")

    report(store, clock)
    assert waiting(store) == {f"deliver 9.1@{PACS}": 1}
    deliver(store.results, store)
    assert waiting(store) == {f"commit {STUDY}@{PACS}": 1}


def test_an_ordinary_film_stays_ordinary(store: Store, clock: Clock) -> None:
    receive(store, "1.1", ROUTINE)
    report(store, clock)
    deliver(store.results, store)
    assert waiting(store) == {f"commit {STUDY}@{PACS}": 0}
    assert not any("STAT" in row.detail for row in store.audit.rows())


def test_a_stat_film_raises_the_jobs_of_its_study_that_wait(store: Store, clock: Clock) -> None:
    receive(store, "1.1", ROUTINE)
    report(store, clock)
    second, other = receive(store, "1.2", ROUTINE), receive(store, "7.1", ROUTINE, "7")
    third = receive(store, "1.3", STAT)

    assert waiting(store) == {
        f"analyse {second}": 1,
        f"analyse {third}": 1,
        f"report {STUDY}@": 1,
        f"deliver 9.1@{PACS}": 1,
        f"analyse {other}": 0,
        "report 7@": 0,
    }
    assert store.results.instance(second).priority == ROUTINE


def test_an_ordinary_film_of_a_stat_study_that_waits_is_not_waited_for(store: Store) -> None:
    receive(store, "1.1", STAT)
    second = receive(store, "1.2", ROUTINE)
    assert waiting(store)[f"analyse {second}"] == STAT
    assert store.results.instance(second).priority == ROUTINE


def test_a_later_ordinary_film_of_a_stat_study_is_ordinary(store: Store, clock: Clock) -> None:
    receive(store, "1.1", STAT)
    report(store, clock)
    deliver(store.results, store)
    store.jobs.finish(claim(store, JobKind.COMMIT))

    second = receive(store, "1.2", ROUTINE)
    assert waiting(store) == {f"analyse {second}": 0, f"report {STUDY}@": 0}


def test_a_film_sent_again_as_stat_is_raised_while_it_waits(store: Store, clock: Clock) -> None:
    film = receive(store, "1.1", ROUTINE)
    receive(store, "1.1", STAT)
    assert set(waiting(store).values()) == {1}
    assert store.results.instance(film).priority == STAT
    receive(store, "1.1", ROUTINE)
    assert set(waiting(store).values()) == {1}

    report(store, clock)
    deliver(store.results, store)
    store.jobs.finish(claim(store, JobKind.COMMIT))
    receive(store, "1.1", STAT)
    assert waiting(store) == {}


def test_a_delivery_has_the_priority_to_which_its_report_was_raised(
    store: Store, clock: Clock
) -> None:
    film = receive(store, "1.1", ROUTINE)
    store.results.record_analysis(claim(store, JobKind.ANALYSE), film, analysis(clock.now))
    running = claim(store, JobKind.REPORT)
    receive(store, "1.1", STAT)
    store.results.record_report(
        running, StudyStatus.REPORTED, "", [made_object("9.1")], [Delivery("9.1", PACS)]
    )
    assert waiting(store) == {f"deliver 9.1@{PACS}": 1}
