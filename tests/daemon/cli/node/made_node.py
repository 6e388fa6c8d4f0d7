"""A folder with configuration, store and spool, for commands on a node that does not run."""

import json
from dataclasses import replace
from pathlib import Path

from cxr_model.finding_text import NOT_CALIBRATED
from storage.files.folder_spool import FolderSpool
from storage.records import AnalysisRecord, Delivery, JobKind, StudyStatus
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.store_rows import analysis, claim, made_object, new_instance
from tests.tools.ports import HOST, free_port

HELD = "1.2.9"
HOSTILE = "PAT\x1b[2J\u202e山田"


def make_node(folder: Path) -> Path:
    """Fill a folder: a study with a refused film and a parked delivery, and one in doubt."""
    peers = [
        {"name": "hospital", "ae_title": "MODALITY", "sends": True},
        {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": 4242, "receives": ["report"]},
    ]
    ports = {"listener": {"port": free_port()}, "web": {"port": free_port()}}
    (folder / "config.yaml").write_text(json.dumps({"peers": peers, **ports}))
    spool = FolderSpool(folder / "data" / "spool")
    with Store.open(f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}", migrate=True) as store:
        _report_a_study(store, spool)
        for uid, patient in (("1.2.9.1", "A"), ("1.2.9.2", "B")):
            film = new_instance(uid, uid, study_instance_uid=HELD, patient_id=patient)
            store.record_instance(film, 0)
        _analyse(store, films=2)
        store.results.record_report(
            claim(store, JobKind.REPORT), StudyStatus.REPORTED, "", [made_object("2.25.9")], []
        )
    return folder


def _report_a_study(store: Store, spool: FolderSpool) -> None:
    for uid in ("1.2.3.1", "1.2.3.2"):
        path = spool.write(f"received/aa/{uid}.dcm", b"DICM").path
        film = new_instance(uid, uid, accession_number="ACC-7", patient_id=HOSTILE)
        store.record_instance(replace(film, spool_path=path), 0)
    _analyse(store, replace(analysis(utc_now()), notes=[NOT_CALIBRATED, "low resolution"]))
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(
        refused, int(refused.subject), "LATERAL_VIEW", f"ViewPosition says {HOSTILE}"
    )
    report = made_object("2.25.77")
    spool.write(report.spool_path, b"DICM")
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [report],
        [Delivery("2.25.77", "pacs")],
    )
    store.jobs.fail(claim(store, JobKind.DELIVER), f"status 0xA900: {HOSTILE}", None)


def _analyse(store: Store, record: AnalysisRecord | None = None, films: int = 1) -> None:
    for _ in range(films):
        job = claim(store, JobKind.ANALYSE)
        store.results.record_analysis(job, int(job.subject), record or analysis(utc_now()))
