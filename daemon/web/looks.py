"""Audits looks: one event for what one caller looks at again and again.

A page with its pictures, and a page that is opened again, are one look.
"""

import threading
from collections import OrderedDict
from datetime import datetime, timedelta

from starlette.requests import Request

from daemon.web.access.identity import host_of, principal_of
from daemon.web.site import Site
from storage.audit.records import AuditKind

REPEAT = timedelta(minutes=5)
"""Time in which further looks of one caller at one thing make no event of their own."""
MOST_REMEMBERED = 20_000


class Looks:
    """Records looks of one kind; thread-safe."""

    def __init__(self, site: Site, kind: AuditKind) -> None:
        self._site = site
        self._kind = kind
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str, str, str], datetime] = OrderedDict()

    def record(self, request: Request, subject: str, detail: str = "") -> None:
        """Record that the caller looks at a subject. Raises StorageError: then show nothing."""
        key = (principal_of(request).name, host_of(request.scope), subject, detail)
        now = self._site.clock()
        # The lock is held while the event is recorded: a page loads several pictures at once.
        with self._lock:
            last = self._last.get(key)
            # A clock that was set back must not hide looks.
            if last is not None and last <= now < last + REPEAT:
                return
            self._site.audit(request, self._kind, subject, detail)
            self._last[key] = now
            self._last.move_to_end(key)
            while len(self._last) > MOST_REMEMBERED:
                self._last.popitem(last=False)
