"""What a supervisor and a worker say to each other: one JSON array a line, over a socket pair.

["tell", NAME, ARGUMENTS] is told; ["ask", NUMBER, NAME, ARGUMENTS] is answered by
["answer", NUMBER, RESULT] or ["trouble", NUMBER, TEXT]. Both ends are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, cast

import orjson
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IAddress, IFileDescriptorReceiver
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_LINE = 256 << 20
"""Octets: a page of messages with very many recipients each."""


class AskFailed(Exception):
    """The other end had trouble with what it was asked. The text is its own."""


class Gone(Exception):
    """There is no other end any more."""


@implementer(IFileDescriptorReceiver)
class Channel(LineOnlyReceiver):
    """One end. `told`, `asked`: what to do, by name; `lost`: the other end is gone."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    _log = Logger()

    def __init__(
        self,
        told: Mapping[str, Callable[..., object]],
        asked: Mapping[str, Callable[..., Any]],
        lost: Callable[[], None],
    ) -> None:
        self._told = told
        self._asked = asked
        self._lost = lost
        self._numbers = count(1)
        self._waiting: dict[int, Deferred[Any]] = {}
        self._is_open = True
        self._descriptors: list[int] = []  # that came, and belong to a line that comes after them

    def tell(self, name: str, *arguments: object) -> None:
        self._send("tell", name, arguments)

    def ask(self, name: str, *arguments: object) -> Deferred[Any]:
        """Fires with the other end's result. Fails with AskFailed or Gone."""
        if not self._is_open:
            return fail(Gone())
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred()
        self._waiting[number] = answer
        self._send("ask", number, name, arguments)
        return answer

    def ask_with(self, descriptors: Sequence[int], name: str, *arguments: object) -> Deferred[Any]:
        """As `ask`; whoever is asked gets copies of the descriptors by `take_descriptors`. They
        stay open here until there is an answer."""
        if self._is_open and self.transport is not None:
            for each in descriptors:
                cast(Any, self.transport).sendFileDescriptor(each)
        return self.ask(name, *arguments)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        self._descriptors.append(descriptor)

    def take_descriptors(self) -> list[int]:
        """Those that came with what is being asked. The caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def _send(self, *words: object) -> None:
        if self._is_open and self.transport is not None:
            self.transport.write(orjson.dumps(words) + b"\n")

    def lineReceived(self, line: bytes) -> None:
        kind, *words = orjson.loads(line)
        if kind == "tell":
            name, arguments = words
            self._told[name](*arguments)
        elif kind == "ask":
            number, name, arguments = words
            maybeDeferred(self._asked[name], *arguments).addCallbacks(
                lambda result: self._send("answer", number, result),
                lambda why: self._send("trouble", number, self._trouble(why)),
            )
        else:
            number, result = words
            answer = self._waiting.pop(number)
            if kind == "answer":
                answer.callback(result)
            else:
                answer.errback(AskFailed(result))

    def _trouble(self, why: Failure) -> str:
        self._log.failure("what the other process asked for broke", why)
        return why.getErrorMessage()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_open = False
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.errback(Gone())
        self._lost()


class OneChannel(Factory[Any]):
    """Makes the one protocol there is, of a socket pair's end."""

    noisy = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def buildProtocol(self, addr: IAddress | None) -> Channel:
        return self._channel
