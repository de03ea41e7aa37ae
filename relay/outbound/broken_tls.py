"""Remembers with which hosts TLS does not work, so that not every session finds out anew. Pure."""

REMEMBERED_FOR = 3600.0
"""Seconds after which TLS is tried again: hosts get mended, and may have been attacked."""

MAX_REMEMBERED = 1000
"""Hosts: when full, the oldest is forgotten, and pays one more failed handshake."""


class BrokenTls:
    """Keys name hosts."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # the oldest first

    def note(self, host: str, now: float) -> None:
        """A session under TLS could not be had there."""
        self._until.pop(host, None)
        if len(self._until) >= MAX_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[host] = now + REMEMBERED_FOR

    def is_broken(self, host: str, now: float) -> bool:
        until = self._until.get(host)
        if until is None:
            return False
        if until <= now:
            del self._until[host]
        return until > now

    def forget(self, host: str) -> None:
        """An operator wants it tried now."""
        self._until.pop(host, None)

    def __repr__(self) -> str:
        return f"<BrokenTls {len(self._until)} hosts>"
