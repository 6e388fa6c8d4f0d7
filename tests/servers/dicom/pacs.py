"""A PACS that records each object it receives."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from dicom_io.peer.peers import Peer
from dicom_io.receive.events import Rejection
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from tests.tools.ports import HOST, NODE, PACS


def pacs_node(
    on_store: Callable[[ReceivedInstance], StoreStatus] = lambda _: StoreStatus.SUCCESS,
    port: int = 0,
    ae_title: str = PACS,
    *,
    host: str = HOST,
    max_associations: int = 32,
    on_rejected: Callable[[Rejection], None] = lambda _: None,
) -> Node:
    """Return a Storage SCP, not yet started, that answers as `on_store` says."""
    return Node(
        ae_title=ae_title,
        host=host,
        port=port,
        peers=[Peer(NODE)],
        on_store=on_store,
        on_rejected=on_rejected,
        max_associations=max_associations,
    )


class RecordingPacs:
    """A Storage SCP that counts each object's arrivals and keeps the last copy."""

    def __init__(self, folder: Path, port: int = 0, ae_title: str = PACS) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.modalities: dict[str, str] = {}
        self.studies: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._node = pacs_node(self._keep, port, ae_title)

    def __enter__(self) -> Self:
        self._node.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._node.stop()

    @property
    def port(self) -> int:
        return self._node.port

    def _keep(self, received: ReceivedInstance) -> StoreStatus:
        uid = received.sop_instance_uid
        (self._folder / f"{uid}.dcm").write_bytes(received.data)
        with self._lock:
            self.counts[uid] += 1
            self.modalities[uid] = received.header.modality
            self.studies[uid] = received.header.study_instance_uid
        return StoreStatus.SUCCESS

    def of(self, modality: str) -> list[Path]:
        """Return the files of the objects of a modality."""
        with self._lock:
            uids = [uid for uid, value in self.modalities.items() if value == modality]
        return [self._folder / f"{uid}.dcm" for uid in uids]

    def reports_of(self, study_instance_uid: str) -> list[Path]:
        """Return the files of a study's reports; they come after its heatmaps."""
        return [path for path in self.of("SR") if self.studies[path.stem] == study_instance_uid]

    def heatmaps_of(self, study_instance_uid: str) -> list[Path]:
        """Return the files of a study's heatmaps."""
        return [path for path in self.of("OT") if self.studies[path.stem] == study_instance_uid]
