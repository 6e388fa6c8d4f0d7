"""A performer of workitems over a store, a manager in memory and a PACS that is a set of UIDs."""

import logging
from dataclasses import dataclass, field

from daemon.config.partners.query import QueryConfig, RetrieveService
from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config
from daemon.worker.peer_queue import PeerQueue
from daemon.worklist.inputs import Inputs
from daemon.worklist.outputs import Keeper
from daemon.worklist.performer import Performer
from daemon.worklist.search import Search
from dicom_io.ups.workitems import Code, StepPriority
from storage.files.folder_spool import FolderSpool
from storage.records import Job, JobKind
from storage.store import Store
from storage.worklist.records import Workitem
from tests.builders.outbox import queue_report
from tests.builders.store_rows import LEASE, SOURCE
from tests.builders.worklist.manager import MemoryManager
from tests.tools.clock import Clock

PACS = "pacs"
RIS = WorklistConfig(
    name="ris", kind=WorklistKind.DIMSE, source=SOURCE, ae_title="RIS", host="127.0.0.1", port=104
)
CONFIG = Config(
    peers=(
        PeerConfig(name="modality", ae_title="MODALITY", sends=True, source=SOURCE),
        PeerConfig(
            name="archive",
            ae_title="PACS",
            host="127.0.0.1",
            port=105,
            sends=True,
            source=SOURCE,
            query=QueryConfig(retrieve=RetrieveService.GET),
        ),
    )
)
"""A node that may fetch films of the source from the peer `archive`."""


@dataclass
class Scene:
    """One worklist `ris`, whose results the destination `pacs` keeps."""

    store: Store
    spool: FolderSpool
    clock: Clock
    manager: MemoryManager = field(default_factory=MemoryManager)
    kept: dict[str, set[str]] = field(default_factory=dict)
    config: WorklistConfig = RIS
    worker: int = 0

    def study(self, number: int) -> str:
        return f"2.25.8{number}"

    def order(self, number: int, priority: StepPriority = StepPriority.MEDIUM) -> str:
        """List a workitem about the film of study `number`; return its UID."""
        uid = f"2.25.60{number}"
        self.manager.order(uid, self.study(number), f"2.25.9{number}", priority=priority)
        return uid

    def send(self, number: int) -> None:
        """Have the film of study `number` arrive, and its report made."""
        queue_report(self.store, self.spool, PACS, number)

    def deliver(self, coerced_uid: str = "") -> None:
        """Deliver everything to the PACS, which may choose another UID."""
        while job := self.store.jobs.claim([JobKind.DELIVER], "deliverer", LEASE):
            made = self.store.results.delivery(job).object
            self.store.results.record_delivery(job, 0x0000, coerced_uid=coerced_uid)
            kept = self.kept.setdefault(made.study_instance_uid, set())
            kept.add(coerced_uid or made.sop_instance_uid)

    def search(self) -> None:
        Search(self.config, self.store).run(self.manager)

    def perform(self, *, seconds: float = 60.0) -> None:
        """Do every due step of every workitem, as a new process after `seconds`."""
        self.clock.advance(seconds)
        performer, queue = self.performer()
        while job := queue.claim():
            performer.perform(job, self.manager)

    def performer(self) -> tuple[Performer, PeerQueue]:
        self.worker += 1
        queue = PeerQueue(
            self.store,
            self.config.name,
            (JobKind.PERFORM,),
            f"courier-{self.worker}",
            LEASE,
            logging.getLogger("worklist"),
        )
        station = Code("CXRD", "99CXRD", "CXRD")
        performer = Performer(
            self.config,
            (Keeper(PACS, ae_title="PACS"),),
            station,
            self.spool,
            self.store,
            queue,
            Inputs(CONFIG, RIS, self.store),
            self.clock,
        )
        return performer, queue

    def job(self, uid: str) -> Job:
        (found,) = (
            job
            for job in self.store.jobs.list(kind=JobKind.PERFORM)
            if job.subject.startswith(f"{uid}@")
        )
        return found

    def item(self, uid: str) -> Workitem:
        return self.store.workitems.of(self.job(uid))
