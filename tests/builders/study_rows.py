"""Films of studies, their analyses and reports, as the tests of holds and corrections need them."""

from datetime import timedelta

from storage.records import Delivery, JobKind, ObjectKind, StudyHold, StudyStatus
from storage.store import Store
from tests.builders.store_rows import STUDY, analysis, claim, made_object, new_instance
from tests.tools.clock import Clock


def receive_film(
    store: Store, uid: str, patient: str, content: str = "", study: str = STUDY
) -> int:
    image = new_instance(
        uid, content or f"{uid} {patient}", patient_id=patient, study_instance_uid=study
    )
    return store.record_instance(image, 0).instance_id


def analyse_films(store: Store, clock: Clock) -> None:
    """Analyse every image, with a heatmap each."""
    while job := store.jobs.claim([JobKind.ANALYSE], "analyst", timedelta(seconds=60)):
        heatmap = made_object(f"5.{job.subject}", ObjectKind.HEATMAP, int(job.subject))
        store.results.record_analysis(job, int(job.subject), analysis(clock.now, objects=[heatmap]))


def report_study(store: Store, uid: str, *heatmaps: str) -> StudyHold | None:
    """End the REPORT job with a report and its deliveries."""
    sent = [Delivery(name, "PACS") for name in (*heatmaps, uid)]
    return store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.REPORTED, "", [made_object(uid)], sent
    )
