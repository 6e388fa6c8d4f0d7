"""Sends the audit trail to a syslog server; a part of the courier.

Over TCP and TLS each row arrives at least once: the store keeps the server's position in the trail,
which advances only after the server received the messages and kept the connection open. If the
server is down, the rows wait in the store while the courier retries with backoff and delivers
results meanwhile. If several couriers share a store, only one forwards.
"""

import datetime
import logging
import threading

from daemon.audit.messages import Reporter
from daemon.audit.syslog import NOTICE, WARNING, SyslogConnection, frame, reader_of
from daemon.config.settings import Config
from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop
from dicom_io.audit_message import Outcome, to_xml
from storage.audit.chain import EMPTY_HEAD, hash_matches
from storage.audit.records import AuditKind, AuditOutcome, AuditRow, parse_subject
from storage.audit.trail import timestamp
from storage.store import Store

log = logging.getLogger("audit")
POLL_SECONDS = 1.0
BATCH_ROWS = 1000
"""A large batch, because each batch ends with a wait for a hangup."""
LEASE = datetime.timedelta(seconds=60)


class Forwarder:
    """Sends new rows of the trail to the configured server."""

    def __init__(self, config: Config, worker: str, store: Store, stop: threading.Event) -> None:
        syslog = config.syslog
        self._syslog = syslog
        self._reader = reader_of(syslog)
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
        """Send the next rows. Returns False if there are none. Raises SyslogError, StorageError."""
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
            if not hash_matches(row):
                raise ValueError("its hash does not match its cells")
            message = self._reporter.message(row, self._patient_id(row))
        except ValueError as error:
            log.error("row %d of the audit trail cannot be sent: %s", row.number, error)
            message = self._reporter.message(_alarm(row.number))
        severity = NOTICE if message.outcome is Outcome.SUCCESS else WARNING
        return frame(to_xml(message), severity=severity, at=message.at, host=self._reporter.host)

    def _patient_id(self, row: AuditRow) -> str:
        names = parse_subject(row.subject)
        study = names.get("study")
        if not self._syslog.patient_ids or study is None:
            return ""
        return self._store.results.patient_id(study, names.get("source", ""))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _alarm(number: int) -> AuditRow:
    """Return a row to send in place of an altered row."""
    return AuditRow(
        number=number,
        recorded_at=timestamp(datetime.datetime.now(datetime.UTC)),
        kind=AuditKind.SECURITY_ALERT,
        outcome=AuditOutcome.FAILURE,
        actor="",
        host="",
        subject="",
        detail=f"row {number} of the audit trail was altered before it was sent",
        previous_hash=EMPTY_HEAD.hash,
        hash=EMPTY_HEAD.hash,
    )
