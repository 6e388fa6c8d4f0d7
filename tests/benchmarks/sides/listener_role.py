"""The listener's role as a process of its own, without the other roles.

`python -m tests.benchmarks.sides.listener_role CONFIG` prints `ready` and runs until SIGTERM.
"""

import signal
import sys
import threading
from pathlib import Path

from daemon.config.loading import load_config
from daemon.listener import run
from daemon.worker.logs.setup import configure_logging
from daemon.worker.role import RoleContext, stop_handler
from storage.files.folder_spool import FolderSpool
from storage.store import Store


def main() -> None:
    config = load_config(Path(sys.argv[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, stop_handler(stop))
    configure_logging(config.log, "listener")
    Store.open(config.resolved_database_url, migrate=True).close()
    FolderSpool(config.data_dir / "spool")
    run(RoleContext(config, "bench", stop, lambda: print("ready", flush=True)))


if __name__ == "__main__":
    main()
