"""Passwords that were right a short while ago, so that a client that comes for each message costs
one slow check and not one a message.

Kept is only a keyed hash, under a key of this process that is written nowhere; for a limited time,
of a limited number. Whoever can read this memory can read the passwords as they come in, too.
"""

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable

from relay.users.record import User

MAX_REMEMBERED = 10_000
"""Some 3 MB; the oldest goes first, and costs no more than a check."""


class Remembered:
    """`seconds` 0: nothing is. `now` tells the time in seconds."""

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, tuple[float, User]] = OrderedDict()  # digest: until, whom

    def get(self, name: str, password: str) -> User | None:
        """Whose name and password these were; not prolonged by asking."""
        digest = self._digest(name, password)
        until, user = self._known.get(digest, (0.0, None))
        if user is not None and until <= self._now():
            del self._known[digest]
            return None
        return user

    def add(self, password: str, user: User, name: str = "") -> None:
        """It was right just now. `name`: given, where that is not the user's own."""
        if not self._seconds:
            return
        digest = self._digest(name or user.name, password)
        self._known[digest] = (self._now() + self._seconds, user)
        self._known.move_to_end(digest)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def clear(self) -> None:
        self._known.clear()

    def _digest(self, name: str, password: str) -> bytes:
        """No NUL is in a prepared name."""
        return hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<Remembered {len(self)}>"
