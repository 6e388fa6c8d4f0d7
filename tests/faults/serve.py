"""`cxrd` with fault points: `python -m tests.faults.serve serve --config …`.

Processes that it spawns import this module before anything else, so they have their points, too.
"""

from tests.faults.points import install, role

install()


def _be_quick() -> None:
    """Restart what died after a second however often it did, and let leases run out soon."""
    from daemon import commitment_desk, commitment_lane, courier, supervisor

    if role() == "supervisor":
        supervisor.HEALTHY_SECONDS = 0.0
    for module in (courier, commitment_lane, commitment_desk):
        module.LEASE_MARGIN_SECONDS = 1.0


_be_quick()

if __name__ == "__main__":
    from daemon.cli import main

    main()
