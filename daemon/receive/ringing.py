"""Wakes the analyst after work on a received instance was queued."""

from collections.abc import Callable

from daemon.config.settings import Config
from daemon.worker.bell import Bell, BellName
from storage.records import Receipt, ReceiptOutcome
from storage.store import Store

_WITHOUT_ANALYSIS = (ReceiptOutcome.RENEWED, ReceiptOutcome.KEPT_AGAIN)
"""Receptions that queue a report and as a rule no analysis, after which a report is looked for."""


def ringing(config: Config, store: Store) -> Callable[[Receipt], None]:
    """Return the function that wakes the analyst after work on an instance was queued."""
    analyst = Bell.of(config, BellName.ANALYST, store)
    report = Bell.of(config, BellName.REPORT, store)

    def ring(receipt: Receipt) -> None:
        analyst.ring()
        if receipt.outcome in _WITHOUT_ANALYSIS:
            report.ring()

    return ring
