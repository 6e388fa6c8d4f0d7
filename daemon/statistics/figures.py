"""The figures of a period and a sender, computed from the counted films."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from daemon.charts.histogram import bins_of
from daemon.statistics.columns import AGES, NO_AGE, SEXES, STATES, VIEWS, DayColumns
from daemon.statistics.counter import Count
from daemon.statistics.drift_watch import probabilities_of
from daemon.statistics.figure_records import (
    Figures,
    FindingFigures,
    Mix,
    Selection,
    SenderFigures,
    Share,
    Volume,
)
from storage.records import InstanceState

_MOST_DAYS, _MOST_WEEKS, _MOST_SENDERS = 100, 104, 8


def figures_of(count: Count, selection: Selection) -> Figures:
    """Compute the figures of a selection."""
    words = count.vocabulary
    chosen = {
        day: _rows(columns, count, selection)
        for day, columns in count.days.items()
        if selection.first <= day <= selection.last
    }
    days = [(day, count.days[day], rows) for day, rows in chosen.items() if len(rows)]

    def joined(name: str) -> NDArray[np.int64]:
        parts = [getattr(columns, name)[rows] for _, columns, rows in days]
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    state = joined("state")
    analysed, not_analysed, waiting = (
        state == STATES.index(name)
        for name in (InstanceState.ANALYSED, InstanceState.NOT_ANALYSED, InstanceState.RECEIVED)
    )
    log_odds, calls = _results(days)
    has_finding = np.zeros(len(state), np.bool_)
    has_finding[_positions_of_results(days)] = calls.any(axis=1)
    together = calls.astype(np.float32)
    sender = joined("sender")
    span_days, volume = _volume(selection, days)
    return Figures(
        selection=selection,
        as_of=count.as_of,
        progress=count.progress,
        counted_from=count.dropped_before,
        senders=tuple(sorted(words.senders.all())),
        sources=tuple(sorted(words.sources.all())),
        received=len(state),
        analysed=int(analysed.sum()),
        not_analysed=int(not_analysed.sum()),
        waiting=int(waiting.sum()),
        with_findings=int(has_finding.sum()),
        span_days=span_days,
        volume=volume,
        findings=_findings(log_odds, calls, [columns.thresholds for _, columns, _ in days]),
        co_occurrence=tuple(map(tuple, np.rint(together.T @ together).astype(np.int64).tolist())),
        views=_shares(VIEWS, joined("view")[analysed]),
        sexes=_shares(SEXES, joined("sex")[analysed]),
        ages=_shares((*AGES, NO_AGE), joined("age")[analysed]),
        reasons=_by_number(words.reasons.all(), joined("reason")[not_analysed]),
        per_sender=tuple(
            sorted(
                (
                    SenderFigures(
                        words.senders.all()[number],
                        *(
                            int((part & (sender == number)).sum())
                            for part in (analysed, not_analysed, waiting, has_finding)
                        ),
                    )
                    for number in np.unique(sender).tolist()
                ),
                key=lambda one: (-one.analysed - one.not_analysed - one.waiting, one.sender),
            )
        ),
    )


_Days = Sequence[tuple[date, DayColumns, NDArray[np.int64]]]


def _rows(columns: DayColumns, count: Count, selection: Selection) -> NDArray[np.int64]:
    """Return the numbers of the chosen films of a day."""
    chosen = np.ones(len(columns), np.bool_)
    for text, names, numbers in (
        (selection.sender, count.vocabulary.senders, columns.sender),
        (selection.source, count.vocabulary.sources, columns.source),
    ):
        if text is not None:
            number = names.find(text)
            chosen &= np.zeros(len(columns), np.bool_) if number is None else numbers == number
    return np.flatnonzero(chosen)


def _results(days: _Days) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return log-odds and calls of the films with a result, shape (films, 14)."""
    log_odds, calls = [], []
    for _, columns, rows in days:
        with_result = rows[columns.analysed[rows]]
        log_odds.append(columns.log_odds[with_result].astype(np.float32))
        calls.append(columns.calls[with_result])
    if not log_odds:
        return np.zeros((0, len(LABELS)), np.float32), np.zeros((0, len(LABELS)), np.bool_)
    return np.concatenate(log_odds), np.concatenate(calls)


def _positions_of_results(days: _Days) -> NDArray[np.int64]:
    """Return the places of the films with a result among all chosen films."""
    flags = [columns.analysed[rows] for _, columns, rows in days]
    return np.flatnonzero(np.concatenate(flags)) if flags else np.zeros(0, np.int64)


def _findings(
    log_odds: NDArray[np.float32],
    calls: NDArray[np.bool_],
    thresholds: Sequence[NDArray[np.float32]],
) -> tuple[FindingFigures, ...]:
    probabilities = probabilities_of(log_odds)
    known = [row for row in thresholds if not np.isnan(row).any()]
    newest = known[-1].tolist() if known else None
    return tuple(
        FindingFigures(
            label,
            int(calls[:, i].sum()),
            float(probabilities[:, i].mean()) if len(probabilities) else None,
            newest[i] if newest else None,
            bins_of(probabilities[:, i], calls[:, i], newest[i] if newest else 0.0),
        )
        for i, label in enumerate(LABELS)
    )


def _volume(selection: Selection, days: _Days) -> tuple[int, tuple[Volume, ...]]:
    """Return the length of a span in days, and the volume of each span, also of empty ones."""
    length = (selection.last - selection.first).days + 1
    span = 1 if length <= _MOST_DAYS else 7 if length <= 7 * _MOST_WEEKS else 28
    counts = np.zeros((-(-length // span), len(STATES)), np.int64)
    for day, columns, rows in days:
        place = (day - selection.first).days // span
        counts[place] += np.bincount(columns.state[rows], minlength=len(STATES))
    order = [
        STATES.index(state)
        for state in (InstanceState.ANALYSED, InstanceState.NOT_ANALYSED, InstanceState.RECEIVED)
    ]
    return span, tuple(
        Volume(selection.first + timedelta(days=i * span), *row)
        for i, row in enumerate(counts[:, order].tolist())
    )


def _shares(names: Sequence[str], numbers: NDArray[np.int64]) -> tuple[Share, ...]:
    counts = np.bincount(numbers, minlength=len(names)).tolist()
    return tuple(Share(name, films) for name, films in zip(names, counts, strict=True))


def _by_number(names: Sequence[str], numbers: NDArray[np.int64]) -> tuple[Share, ...]:
    """Return the shares of the names that occur, the largest first."""
    counts = np.bincount(numbers, minlength=len(names)).tolist()
    found = [Share(name, films) for name, films in zip(names, counts, strict=True) if films]
    return tuple(sorted(found, key=lambda share: (-share.films, share.name)))


def mix_of(count: Count, first: date, last: date) -> Mix:
    """Count the analysed films of some days by view and by sender."""
    chosen = [columns for day, columns in count.days.items() if first <= day <= last]

    def joined(name: str) -> NDArray[np.int64]:
        parts = [getattr(columns, name)[columns.analysed] for columns in chosen]
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    senders = _by_number(count.vocabulary.senders.all(), joined("sender"))
    return Mix(_shares(VIEWS, joined("view")), senders[:_MOST_SENDERS])
