"""A server engine and a client engine that talk to each other in memory: no socket, no reactor.

The octets cross in pieces cut as told, so that every split of a dialogue can be tried. The server's
policy is a function from its events to replies; what it accepts is kept as messages.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle

from relay.mail.envelope import Envelope
from relay.mail.reply import Reply, reply
from relay.smtp.client import ClientEngine
from relay.smtp.events import (
    Answered,
    ClientEvent,
    Closed,
    ContentBegin,
    ContentChunk,
    ContentEnd,
    Hello,
    Mail,
    Quit,
    Rcpt,
    ServerEvent,
    Signal,
)
from relay.smtp.server import ServerEngine, ServerSettings

Cut = Callable[[bytes], Iterable[bytes]]
Policy = Callable[[ServerEvent], Reply | None]

SETTINGS = ServerSettings(hostname="server.test", max_message_size=2**20, max_recipients=100)
MAX_ROUNDS = 100_000  # of a `run`: engines that never fall silent are a defect to be shown

_USUAL: dict[type[ServerEvent], Reply] = {
    Mail: reply(250, "2.1.0", "Ok"),
    Rcpt: reply(250, "2.1.5", "Ok"),
    ContentBegin: reply(354, "", "Go on"),
    ContentEnd: reply(250, "2.0.0", "Accepted"),
    Quit: reply(221, "2.0.0", "Bye"),
}


@dataclass
class Message:
    """What the server was sent in one transaction."""

    mail: Mail
    recipients: list[Rcpt] = field(default_factory=list)  # the accepted ones
    content: bytes = b""


def whole(octets: bytes) -> Iterable[bytes]:
    """All at once."""
    return (octets,)


def in_pieces(*sizes: int) -> Cut:
    """Pieces of these sizes, over and over."""
    turns = cycle(sizes)

    def cut(octets: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(octets):
            size = next(turns)
            yield octets[at : at + size]
            at += size

    return cut


def accept(event: ServerEvent) -> Reply | None:
    """The policy that accepts everything."""
    return None


class EnginePair:
    """`client` and `server`, greeted and ready after the first `run`.

    `policy` may answer an event in place of the usual; `keywords`, where given, are the only ones
    of the server's that the client gets to see.
    """

    def __init__(
        self,
        client: ClientEngine | None = None,
        *,
        settings: ServerSettings = SETTINGS,
        policy: Policy = accept,
        keywords: Iterable[str] | None = None,
        cut: Cut = whole,
    ) -> None:
        self.client = client or ClientEngine("client.test")
        self.server = ServerEngine(settings)
        self.client_events: list[ClientEvent] = []
        self.server_events: list[ServerEvent] = []
        self.messages: list[Message] = []  # those whose content was accepted
        self.is_closed = False  # by the server
        self._policy = policy
        self._keywords = None if keywords is None else frozenset(keywords)
        self._cut = cut
        self._message: Message | None = None
        self._to_client = [self.server.reply(self.server.greeting())]
        self._to_server: list[bytes] = []

    def run(self) -> list[ClientEvent]:
        """Let the octets cross until both are silent; the client's events since the last time."""
        seen = len(self.client_events)
        for _ in range(MAX_ROUNDS):
            if not (self._cross_to_server() | self._cross_to_client()):
                return self.client_events[seen:]
        raise AssertionError(f"never silent: {self.client!r}, {self.server!r}")

    def send(self, octets: bytes) -> None:
        """Put octets of the client's on the way, e.g. what `send_content` gave."""
        self._to_server += [self.client.data_to_send(), octets]

    def transact(self, envelope: Envelope, content: Iterable[bytes]) -> list[ClientEvent]:
        """A transaction from MAIL to the reply to its end; by BDAT where CHUNKING is offered."""
        seen = len(self.client_events)
        pieces = list(content)
        size = sum(map(len, pieces))
        self.client.begin(envelope, size, is_chunked=self.client.offers_chunking)
        self.run()
        for piece in pieces:
            if self.client.is_ready_for_content:
                self.send(self.client.send_content(piece))
                self.run()
        if self.client.is_ready_for_content:
            self.send(self.client.end_content())
            self.run()
        return self.client_events[seen:]

    # --- one direction each; True if anything moved ---

    def _cross_to_server(self) -> bool:
        octets = b"".join([*self._to_server, self.client.data_to_send()])
        self._to_server.clear()
        for piece in self._cut(octets):
            if piece and not self.is_closed:
                self.server.receive(piece)
                self._serve()
        return bool(octets)

    def _cross_to_client(self) -> bool:
        octets = b"".join(self._to_client)
        self._to_client.clear()
        for piece in self._cut(octets):
            if piece:
                self.client.receive(piece)
                self._take_client_events()
        if self.is_closed and octets:
            self.client.receive(b"")
            self._take_client_events()
        return bool(octets)

    def _take_client_events(self) -> None:
        while not isinstance(event := self.client.next_event(), Signal):
            self.client_events.append(event)

    def _serve(self) -> None:
        while not self.is_closed and not isinstance(event := self.server.next_event(), Signal):
            self.server_events.append(event)
            if isinstance(event, ContentChunk):
                if self._message is not None:
                    self._message.content += event.octets
            elif not isinstance(event, Closed):
                self._answer(event)

    def _answer(self, event: ServerEvent) -> None:
        answer = self._policy(event) or self._usual(event)
        self._record(event, answer)
        self._to_client.append(self.server.reply(answer))
        must_close = isinstance(event, (Answered, ContentEnd)) and event.must_close
        self.is_closed = must_close or isinstance(event, Quit)

    def _usual(self, event: ServerEvent) -> Reply:
        if isinstance(event, Answered):
            return event.reply
        if isinstance(event, Hello):
            return self._hello_reply()
        if isinstance(event, ContentEnd) and event.refusal is not None:
            return event.refusal
        return _USUAL[type(event)]

    def _hello_reply(self) -> Reply:
        full = self.server.hello_reply()
        if self._keywords is None:
            return full
        kept = [line for line in full.lines[1:] if line.split()[0] in self._keywords]
        return Reply(full.code, full.status, (full.lines[0], *kept))

    def _record(self, event: ServerEvent, answer: Reply) -> None:
        if answer.code >= 400:
            return
        if isinstance(event, Mail):
            self._message = Message(event)
        elif isinstance(event, Rcpt) and self._message is not None:
            self._message.recipients.append(event)
        elif isinstance(event, ContentEnd) and self._message is not None:
            self.messages.append(self._message)
            self._message = None
