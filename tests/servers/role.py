"""The listener role in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.config.settings import Config
from daemon.listener import run
from daemon.worker.role import RoleContext
from storage.files.folder_spool import FolderSpool
from storage.store import Store


@contextmanager
def running_listener(config: Config) -> Iterator[None]:
    """Run the listener until the block ends."""
    Store.open(config.resolved_database_url, migrate=True).close()
    FolderSpool(config.data_dir / "spool")
    ready, stop = threading.Event(), threading.Event()
    context = RoleContext(config, "test", stop, ready.set)
    listener = threading.Thread(target=run, args=(context,))
    listener.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        stop.set()
        listener.join(10)
    assert not listener.is_alive()
