"""The priority of films that an archive sends because this node asked for them (C-MOVE)."""

from daemon.config.partners.query import RetrieveService
from daemon.config.settings import Config
from dicom_io.receive.store_request import ReceivedInstance
from storage.records import Priority
from storage.store import Store


class Arrivals:
    """Recognises the films of studies that were ordered, among all that arrive."""

    def __init__(self, config: Config, store: Store) -> None:
        self._own_title = config.listener.ae_title
        self._names: dict[str, list[str]] = {}
        self._store = store
        for peer in config.queried:
            if peer.query is not None and peer.query.retrieve is RetrieveService.MOVE:
                self._names.setdefault(peer.ae_title, []).append(peer.name)

    def priority_of(self, received: ReceivedInstance) -> Priority | None:
        """Return the priority of a film that was ordered, else None. Raises StorageError.

        An archive may leave out the originator of the C-MOVE (PS3.7 9.1.1.1.5). A film that comes
        by the C-MOVE of another node was not ordered here.
        """
        names = self._names.get(received.calling_ae_title, ())
        if not names or received.move_originator not in ("", self._own_title):
            return None
        study = received.header.study_instance_uid
        found = [self._store.retrievals.film_priority(name, study) for name in names]
        return max((one for one in found if one is not None), default=None)
