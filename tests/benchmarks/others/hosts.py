"""Several hosts on this machine: the time until all is reported again after a fault of each kind.

It needs root, iproute2, PostgreSQL and moto. `tests.hosts` has the hosts and the faults.
"""

import tempfile
from pathlib import Path

from tests.builders.made_models import build_bundle
from tests.hosts.scenario import run_scenario
from tests.hosts.site import hosts_site

STUDIES = 500
SECONDS = 1800.0


def run() -> None:
    """Print the figures of one run."""
    with tempfile.TemporaryDirectory(prefix="cxrd-hosts-") as folder:
        bundle = Path(folder) / "bundle"
        build_bundle(bundle)
        with hosts_site(Path(folder), bundle) as site:
            print("\n".join(run_scenario(site, STUDIES, SECONDS).lines()))
