"""The inputs of a workitem that its source has not sent, fetched from the archive that has them."""

import datetime
import logging
from collections.abc import Sequence

from daemon.config.partners.worklist import WorklistConfig
from daemon.config.settings import Config
from storage.records import Job, JobState, RetrievalPurpose
from storage.store import Store
from storage.worklist.records import Workitem, WorkitemInput

log = logging.getLogger("worklist")

AGAIN = datetime.timedelta(minutes=1)
"""The shortest time between two orders of a study that does not come."""


class Inputs:
    """Orders the studies that are missing from the peers of a source that may be asked for them."""

    def __init__(self, config: Config, worklist: WorklistConfig, store: Store) -> None:
        self._name = worklist.name
        self._store = store
        self._peers = {
            peer.name: {peer.ae_title, peer.query.url if peer.query else None}
            for peer in config.retrieved
            if peer.effective_source == worklist.source
        }

    def request(self, item: Workitem, missing: Sequence[WorkitemInput]) -> None:
        """Order the study of the missing inputs once; without a peer, wait for the source.

        That is the peer that the workitem names as the place of the inputs, else the first.
        """
        places = {one.place for one in missing}
        named = [name for name, known in self._peers.items() if known & places]
        peer = next(iter((*named, *self._peers)), None)
        study = item.study.study_instance_uid
        if peer is None or not self._may_order(self._store.retrievals.job_of(peer, study)):
            return
        actor = f"worklist {self._name}"
        self._store.retrievals.order(peer, [study], RetrievalPurpose.INPUT, actor)
        log.info("%s: the images of a workitem are asked of %s", self._name, peer)

    def _may_order(self, job: Job | None) -> bool:
        """Return True unless the study is being fetched, or an order of it has just ended."""
        if job is None:
            return True
        return job.state is JobState.DONE and self._store.now() - job.updated_at >= AGAIN
