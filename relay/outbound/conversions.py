"""How much of memory is taken by copies of mail, made for hosts that take no 8-bit content.

Whoever runs such hosts decides how long the copies are needed: their total is bounded, over all
attempts of the process.
"""

from relay.mail.reply import Reply, reply

MAX_CONVERTED = 128 << 20
"""Octets of all copies. One that is larger has it to itself."""

NO_ROOM: Reply = reply(
    451, "4.3.2", "too much other mail is being converted for hosts that take no 8-bit content"
)


class Conversions:
    """`take`, and `give` once the attempt is over."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, octets: int) -> bool:
        """False: there is no room for so many now."""
        if self._taken and self._taken + octets > MAX_CONVERTED:
            return False
        self._taken += octets
        return True

    def give(self, octets: int) -> None:
        self._taken -= octets

    def __repr__(self) -> str:
        return f"<Conversions {self._taken} octets>"
