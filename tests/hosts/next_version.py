"""`cxrd` of a version that has one more migration: `python -m tests.hosts.next_version serve …`."""

import os
from pathlib import Path
from unittest import mock

from tests.servers.forking import forked_roles
from tests.storage.tables.next_revision import next_software

MIGRATION = "NEXT_MIGRATION"
VERSION = "99.0"

if __name__ == "__main__":
    from daemon import version
    from daemon.cli.main import main

    with (
        mock.patch.object(version, "own_version", return_value=VERSION),
        next_software(Path(os.environ[MIGRATION])),
        forked_roles(),
    ):
        main()
