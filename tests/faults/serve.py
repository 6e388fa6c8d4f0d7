"""`cxrd` with fault points: `python -m tests.faults.serve serve --config …`.

Processes that it starts import this module before anything else, so they have their points, too.
With FORKS set they are forked from a process that has imported what they need, which takes
a tenth of a second instead of several.
"""

import multiprocessing
import os

from tests.faults.points import FORKS, install, role

install()


def _be_quick() -> None:
    """Restart what died after a second however often it did, and let leases run out soon."""
    from daemon import supervisor
    from daemon.commitment.commitment_worker import CommitmentWorker
    from daemon.commitment.responder import CommitmentResponder
    from daemon.deliver.delivery_worker import DeliveryWorker

    if role() == "supervisor":
        supervisor.HEALTHY_SECONDS = 0.0
    for worker in (DeliveryWorker, CommitmentWorker, CommitmentResponder):
        worker.lease_margin_seconds = 1.0


_be_quick()


def _fork_roles() -> None:
    from daemon import supervisor

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["daemon.analyst", "daemon.listener", "daemon.courier"])
    supervisor._spawn = context  # type: ignore[assignment]


if __name__ == "__main__":
    from daemon.cli.main import main

    if FORKS in os.environ:
        _fork_roles()
    main()
