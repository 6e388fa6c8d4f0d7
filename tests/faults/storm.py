"""Random kills while several senders send images until they are acknowledged."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.faults.life import Reviver
from tests.faults.site import ROLES, FaultSite

SUPERVISOR = "supervisor"
EVERYTHING = "everything at once"
ROLES_PER_SUPERVISOR = 45
"""One kill in this many is of the supervisor, which takes longest to start."""
SENDERS = 3
PACE_SECONDS = 8.0


class Storm:
    """Senders and kills on one daemon. All random choices follow from the seed."""

    def __init__(self, site: FaultSite, seed: int) -> None:
        self._site = site
        self._seed = seed
        self._over = threading.Event()
        self._sending = threading.Lock()
        self.studies: list[str] = []
        self.kills: Counter[str] = Counter()
        self.failures: list[str] = []

    def rage(self, kills: int) -> None:
        """Kill this many processes. Then the senders finish their image."""
        senders = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        with Reviver(self._site):
            for sender in senders:
                sender.start()
            try:
                self._kill(kills)
            finally:
                self._over.set()
                for sender in senders:
                    sender.join()

    def _send(self, number: int) -> None:
        rng = random.Random(self._seed + 1 + number)
        count = 0
        while not self._over.wait(rng.uniform(0.1, PACE_SECONDS if count else 0.2)):
            count += 1
            image = film(f"storm-{self._seed}-{number}-{count}")
            try:
                for _ in range(rng.choice((1, 1, 1, 2))):
                    self._site.send(image)
            except AssertionError as error:
                self.failures.append(str(error))
                return
            with self._sending:
                self.studies.append(read_header(image).study_instance_uid)

    def _kill(self, kills: int) -> None:
        rng = random.Random(self._seed)
        while self.kills.total() < kills:
            time.sleep(rng.uniform(0.05, 1.0))
            which = rng.choice(ROLES)
            if self.kills.total() >= ROLES_PER_SUPERVISOR * (self.kills[SUPERVISOR] + 1):
                which = (SUPERVISOR, EVERYTHING)[self.kills[SUPERVISOR] % 2]
            for name, pid in self._victims(which):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[name] += 1

    def _victims(self, which: str) -> list[tuple[str, int]]:
        daemon = self._site.daemon
        if not daemon.is_ready:
            return []
        roles = ROLES if which == EVERYTHING else (which,)
        found = [
            (role, pid) for role in roles if role in ROLES and (pid := daemon.role_alive(role))
        ]
        if which in (SUPERVISOR, EVERYTHING):
            found.insert(0, (SUPERVISOR, daemon.supervisor))
        return found
