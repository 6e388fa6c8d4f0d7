"""Acts of an operator on a study: release, analyse again, send again.

Each is one transaction with its audit row, and wakes the workers. With the state of the study that
the operator saw, a study that has changed since stays as it is.
"""

from collections.abc import Collection

from daemon.actions.actor import Actor
from daemon.config.products import objects_for
from daemon.config.settings import Config
from daemon.deliver.routes import refusal
from daemon.errors import UsageError
from daemon.worker.bell import ring_all
from storage.images.by_hand.repetition import Repetition
from storage.images.by_hand.seen import SeenStudy
from storage.records import Delivery, StudyKey
from storage.store import Store


def release_study(
    config: Config,
    store: Store,
    key: StudyKey,
    set_aside: Collection[str],
    actor: Actor,
    seen: SeenStudy | None = None,
) -> None:
    """Set films of a held study aside by SOP Instance UID, and report the rest.

    Raises UnknownRecordError, StudyHeldError, ChangedMeanwhileError; see `Studies.release`.
    """
    store.studies.release(
        key.study_instance_uid,
        set_aside,
        source=key.source,
        actor=actor.name,
        host=actor.host,
        seen=seen,
    )
    ring_all(config, store)


def analyse_again(
    config: Config,
    store: Store,
    key: StudyKey,
    actor: Actor,
    films: Collection[int] | None = None,
    seen: SeenStudy | None = None,
) -> Repetition:
    """Queue the analyses of a study's films again, or of those with these numbers; then its report.

    With the same model the objects have the same UIDs and contents, and none is sent. With
    another model there are new objects and a new report, which are sent.

    Returns the SOP Instance UIDs of the films. Raises UnknownRecordError, StudyHeldError,
    ChangedMeanwhileError.
    """
    repetition = store.studies.analyse_again(
        key, films, actor=actor.name, host=actor.host, seen=seen
    )
    ring_all(config, store)
    return repetition


def send_again(
    config: Config,
    store: Store,
    key: StudyKey,
    destination: str,
    actor: Actor,
    seen: SeenStudy | None = None,
) -> Repetition:
    """Deliver the last report of a study and its pictures to one destination, again if need be.

    The objects are those that the destination receives now; it may never have got them. One that is
    superseded, rejected, purged, or about to be sent is refused.

    Returns the SOP Instance UIDs of the objects. Raises UsageError for a destination that is not
    configured or may not have results of this source, or a study without a result for it;
    StudyHeldError, ChangedMeanwhileError.
    """
    peer = next((peer for peer in config.receivers if peer.name == destination), None)
    if peer is None:
        names = ", ".join(peer.name for peer in config.receivers) or "none"
        raise UsageError(f"{destination!r} is not a destination; the destinations are: {names}")
    if not config.routing.allows(key.source, destination):
        raise UsageError(refusal(config.routing, key.source, destination) or destination)
    study = store.results.study(key.study_instance_uid, key.source)
    wanted = objects_for(peer, study.last_reports, study.instances)
    if not wanted and study.hold is None:
        raise UsageError(
            f"study {key.study_instance_uid} has no result that {destination} receives"
        )
    repetition = store.studies.send_again(
        key,
        [Delivery(record.sop_instance_uid, destination) for record in wanted],
        actor=actor.name,
        host=actor.host,
        seen=seen,
    )
    ring_all(config, store)
    return repetition
