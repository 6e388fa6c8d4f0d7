"""Audits looks at films: one event for all pictures of a film that one caller loads in a row."""

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from starlette.requests import Request

from daemon.web.access.identity import host_of, principal_of
from daemon.web.site import Site
from storage.audit.records import AuditKind, subject_of
from storage.records import Instance

REPEAT = timedelta(minutes=5)
"""Time in which further looks of the same caller at the same film make no event of their own."""
MOST_REMEMBERED = 20_000


class FilmAudit:
    """Records FILM_VIEWED; thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str, int], datetime] = OrderedDict()

    def record(self, request: Request, film: Instance) -> None:
        """Record that the caller looked at a film. Raises StorageError: then no film is shown."""
        key = (principal_of(request).name, host_of(request.scope), film.id)
        now = self._site.clock()
        subject = subject_of(
            study=film.study_instance_uid,
            instance=film.sop_instance_uid,
            sop_class=film.sop_class_uid,
        )
        # The lock is held while the event is recorded: a page loads several pictures at once.
        with self._lock:
            last = self._last.get(key)
            # A clock that was set back must not hide looks.
            if last is not None and last <= now < last + REPEAT:
                return
            self._site.audit(request, AuditKind.FILM_VIEWED, subject, f"film {film.id}")
            self._last[key] = now
            self._last.move_to_end(key)
            while len(self._last) > MOST_REMEMBERED:
                self._last.popitem(last=False)
