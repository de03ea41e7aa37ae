"""Writes content that is too large for one write, as the connection takes it (IPushProducer).

Holds a few chunks at most: the transport says when it has enough. A fast host is not let to occupy
the reactor: after a while the others get their turn.
"""

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import classImplements

from relay.mail.content import Content
from relay.smtp.client import ClientEngine

CHUNK = 65536
"""Octets read and written at a time: the size at which Twisted's own buffer counts as full."""

CHUNKS_AT_ONCE = 4
"""Chunks written before the reactor gets its turn."""


def cut_short(what: str) -> OSError:
    """The store gave less content than it said: it must not be ended as if it were whole."""
    return OSError(what)


class ContentSender:
    """One content on its way. `session` hears `content_moved`, `content_sent`, `content_unread`."""

    def __init__(self, session: Any, engine: ClientEngine, content: Content, reactor: Any) -> None:
        self._session = session
        self._engine = engine
        self._chunks: Iterator[bytes] = content.chunks(CHUNK)
        self._left = content.size
        self._reactor = reactor
        self._is_paused = False
        self._turn: IDelayedCall | None = None

    def begin(self) -> None:
        self._session.transport.registerProducer(self, True)
        self.go_on()

    def go_on(self) -> None:
        """Write until there is enough for now, or no more."""
        for _ in range(CHUNKS_AT_ONCE):
            if self._is_paused or not self._engine.is_ready_for_content:
                return
            try:
                chunk = self._next_chunk()
            except OSError as error:
                self._session.content_unread(error)
                return
            if chunk is None:
                self._session.content_sent(self._engine.end_content())
                return
            self._session.content_moved(self._engine.send_content(chunk))
        if not self._is_paused and self._turn is None:
            self._turn = self._reactor.callLater(0, self._take_turn)

    def _next_chunk(self) -> bytes | None:
        for chunk in self._chunks:
            self._left -= len(chunk)
            return chunk
        if self._left:
            raise cut_short(f"{self._left} octets are missing from the stored content")
        return None

    def _take_turn(self) -> None:
        self._turn = None
        self.go_on()

    def resumeProducing(self) -> None:
        self._is_paused = False
        if self._turn is None:
            self.go_on()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def stopProducing(self) -> None:
        """No more is wanted; also called when the connection is lost."""
        self._is_paused = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None


classImplements(ContentSender, IPushProducer)
