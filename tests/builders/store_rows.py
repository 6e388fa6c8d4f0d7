"""Records with sensible values; a test names only the values that matter to it."""

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from storage.records import (
    AnalysisRecord,
    FindingRecord,
    Job,
    JobKind,
    NewInstance,
    ObjectKind,
    ObjectRecord,
    StudyKey,
)
from storage.store import Store

STUDY = "1.2.3"
STUDY_KEY = StudyKey("", STUDY)
"""The study of a source that is not known."""
LEASE = timedelta(seconds=60)
SOURCE = "modality"
"""The source of the films and of the objects made from them."""
REGION = ((10.5, 20.5), (30.5, 20.25), (20.5, 40.5))

_INSTANCE = NewInstance(
    sop_instance_uid="1.2.3.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    study_instance_uid=STUDY,
    series_instance_uid="1.2.3.9",
    patient_id="P1",
    accession_number="A1",
    study_date="20260301",
    modality="DX",
    calling_ae_title="MODALITY",
    spool_path="received/aa/aa.dcm",
    size=4,
    sha256="",
)


def new_instance(uid: str = "1.2.3.1", content: str = "pixels", **changes: Any) -> NewInstance:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return dataclasses.replace(_INSTANCE, sop_instance_uid=uid, sha256=sha256, **changes)


def made_object(
    uid: str, kind: ObjectKind = ObjectKind.REPORT, instance_id: int | None = None
) -> ObjectRecord:
    label = "Mass" if kind is ObjectKind.HEATMAP else None
    sop_class = "1.2.840.10008.5.1.4.1.1.88.34"
    return ObjectRecord(uid, sop_class, kind, STUDY, instance_id, label, f"objects/{uid}", 9, "ab")


def analysis(
    at: datetime, probability: float = 0.8, objects: Sequence[ObjectRecord] = ()
) -> AnalysisRecord:
    return AnalysisRecord(
        analysed_at=at,
        model_name="starter",
        model_version="1",
        model_sha256="cd",
        findings=[
            FindingRecord("Mass", 1.5, probability, 0.5, probability > 0.5, REGION),
            FindingRecord("Hernia", -4.0, 0.02, 0.5, False),
        ],
        notes=["no PixelSpacing"],
        objects=objects,
    )


def claim(store: Store, kind: JobKind, worker: str = "worker") -> Job:
    """Claim a job; fail if there is none."""
    job = store.jobs.claim([kind], worker, LEASE)
    assert job is not None
    return job


def receive(store: Store, *uids: str) -> list[int]:
    """Record images of one study; return their numbers."""
    return [store.record_instance(new_instance(uid), 0).instance_id for uid in uids]


def analyse(store: Store, at: datetime) -> Job:
    """Record the result of the next ANALYSE job; return the job."""
    job = claim(store, JobKind.ANALYSE)
    store.results.record_analysis(job, int(job.subject), analysis(at))
    return job
