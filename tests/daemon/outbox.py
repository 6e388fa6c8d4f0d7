"""Puts a report into the outbox without a model: for tests of what delivers it."""

import datetime

from dicom_io.encode import to_bytes
from dicom_io.report import build_report
from storage.records import (
    Delivery,
    JobKind,
    NewInstance,
    ObjectKind,
    ObjectRecord,
    StudyStatus,
)
from storage.spool import Spool, object_path
from storage.store import Store
from tests.dicom_io.objects import full_header, report_content

HOUR = datetime.timedelta(hours=1)


def queue_report(store: Store, spool: Spool, destination: str, number: int = 1) -> str:
    """Queue a real report for `destination`; its SOP Instance UID."""
    uid = f"2.25.7{number}"
    report = build_report(report_content(full_header(), sop_instance_uid=uid))
    stored = spool.write(object_path(uid), to_bytes(report))
    study = f"{report.StudyInstanceUID}.{number}"
    store.record_instance(_source(study, number), quiet_seconds=0)
    analyse = store.jobs.claim((JobKind.ANALYSE,), "test", HOUR)
    assert analyse is not None
    store.results.record_refusal(analyse, int(analyse.subject), "NONE", "")
    job = store.jobs.claim((JobKind.REPORT,), "test", HOUR)
    assert job is not None
    record = ObjectRecord(
        sop_instance_uid=uid,
        sop_class_uid=str(report.SOPClassUID),
        kind=ObjectKind.REPORT,
        study_instance_uid=study,
        instance_id=None,
        label=None,
        spool_path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
    )
    store.results.record_report(
        job, study, StudyStatus.REPORTED, "", [record], [Delivery(uid, destination)]
    )
    return uid


def _source(study: str, number: int) -> NewInstance:
    return NewInstance(
        sop_instance_uid=f"2.25.8{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_instance_uid=study,
        series_instance_uid="2.25.9",
        patient_id="",
        accession_number="",
        study_date="",
        modality="CR",
        calling_ae_title="TEST",
        spool_path="",
        size=0,
        sha256=str(number),
    )
