"""Messages to a caller after an act: shown on the next page, once."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.web.access.identity import Principal

MAX_CALLERS = 256


@dataclass(frozen=True, slots=True)
class Message:
    """The result of an act: one sentence, and a line for each part that was refused."""

    words: str
    refused: Sequence[str] = ()


class Messages:
    """The message of each session. They stay on this node, so that no URL contains them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: OrderedDict[str, Message] = OrderedDict()

    def leave(self, caller: Principal, message: Message) -> None:
        """Keep a message for the next page of the caller, in place of an earlier one."""
        if not caller.csrf:
            return
        with self._lock:
            self._messages[caller.csrf] = message
            self._messages.move_to_end(caller.csrf)
            while len(self._messages) > MAX_CALLERS:
                self._messages.popitem(last=False)

    def take(self, caller: Principal | None) -> Message | None:
        """Return the caller's message, which is then gone, or None."""
        if caller is None or not caller.csrf:
            return None
        with self._lock:
            return self._messages.pop(caller.csrf, None)
