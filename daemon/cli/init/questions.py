"""Questions at a terminal. An option that was given answers its question."""

from collections.abc import Callable
from typing import TypeVar

import typer

from daemon.errors import UsageError

Answer = TypeVar("Answer")


class Questions:
    """Asks, or takes the defaults without a question. `asks` is False for the latter."""

    def __init__(self, *, ask: bool) -> None:
        self.asks = ask

    def text(
        self,
        option: str,
        given: str | None,
        question: str,
        default: str | None,
        check: Callable[[str], Answer],
    ) -> Answer:
        """Return a checked answer. A wrong answer at the terminal is asked for again.

        Raises UsageError, which names the option, for a wrong value of an option, and for a value
        that has no default if there are no questions.
        """
        if given is not None or not self.asks:
            value = default if given is None else given
            if value is None:
                raise UsageError(f"{option} is missing; without questions it has to be given")
            try:
                return check(value)
            except UsageError as error:
                raise UsageError(f"{option} {value}: {error}") from None
        while True:
            value = self._asked(lambda: typer.prompt(question, default))
            try:
                return check(value)
            except UsageError as error:
                typer.echo(f"  {error}")

    def choice(self, given: bool | None, question: str, *, default: bool) -> bool:
        """Return yes or no."""
        if given is not None or not self.asks:
            return default if given is None else given
        return self._asked(lambda: typer.confirm(question, default))

    def _asked(self, prompt: Callable[[], Answer]) -> Answer:
        try:
            return prompt()
        except typer.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            # The cursor stands behind the question.
            typer.echo("")
            raise UsageError(
                "the input ended before the last answer; nothing is written. Answer at a terminal,"
                " or add --yes to take the defaults and the options"
            ) from None
