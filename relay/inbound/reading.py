"""Whether a client's octets are read: while nobody has a reason against it.

There are several at a time (replies that are not taken, a disk that is behind), and each of them
ends by itself.
"""

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements


class Reading:
    """Stops and starts the transport's reading. Reasons are told apart by identity."""

    __slots__ = ("_reasons", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._reasons: set[object] = set()

    def stop(self, reason: object) -> None:
        if not self._reasons:
            self._transport.pauseProducing()
        self._reasons.add(reason)

    @property
    def is_on(self) -> bool:
        return not self._reasons

    def go_on(self, reason: object) -> None:
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._transport.resumeProducing()

    def __repr__(self) -> str:
        return f"<Reading {'stopped by ' if self._reasons else 'on'}{list(self._reasons) or ''}>"


class Brake:
    """One reason: what a content's writer is given in the place of its sender."""

    __slots__ = ("_reading",)

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def pauseProducing(self) -> None:
        self._reading.stop(self)

    def resumeProducing(self) -> None:
        self._reading.go_on(self)

    def stopProducing(self) -> None:
        """The writer never wants that; the session ends on its own account."""


classImplements(Brake, IPushProducer)
