"""Deliveries in a store, without their files."""

import dataclasses

from storage.records import Delivery, JobKind, StudyStatus
from storage.store import Store
from tests.builders.store_rows import claim, made_object, new_instance


def queue_delivery(store: Store, uid: str, source: str, *destinations: str) -> None:
    """Queue a report of a film of this source for these destinations."""
    study = f"{uid}.1"
    film = new_instance(f"{uid}.2", study_instance_uid=study, source=source)
    instance = store.record_instance(film, quiet_seconds=0).instance_id
    store.results.record_refusal(claim(store, JobKind.ANALYSE), instance, "NOT_CHEST", "")
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [dataclasses.replace(made_object(uid), study_instance_uid=study, source=source)],
        [Delivery(uid, destination) for destination in destinations],
    )
