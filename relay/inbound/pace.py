"""The least rate of clients: who is in the midst of a line or of content must get on with it.

The listener looks at all its sessions once a period; a session only counts its octets.
"""

PERIOD = 60.0
"""Seconds over which a rate is measured: a moment's stall on a bad line is nobody's fault."""


class Pace:
    """What one session sent since the last look."""

    __slots__ = ("_did_owe", "has_answer", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self.has_answer = False
        """A command, or content, came to its end."""
        self._did_owe = False

    def is_too_slow(self, least: int, *, owes: bool) -> bool:
        """Whether one and the same thing was under way for a whole period, of fewer octets than
        `least`. `owes`: something is under way now, and the client's turn."""
        is_one_thing = self._did_owe and owes and not self.has_answer
        is_slow = is_one_thing and self.octets < least
        self.octets, self.has_answer, self._did_owe = 0, False, owes
        return is_slow
