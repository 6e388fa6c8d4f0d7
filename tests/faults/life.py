"""The life of one study, and the points at which the daemon is killed during it."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.faults.points import AFTER, BEFORE
from tests.faults.site import FaultSite

CLAIM = "analyst: commit jobs._claim"
_numbers = itertools.count(1)

Kill = tuple[str, str]
"""A point, and BEFORE or AFTER."""


def live(site: FaultSite) -> None:
    """Send an image, request commitment in both ways, send it again, damage it, send it again.

    Processes may die at any time. Return when all work is done.
    """
    number = next(_numbers)
    image = film(f"life-{number}")
    uid = read_header(image).study_instance_uid
    site.send(image)
    site.inquire(image, f"2.25.{number}1", hold=True)
    site.inquire(image, f"2.25.{number}2", hold=False)
    site.send(image)
    site.wait_until_idle([uid])
    _damage(site, image)
    site.send(image)
    site.wait_until_idle([uid])


def _damage(site: FaultSite, image: bytes) -> None:
    with site.daemon.store() as store:
        (kept,) = store.kept_files(read_header(image).sop_instance_uid)
    site.spool.path(kept.spool_path).write_bytes(b"damaged")


class Reviver(threading.Thread):
    """Restarts the daemon when its supervisor is dead; a context manager."""

    def __init__(self, site: FaultSite) -> None:
        super().__init__(daemon=True)
        self._site = site
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.1):
            self._site.daemon.start_if_dead()

    def __enter__(self) -> Self:
        self._site.daemon.start_if_dead()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()


def kills_of(points: Iterable[str]) -> list[Kill]:
    return [(point, when) for point in sorted(set(points)) for when in (BEFORE, AFTER)]


def rounds(kills: Sequence[Kill], of_each: int = 2) -> list[list[Kill]]:
    """Group the kills: `of_each` kills of every role in one round."""
    by_role: dict[str, list[Kill]] = {}
    for kill in kills:
        by_role.setdefault(kill[0].split(":")[0], []).append(kill)
    longest = max(len(group) for group in by_role.values())
    return [
        [kill for group in by_role.values() for kill in group[start : start + of_each]]
        for start in range(0, longest, of_each)
    ]


def die_at(site: FaultSite, kills: Sequence[Kill], lives: int = 3) -> list[Kill]:
    """Repeat `live` until the daemon has died at each point. Return the points never reached.

    The supervisor frees leases only if a dead role held one: kill the analyst after a claim, too.
    """
    before = len(site.daemon.killed())
    for kill in kills:
        site.daemon.arm(*kill)
    if any(point.startswith("supervisor") for point, _ in kills):
        site.daemon.arm(CLAIM, AFTER)
    reached: Counter[Kill] = Counter()
    for _ in range(lives):
        with Reviver(site):
            live(site)
        reached = Counter(site.daemon.killed()[before:])
        if not Counter(kills) - reached:
            break
    site.daemon.disarm()
    return sorted((Counter(kills) - reached).elements())
