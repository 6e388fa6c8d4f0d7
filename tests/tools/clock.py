"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that stands still until a test moves it; it starts on 1 March 2026 by default."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Return the time as seconds, for code that measures durations."""
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
