"""Workers of the daemon in threads of this process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.config.settings import Config
from daemon.worker.role import RoleContext
from storage.files.folder_spool import FolderSpool
from storage.store import Store


@dataclass
class Workers:
    """A store and the workers on it; `close` stops them."""

    store: Store
    spool: FolderSpool
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        self.threads.append(thread)

    def context(self, config: Config, worker: str = "courier") -> RoleContext:
        """Return the context of a role with this configuration."""
        return RoleContext(config, worker, self.stop, lambda: None)

    def close(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
