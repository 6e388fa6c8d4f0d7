"""Storage commitment with archives that commit, fail, refuse, or do not answer."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset

from daemon.audit.network import NetworkAudit
from daemon.commitment.commitment_worker import CommitmentWorker
from daemon.commitment.responder import CommitmentResponder
from daemon.config.destinations import destination_of
from daemon.config.fields import TlsConfig
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import CommitmentConfig, CourierConfig, ListenerConfig
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.deliver.delivery_worker import DeliveryWorker
from daemon.listener import open_node
from daemon.preflight.checks import quick_checks
from daemon.receive.reception import Reception
from dicom_io.commitment.messages import (
    CommitmentAnswer,
    CommitmentRequest,
    MessageStatus,
    Reference,
    build_request,
)
from dicom_io.objects.classes import REPORT_CLASS, REPORT_CLASSES
from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import StoreStatus
from dicom_io.report.older_classes import fallback_uid
from storage.errors import StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.records import InstanceName, Job, JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film, received
from tests.builders.outbox import queue_report
from tests.builders.store_rows import LEASE, SOURCE
from tests.servers.dicom.commitment_archive import (
    Archive,
    all_committed,
    all_failed,
    call_back,
    running_archive,
)
from tests.servers.dicom.commitment_peers import modality_association, send_n_action
from tests.servers.workers import Workers
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network
QUICK = CommitmentConfig(
    delay_seconds=0.2,
    answer_seconds=20.0,
    max_requests=2,
    max_resends=1,
    same_association_seconds=1.0,
)


SENDS = PeerConfig(name=SOURCE, ae_title="MODALITY", sends=True)


class CommitmentWorkers(Workers):
    """The workers of the courier for one peer."""

    def config(self, *peers: PeerConfig, **commitment: float) -> Config:
        return Config(
            peers=peers,
            courier=CourierConfig(
                retry_seconds=0.2, retry_max_seconds=0.4, network_timeout_seconds=5.0
            ),
            commitment=QUICK.model_copy(update=commitment),
        )

    def deliver(self, peer: PeerConfig) -> None:
        """Start delivering to the archive, as the courier does."""
        context = self.context(self.config(SENDS, peer))
        self.start(DeliveryWorker(context, peer, self.spool, self.store).run)

    def commit(self, peer: PeerConfig, **commitment: float) -> Config:
        """Start requests and answers to the peer, as the courier does."""
        config = self.config(peer, **commitment)
        worker = CommitmentWorker(
            self.context(config),
            peer,
            destination_of(config, peer),
            self.spool,
            self.store,
        )
        self.start(worker.run)
        return config

    def job(self, kind: JobKind) -> Job:
        (job,) = self.store.jobs.list(kind=kind)
        return job

    def await_state(self, kind: JobKind, state: JobState) -> Job:
        """Wait until the only job of this kind is in this state."""
        wait_until(
            lambda: {job.state for job in self.store.jobs.list(kind=kind)} == {state},
            f"{kind} is {state}",
            30,
        )
        return self.job(kind)

    @property
    def delivered(self) -> str:
        return next(iter(self.store.export.rows()))["deliveries"]


@pytest.fixture
def workers(tmp_path: Path, store: Store) -> Iterator[CommitmentWorkers]:
    with closing(CommitmentWorkers(store, FolderSpool(tmp_path / "spool"))) as opened:
        yield opened


def archive_at(port: int) -> PeerConfig:
    return PeerConfig(
        name="archive",
        ae_title="ARCHIVE",
        host=HOST,
        port=port,
        receives=(Product.REPORT,),
        commitment=True,
    )


def modality_at(port: int | None) -> PeerConfig:
    host = HOST if port else None
    return PeerConfig(name="modality", ae_title="MODALITY", host=host, port=port, sends=True)


@contextmanager
def listening(workers: CommitmentWorkers, config: Config) -> Iterator[int]:
    """Accept associations, as the listener does. Yield the port."""
    config = config.model_copy(update={"listener": ListenerConfig(port=free_port())})
    responder = CommitmentResponder(config, "listener", workers.spool, workers.store)
    workers.start(lambda: responder.run(workers.stop))
    reception = Reception(workers.spool, workers.store, 30, lambda *_: "modality")
    with open_node(
        config, reception, NetworkAudit(workers.store.audit), responder.handlers
    ) as node:
        yield node.port


def keep_film(workers: CommitmentWorkers, name: str = "asked for") -> Reference:
    """Receive a film. Return the reference of a peer to it."""
    instance = received(film(name))
    Reception(workers.spool, workers.store, 30, lambda *_: "modality").receive(instance)
    return Reference(instance.sop_class_uid, instance.sop_instance_uid)


def request_for(*references: Reference, transaction_uid: str = "2.25.1") -> Dataset:
    return build_request(CommitmentRequest(transaction_uid, references))


def failures(information: Dataset) -> dict[str, int]:
    return {
        item.ReferencedSOPInstanceUID: item.FailureReason
        for item in information.get("FailedSOPSequence", ())
    }


def test_an_archive_commits_to_the_objects_it_received(workers: CommitmentWorkers) -> None:
    uid = queue_report(workers.store, workers.spool, "archive")
    with running_archive(Archive(on_same_association=True), classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    assert archive.stored == [uid]
    assert "committed" in workers.delivered
    (request,) = archive.requests
    assert [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence] == [uid]


def test_an_archive_is_asked_for_the_uid_that_it_gave(workers: CommitmentWorkers) -> None:
    uid = queue_report(workers.store, workers.spool, "archive")
    coercing = Archive(on_same_association=True, coerced_uid="2.25.77")
    with running_archive(coercing, classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    assert archive.stored == [uid]
    (request,) = archive.requests
    assert [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence] == ["2.25.77"]
    assert "committed" in workers.delivered


def test_an_archive_commits_to_the_older_class_it_received(workers: CommitmentWorkers) -> None:
    older = REPORT_CLASSES[1]
    uid = queue_report(workers.store, workers.spool, "archive")
    with running_archive(Archive(on_same_association=True), classes=(older,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    assert archive.stored == [fallback_uid(uid, older)] != [uid]
    (request,) = archive.requests
    (item,) = request.ReferencedSOPSequence
    named = (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
    assert named == (older, archive.stored[0])
    assert "committed" in workers.delivered


def test_an_archive_that_lost_an_object_receives_it_again(workers: CommitmentWorkers) -> None:
    uid = queue_report(workers.store, workers.spool, "archive")
    answers = [lambda information: all_failed(information, 0x0112), all_committed]
    forgetful = Archive(
        on_same_association=True, answer=lambda information: answers.pop(0)(information)
    )
    with running_archive(forgetful, classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        wait_until(lambda: "committed" in workers.delivered, "committed at last", 30)
        workers.stop.set()
    assert archive.stored == [uid, uid]
    first, second = archive.requests
    assert first.TransactionUID != second.TransactionUID


def test_a_request_to_an_archive_that_never_commits_is_parked(workers: CommitmentWorkers) -> None:
    queue_report(workers.store, workers.spool, "archive")
    stubborn = Archive(
        on_same_association=True, answer=lambda information: all_failed(information, 0x0112)
    )
    with running_archive(stubborn, classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        job = workers.await_state(JobKind.COMMIT, JobState.PARKED)
        workers.stop.set()
    assert job.last_error == (
        "archive does not commit to 1 object(s): no such object instance (0x0112)"
    )
    assert len(archive.stored) == 1 + QUICK.max_resends


def test_a_request_without_an_answer_is_repeated_and_then_parked(
    workers: CommitmentWorkers,
) -> None:
    queue_report(workers.store, workers.spool, "archive")
    with running_archive(Archive(), classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port), answer_seconds=0.3, same_association_seconds=0.1)
        job = workers.await_state(JobKind.COMMIT, JobState.PARKED)
        workers.stop.set()
    assert job.last_error == "archive answered none of 2 requests in time"
    assert len({request.TransactionUID for request in archive.requests}) == QUICK.max_requests


def test_a_temporary_failure_is_retried_with_the_same_uid(workers: CommitmentWorkers) -> None:
    queue_report(workers.store, workers.spool, "archive")
    busy = Archive(on_same_association=True, replies=[0x0213, 0x0110])
    with running_archive(busy, classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    assert len(archive.requests) == 3
    assert len({request.TransactionUID for request in archive.requests}) == 1


def test_a_refusal_is_parked_with_its_status(workers: CommitmentWorkers) -> None:
    queue_report(workers.store, workers.spool, "archive")
    with running_archive(Archive(replies=[0x0124]), classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        workers.commit(archive_at(archive.port))
        job = workers.await_state(JobKind.COMMIT, JobState.PARKED)
        workers.stop.set()
    assert job.last_error == "archive refused the request for commitment: status 0x0124"


def test_a_request_waits_for_an_archive_that_is_down(workers: CommitmentWorkers) -> None:
    uid = queue_report(workers.store, workers.spool, "archive")
    peer = archive_at(free_port())
    assert peer.port is not None
    with running_archive(Archive(), peer.port, (REPORT_CLASS,)):
        workers.deliver(peer)
        workers.await_state(JobKind.DELIVER, JobState.DONE)
    workers.commit(peer)
    wait_until(
        lambda: "check host and port" in (workers.job(JobKind.COMMIT).last_error or ""), "a try"
    )
    with running_archive(Archive(on_same_association=True), peer.port) as archive:
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    (request,) = archive.requests
    assert request.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == uid


def test_an_archive_answers_by_calling_back(workers: CommitmentWorkers) -> None:
    queue_report(workers.store, workers.spool, "archive")
    with running_archive(Archive(), classes=(REPORT_CLASS,)) as archive:
        workers.deliver(archive_at(archive.port))
        config = workers.commit(archive_at(archive.port), same_association_seconds=0.1)
        wait_until(lambda: bool(archive.requests), "asked")
        with listening(workers, config) as port:
            answer = all_committed(archive.requests[0])
            assert call_back(port, answer) == 0x0000
            assert call_back(port, answer) == 0x0000
            unknown = dataclasses.replace(answer, transaction_uid="2.25.404")
            assert call_back(port, unknown) == 0x0115
        workers.await_state(JobKind.COMMIT, JobState.DONE)
        workers.stop.set()
    assert "committed" in workers.delivered


@pytest.mark.parametrize("offered", [True, False])
def test_the_preflight_checks_that_the_peer_offers_the_service(
    workers: CommitmentWorkers, tmp_path: Path, bundle: Path, offered: bool
) -> None:
    without = Node(
        ae_title="ARCHIVE",
        host=HOST,
        port=free_port(),
        peers=[Peer("CXRD")],
        on_store=lambda _: StoreStatus.SUCCESS,
    )
    archive = Archive()
    with running_archive(archive, classes=(REPORT_CLASS,)) if offered else without:
        peer = archive_at(archive.port if offered else without.port)
        config = workers.config(peer).model_copy(
            update={"data_dir": tmp_path / "checked", "model": ModelConfig(bundle=str(bundle))}
        )
        checks = {check.name: check for check in quick_checks(config)}
    assert checks["peer archive"].passed is offered
    assert ("Storage Commitment" in checks["peer archive"].detail) is not offered


def test_only_the_archive_may_answer(workers: CommitmentWorkers) -> None:
    config = workers.config(archive_at(free_port()), modality_at(None))
    with listening(workers, config) as port:
        answer = all_committed(request_for(Reference(REPORT_CLASS, "1.2.3")))
        assert call_back(port, answer, ae_title="MODALITY") == MessageStatus.NOT_AUTHORISED
        with modality_association(port, ae_title="ARCHIVE") as association:
            asked = send_n_action(association, request_for(Reference(REPORT_CLASS, "1.2.3")))
        assert asked == MessageStatus.NOT_AUTHORISED
        workers.stop.set()


def test_a_caller_without_the_pinned_certificate_may_not_answer(workers: CommitmentWorkers) -> None:
    pin = "a" * 64
    archive = PeerConfig(
        name="archive",
        ae_title="PACS",
        host=HOST,
        port=104,
        receives=(Product.REPORT,),
        commitment=True,
        tls=True,
        certificate_sha256=(pin,),
    )
    config = Config(
        listener=ListenerConfig(tls=True, tls_port=2762),
        tls=TlsConfig(certificate=Path("c"), key=Path("k"), ca=Path("a")),
        peers=(archive, PeerConfig(name="modality", ae_title="PACS", host=HOST, sends=True)),
    )
    responder = CommitmentResponder(config, "listener", workers.spool, workers.store)
    answer = CommitmentAnswer("2.25.1", (), ())
    for caller in (
        Caller("PACS", HOST),
        Caller("PACS", HOST, tls=True),
        Caller("PACS", HOST, tls=True, certificate="b" * 64),
    ):
        assert responder.take_answer(answer, caller) is MessageStatus.NOT_AUTHORISED
    pinned = Caller("PACS", HOST, tls=True, certificate=pin)
    assert responder.take_answer(answer, pinned) is MessageStatus.INVALID_ARGUMENT


def test_a_waiting_peer_is_answered_on_its_association(workers: CommitmentWorkers) -> None:
    kept = keep_film(workers)
    modality = Archive()
    with (
        listening(workers, workers.config(modality_at(None))) as port,
        modality_association(port, modality) as association,
    ):
        assert send_n_action(association, request_for(kept)) == MessageStatus.SUCCESS
        workers.await_state(JobKind.ANSWER, JobState.DONE)
        workers.stop.set()
    (answer,) = modality.answers
    assert answer.TransactionUID == "2.25.1"
    assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == kept.sop_instance_uid
    assert failures(answer) == {}


def test_a_peer_that_released_is_called_back(workers: CommitmentWorkers) -> None:
    kept = keep_film(workers)
    with running_archive(Archive(replies=[0x0213])) as modality:
        peer = modality_at(modality.port)
        with listening(workers, workers.config(peer)) as port:
            with modality_association(port) as association:
                assert send_n_action(association, request_for(kept)) == MessageStatus.SUCCESS
            workers.commit(peer)
            workers.await_state(JobKind.ANSWER, JobState.DONE)
            workers.stop.set()
    assert len(modality.answers) == 2, "once more after it had no room for the first"
    assert failures(modality.answers[-1]) == {}


def test_a_request_survives_the_listener(workers: CommitmentWorkers) -> None:
    kept = keep_film(workers)
    with running_archive(Archive()) as modality:
        name = InstanceName(kept.sop_class_uid, kept.sop_instance_uid)
        workers.store.inquiries.record("modality", "2.25.1", [name], "killed", LEASE)
        workers.store.jobs.release("killed")
        workers.commit(modality_at(modality.port))
        workers.await_state(JobKind.ANSWER, JobState.DONE)
        workers.stop.set()
    assert [answer.TransactionUID for answer in modality.answers] == ["2.25.1"]


def test_the_answer_to_a_released_peer_without_an_address_is_parked(
    workers: CommitmentWorkers,
) -> None:
    kept = keep_film(workers)
    with listening(workers, workers.config(modality_at(None))) as port:
        with modality_association(port) as association:
            send_n_action(association, request_for(kept))
        job = workers.await_state(JobKind.ANSWER, JobState.PARKED)
        workers.stop.set()
    assert "no host and port" in (job.last_error or "")


def test_an_answer_of_an_earlier_process_to_a_peer_without_an_address_is_parked(
    workers: CommitmentWorkers,
) -> None:
    asked = [InstanceName(REPORT_CLASS, "1.2.3")]
    workers.store.inquiries.record("modality", "2.25.1", asked, "listener:1", LEASE)
    workers.store.jobs.release("listener:1")
    with listening(workers, workers.config(modality_at(None))):
        job = workers.await_state(JobKind.ANSWER, JobState.PARKED)
        workers.stop.set()
    assert "no host and port" in (job.last_error or "")


def test_a_missing_altered_or_unreadable_file_is_not_committed(workers: CommitmentWorkers) -> None:
    good, missing, altered, unreadable = (
        keep_film(workers, name) for name in ("good", "missing", "altered", "unreadable")
    )
    unknown = Reference(good.sop_class_uid, "1.2.3.404")
    misnamed = Reference(REPORT_CLASS, good.sop_instance_uid)
    paths = {
        item: workers.store.kept_files(item.sop_instance_uid)[0].spool_path
        for item in (missing, altered, unreadable)
    }
    workers.spool.delete(paths[missing])
    workers.spool.delete(paths[unreadable])
    workers.spool.path(paths[unreadable]).mkdir()
    workers.spool.write(paths[altered], b"other bytes")
    modality = Archive()
    with (
        listening(workers, workers.config(modality_at(None))) as port,
        modality_association(port, modality) as association,
    ):
        send_n_action(association, request_for(good, missing, altered, unreadable, unknown))
        send_n_action(association, request_for(misnamed, transaction_uid="2.25.2"))
        send_n_action(association, request_for(good, transaction_uid="2.25.2"))
        wait_until(lambda: len(modality.answers) == 3, "all answers", 30)
        workers.stop.set()
    assert failures(modality.answers[0]) == {
        missing.sop_instance_uid: 0x0112,
        altered.sop_instance_uid: 0x0110,
        unreadable.sop_instance_uid: 0x0110,
        unknown.sop_instance_uid: 0x0112,
    }
    assert failures(modality.answers[1]) == {misnamed.sop_instance_uid: 0x0119}
    assert failures(modality.answers[2]) == {good.sop_instance_uid: 0x0131}


def test_an_answer_waits_with_its_reason_while_the_spool_is_unavailable(
    workers: CommitmentWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep_film(workers)
    with running_archive(Archive()) as modality:
        peer = modality_at(modality.port)
        with monkeypatch.context() as away:
            away.setattr(FolderSpool, "verify", out_of_reach)
            with (
                listening(workers, workers.config(peer)) as port,
                modality_association(port) as association,
            ):
                send_n_action(association, request_for(kept))
                postponed = workers.await_state(JobKind.ANSWER, JobState.QUEUED)
                workers.commit(peer)
                wait_until(
                    lambda: workers.job(JobKind.ANSWER).claims > postponed.claims, "a try", 30
                )
                waiting = workers.await_state(JobKind.ANSWER, JobState.QUEUED)
        workers.await_state(JobKind.ANSWER, JobState.DONE)
        workers.stop.set()
    assert [job.last_error for job in (postponed, waiting)] == ["nothing is there"] * 2
    assert failures(modality.answers[-1]) == {}


def test_a_failed_answer_to_a_peer_without_an_address_is_parked(
    workers: CommitmentWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep_film(workers)
    monkeypatch.setattr(FolderSpool, "verify", out_of_reach)
    with (
        listening(workers, workers.config(modality_at(None))) as port,
        modality_association(port) as association,
    ):
        send_n_action(association, request_for(kept))
        job = workers.await_state(JobKind.ANSWER, JobState.PARKED)
        workers.stop.set()
    assert "its answer failed: nothing is there" in (job.last_error or "")


def out_of_reach(*_: object) -> None:
    raise StoreUnavailableError("nothing is there")
