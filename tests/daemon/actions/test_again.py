"""A study analysed again by the real pipeline: nothing twice with one model, all new with another.

Objects that were delivered are sent again as they are.
"""

from pathlib import Path

import pytest

from daemon.actions.actor import Actor
from daemon.actions.studies import analyse_again, send_again
from daemon.analyse.pipeline import Pipeline
from daemon.analyst import Analyst
from daemon.config.settings import Config
from storage.records import JobKind, JobState, ObjectRecord, Standing, StudyKey, StudyStatus
from tests.builders.bench import EVERYTHING, Bench, everything_wanted
from tests.builders.images.films import film
from tests.builders.made_models import build_bundle
from tests.builders.store_rows import LEASE

ALICE = Actor("alice")


def deliver(bench: Bench) -> list[str]:
    """Deliver every object that waits; return the subjects of the deliveries."""
    delivered = []
    while job := bench.store.jobs.claim([JobKind.DELIVER], "courier", LEASE):
        bench.store.results.record_delivery(job, 0x0000)
        delivered.append(job.subject)
    return delivered


def contents(bench: Bench, uid: str) -> dict[str, bytes]:
    """Return the bytes of every result of a study that counts, by UID."""
    study = bench.study(uid)
    made: list[ObjectRecord] = [*study.last_reports]
    made += [record for item in study.instances for record in item.objects]
    return {
        record.sop_instance_uid: bench.spool.read(record.spool_path, record.sha256)
        for record in made
        if record.standing is Standing.VALID
    }


@pytest.mark.slow
def test_the_same_model_makes_the_same_objects_and_another_makes_new_ones(
    bench: Bench, pipeline: Pipeline, tmp_path: Path
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("again"))
    bench.work()
    key = StudyKey(bench.study(uid).source, uid)
    first = contents(bench, uid)
    sent = deliver(bench)
    assert sent

    assert analyse_again(bench.config, bench.store, key, ALICE).refused == {}
    bench.work()

    assert contents(bench, uid) == first
    assert deliver(bench) == []
    assert bench.study(uid).status is StudyStatus.REPORTED
    assert bench.store.jobs.list(state=JobState.PARKED) == ()

    again = send_again(bench.config, bench.store, key, EVERYTHING.name, ALICE)
    assert set(again.queued) <= set(first)
    assert sorted(deliver(bench)) == sorted(
        subject for subject in sent if subject.endswith(f"@{EVERYTHING.name}")
    )

    build_bundle(tmp_path / "other", version="2")
    other = Pipeline.open(Config().model.model_copy(update={"bundle": str(tmp_path / "other")}))
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, other)
    analyse_again(bench.config, bench.store, key, ALICE)
    bench.work()

    new = contents(bench, uid)
    assert not set(new) & set(first)
    assert {subject.partition("@")[0] for subject in deliver(bench)} == set(new)
