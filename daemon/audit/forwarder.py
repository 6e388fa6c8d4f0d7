"""In the courier: sends the audit trail to a syslog server.

Over TCP and TLS each row arrives at least once: how far the server has come is in the store, and
moves only after the messages were taken in and the server has not hung up on them. A server that
is down is tried again with backoff; the rows wait in the store and delay nothing else. Of several
couriers on one store one sends.
"""

import datetime
import logging
import threading

from daemon.audit.messages import Reporter
from daemon.audit.syslog import NOTICE, WARNING, SyslogConnection, frame
from daemon.config.settings import Config
from daemon.worker.loop import Backoff, Loop
from dicom_io.audit_message import Outcome, to_xml
from storage.audit.chain import EMPTY, is_itself
from storage.audit.records import AuditKind, AuditOutcome, AuditRow, named_in
from storage.audit.trail import moment
from storage.store import Store

log = logging.getLogger("audit")

POLL_SECONDS = 1.0

BATCH_ROWS = 1000
"""Many: after each batch there is a wait, to see whether the server hangs up."""

LEASE = datetime.timedelta(seconds=60)


class Forwarder:
    """Sends what is new in the trail to the configured server."""

    def __init__(self, config: Config, worker: str, store: Store, stop: threading.Event) -> None:
        syslog = config.syslog
        self._syslog = syslog
        # Another server starts at the beginning of the trail.
        self._reader = f"syslog {syslog.transport} {syslog.host}:{syslog.port}"
        self._timeout = config.courier.network_timeout_seconds
        self._worker = worker
        self._store = store
        self._stop = stop
        self._reporter = Reporter.of(config)
        backoff = Backoff(config.courier.retry_seconds, config.courier.retry_max_seconds)
        self._loop = Loop("the audit trail", log, stop, backoff)
        self._connection: SyslogConnection | None = None
        self._done: int | None = None

    def run(self) -> None:
        """Forward new rows until told to stop."""
        self._loop.run(self._forward_all)
        self.close()

    def _forward_all(self) -> float:
        try:
            while self.forward() and not self._stop.is_set():
                pass
        except BaseException:
            self.close()
            raise
        return POLL_SECONDS

    def forward(self) -> bool:
        """Send the next rows; whether there were any. Raises SyslogError or StorageError."""
        if self._store.audit.head().number == self._done:
            return False
        self._done = self._store.audit_readers.hold(self._reader, self._worker, LEASE)
        rows = () if self._done is None else self._store.audit.page(self._done, BATCH_ROWS)
        if not rows:
            return False
        if self._connection is not None and self._connection.is_closed():
            self.close()
        if self._connection is None:
            self._connection = SyslogConnection(self._syslog, self._timeout)
        for row in rows:
            self._connection.send(self._message(row))
        self._connection.flush()
        if self._store.audit_readers.advance(self._reader, self._worker, rows[-1].number):
            self._done = rows[-1].number
        self._loop.succeeded()
        return True

    def _message(self, row: AuditRow) -> bytes:
        try:
            if not is_itself(row):
                raise ValueError("its hash is not that of its cells")
            message = self._reporter.message(row, self._patient_id(row))
        except ValueError as error:
            log.error("row %d of the audit trail cannot be sent: %s", row.number, error)
            message = self._reporter.message(_alarm(row.number))
        severity = NOTICE if message.outcome is Outcome.SUCCESS else WARNING
        return frame(to_xml(message), severity=severity, at=message.at, host=self._reporter.host)

    def _patient_id(self, row: AuditRow) -> str:
        study = named_in(row.subject).get("study")
        if not self._syslog.patient_ids or study is None:
            return ""
        return self._store.results.patient_id(study)

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _alarm(number: int) -> AuditRow:
    """Sent in place of a row that is not what it was."""
    return AuditRow(
        number=number,
        recorded_at=moment(datetime.datetime.now(datetime.UTC)),
        kind=AuditKind.SECURITY_ALERT,
        outcome=AuditOutcome.FAILURE,
        actor="",
        host="",
        subject="",
        detail=f"row {number} of the audit trail was altered before it was sent",
        previous_hash=EMPTY.hash,
        hash=EMPTY.hash,
    )
