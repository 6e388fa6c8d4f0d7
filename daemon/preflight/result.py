"""The result of one check of `cxrd check`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the preflight. A `warning` names a risk of a setup that works: it has passed."""

    name: str
    passed: bool
    detail: str
    warning: bool = False

    @property
    def word(self) -> str:
        """The word before the line."""
        if not self.passed:
            return "FAILED"
        return "warning" if self.warning else "ok"
