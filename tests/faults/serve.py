"""`cxrd` with fault points: `python -m tests.faults.serve serve --config …`.

Its processes import this module first, so that they have points, too. With FORKS set they are
forked from a process with all imports done: a start takes 0.1 s instead of several seconds.
"""

import contextlib
import os

from tests.faults.points import FORKS, install, role
from tests.servers.forking import forked_roles

install()


def _shorten_waits() -> None:
    """Restart a dead role after one second every time, and let leases expire soon."""
    from daemon.commitment.commitment_worker import CommitmentWorker
    from daemon.commitment.responder import CommitmentResponder
    from daemon.deliver.delivery_worker import DeliveryWorker
    from daemon.supervise import supervisor
    from daemon.worklist.worklist_worker import WorklistWorker

    if role() == "supervisor":
        supervisor.HEALTHY_SECONDS = 0.0
    for worker in (DeliveryWorker, CommitmentWorker, CommitmentResponder, WorklistWorker):
        worker.lease_margin_seconds = 1.0


_shorten_waits()


if __name__ == "__main__":
    from daemon.cli.main import main

    with forked_roles() if FORKS in os.environ else contextlib.nullcontext():
        main()
