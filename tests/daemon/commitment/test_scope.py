"""A peer learns about its own films and results, not about those of another peer."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from daemon.commitment.answers import Answering, log
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import CommitmentConfig, CommitmentScope
from daemon.config.settings import Config
from daemon.receive.reception import Reception
from daemon.worker.lease import Lease
from dicom_io.commitment.messages import FailureReason, new_transaction_uid
from storage.files.folder_spool import FolderSpool
from storage.records import InstanceName, JobKind
from storage.store import Store
from tests.builders.images.films import film, received
from tests.builders.outbox import queue_report
from tests.builders.store_rows import LEASE, claim
from tests.servers.workers import Workers
from tests.tools.ports import HOST

pytestmark = pytest.mark.network

ANOTHER_CLASS = "1.2.840.10008.5.1.4.1.1.2"
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
COMMITTED = None

NORTH = PeerConfig(
    name="north", ae_title="NORTH", host=HOST, port=104, sends=True, receives=(Product.REPORT,)
)
ROOM = PeerConfig(name="north-room", ae_title="ROOM", sends=True, source="north")
SOUTH = PeerConfig(
    name="south", ae_title="SOUTH", host=HOST, port=105, sends=True, receives=(Product.REPORT,)
)


@pytest.fixture
def workers(tmp_path: Path, store: Store) -> Iterator[Workers]:
    with closing(Workers(store, FolderSpool(tmp_path / "spool"))) as opened:
        yield opened


def keep_film(workers: Workers, source: str) -> InstanceName:
    instance = received(film(f"a film of {source}"))
    Reception(workers.spool, workers.store, 30, lambda *_: source).receive(instance)
    return InstanceName(instance.sop_class_uid, instance.sop_instance_uid)


def asked(
    workers: Workers,
    peer: PeerConfig,
    *names: InstanceName,
    scope: CommitmentScope = CommitmentScope.OWN,
) -> list[int | None]:
    """Return the failure reason of each instance that the peer asks about."""
    config = Config(peers=(NORTH, ROOM, SOUTH), commitment=CommitmentConfig(scope=scope))
    transaction = new_transaction_uid()
    job = workers.store.inquiries.record(peer.name, transaction, names, "listener", LEASE)
    lease = Lease(workers.store, job, timedelta(seconds=60), log)
    answer = Answering(config, workers.store, workers.spool).answer_to(job, peer, lease)
    reasons = {failure.reference.sop_instance_uid: failure.reason for failure in answer.failed}
    assert len(answer.committed) + len(answer.failed) == len(names)
    return [reasons.get(name.sop_instance_uid, COMMITTED) for name in names]


def test_a_peer_may_ask_about_the_films_of_its_source(workers: Workers) -> None:
    of_north, of_south, of_nobody = (keep_film(workers, name) for name in ("north", "south", ""))
    gone = FailureReason.NO_SUCH_INSTANCE
    films = (of_north, of_south, of_nobody)
    assert asked(workers, NORTH, *films) == [COMMITTED, gone, gone]
    assert asked(workers, ROOM, *films) == [COMMITTED, gone, gone]
    assert asked(workers, SOUTH, *films) == [gone, COMMITTED, gone]


def test_the_class_of_another_source_is_not_told(workers: Workers) -> None:
    kept = keep_film(workers, "south")
    wrong = InstanceName(ANOTHER_CLASS, kept.sop_instance_uid)
    assert asked(workers, SOUTH, wrong) == [FailureReason.CLASS_INSTANCE_CONFLICT]
    assert asked(workers, NORTH, wrong) == [FailureReason.NO_SUCH_INSTANCE]


def test_a_damaged_film_of_another_source_is_not_told(workers: Workers) -> None:
    kept = keep_film(workers, "south")
    (file,) = workers.store.kept_files(kept.sop_instance_uid)
    workers.spool.path(file.spool_path).write_bytes(b"damaged")
    assert asked(workers, SOUTH, kept) == [FailureReason.PROCESSING_FAILURE]
    assert asked(workers, NORTH, kept) == [FailureReason.NO_SUCH_INSTANCE]


@pytest.mark.parametrize("coerced", ["", "2.25.77"])
def test_a_peer_may_ask_about_what_it_was_sent(workers: Workers, coerced: str) -> None:
    uid = queue_report(workers.store, workers.spool, "south")
    named = InstanceName(REPORT_CLASS, coerced or uid)
    assert asked(workers, SOUTH, named) == [FailureReason.NO_SUCH_INSTANCE]
    job = claim(workers.store, JobKind.DELIVER)
    workers.store.results.record_delivery(job, 0xB000, REPORT_CLASS, coerced_uid=coerced)

    assert asked(workers, SOUTH, named) == [COMMITTED]
    assert asked(workers, NORTH, named) == [FailureReason.NO_SUCH_INSTANCE]
    other_class = InstanceName(ANOTHER_CLASS, named.sop_instance_uid)
    assert asked(workers, SOUTH, other_class) == [FailureReason.CLASS_INSTANCE_CONFLICT]
    assert asked(workers, SOUTH, InstanceName(REPORT_CLASS, uid)) == [COMMITTED]


def test_with_scope_all_a_peer_may_ask_about_any_instance(workers: Workers) -> None:
    films = [keep_film(workers, name) for name in ("north", "south", "")]
    assert asked(workers, NORTH, *films, scope=CommitmentScope.ALL) == [COMMITTED] * 3


def test_a_batch_is_one_transaction(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answering, "batch_size", 40)
    monkeypatch.setattr(Answering, "turn_seconds", 60.0)
    kept = keep_film(workers, "north")
    unknown = [InstanceName(ANOTHER_CLASS, f"2.25.9{number}") for number in range(119)]
    begun: list[str] = []
    engine = workers.store.inquiries._database.engine
    event.listen(engine, "begin", lambda _: begun.append("begin"))
    reasons = asked(workers, NORTH, kept, *unknown)
    assert reasons == [COMMITTED, *[FailureReason.NO_SUCH_INSTANCE] * 119]
    # One to record the request, one to read it; then for each batch the lease and the look-up.
    assert len(begun) <= 2 + 2 * 3
