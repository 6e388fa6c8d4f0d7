"""Results and days of films for tests of the statistics."""

from datetime import date, datetime, timedelta

import numpy as np

from cxr_model.findings import LABELS
from daemon.statistics.columns import DayColumns
from storage.records import AnalysisRecord, FindingRecord
from tests.daemon.statistics.streams import Stream


def result(at: datetime, *present: str, model: str = "cd") -> AnalysisRecord:
    """Return a result whose findings have probability 0.8 if present, otherwise 0.2."""
    findings = [
        FindingRecord(label, 0.0, 0.8 if label in present else 0.2, 0.5, label in present)
        for label in LABELS
    ]
    return AnalysisRecord(
        analysed_at=at,
        model_name="starter",
        model_version="1",
        model_sha256=model,
        findings=findings,
        notes=[],
        objects=[],
    )


def day_of(films: Stream, model: int = 1) -> DayColumns:
    """Return analysed films as a day."""
    count = len(films.log_odds)
    return DayColumns(
        state=np.ones(count, np.uint8),
        sender=np.zeros(count, np.uint16),
        source=np.zeros(count, np.uint16),
        reason=np.zeros(count, np.uint16),
        model=np.full(count, model, np.uint16),
        view=np.zeros(count, np.uint8),
        sex=np.zeros(count, np.uint8),
        age=np.zeros(count, np.uint8),
        patient=films.patients.astype(np.uint32),
        log_odds=films.log_odds.astype(np.float16),
        calls=films.calls,
        thresholds=np.full(len(LABELS), 0.27, np.float32),
    )


def days_of(films: Stream, per_day: int, first: date = date(2026, 3, 2)) -> dict[date, DayColumns]:
    """Return films as days of so many each."""
    return {
        first + timedelta(days=i): day_of(films.part(i * per_day, (i + 1) * per_day))
        for i in range(len(films.log_odds) // per_day)
    }
