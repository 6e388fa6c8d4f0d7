"""The texts that the arrays of films name by numbers."""

from dataclasses import dataclass


class Names:
    """Numbers for repeated texts, such as senders; a text keeps its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a text, which is new or known."""
        return self._numbers.setdefault(text, len(self._numbers))

    def find(self, text: str) -> int | None:
        """Return the number of a known text."""
        return self._numbers.get(text)

    def all(self) -> tuple[str, ...]:
        """Return the texts by their numbers."""
        return tuple(self._numbers)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The texts of all films that arrays name by their numbers."""

    senders: Names
    sources: Names
    reasons: Names
    models: Names

    @classmethod
    def empty(cls) -> "Vocabulary":
        """Return a vocabulary without texts; number 0 of reasons and models is ''."""
        vocabulary = cls(Names(), Names(), Names(), Names())
        vocabulary.reasons.number("")
        vocabulary.models.number("")
        return vocabulary
