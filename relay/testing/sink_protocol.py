"""One session of the sink: the server engine on a socket, with the rules' say at each step."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from relay.mail.reply import Reply, reply
from relay.smtp import events
from relay.smtp.server import ServerEngine, ServerSettings
from relay.testing.sink_mail import Mail, MailCount
from relay.testing.sink_rules import GO_ON, Rules, Verdict

SESSION_TIMEOUT = 600.0
"""Seconds without a byte from the client; ends stalled sessions too."""

MAX_BUFFERED = 1 << 20
"""Octets kept from a client that sends on while its command waits for a reply."""

OK = reply(250, "2.1.0", "OK")
RCPT_OK = reply(250, "2.1.5", "OK")
GO_AHEAD = reply(354, "", "End data with <CR><LF>.<CR><LF>")
CANNOT_KEEP = reply(452, "4.3.1", "The sink cannot keep mail at this moment")
_MAIL_KEYS = ("reverse_path", "body", "smtputf8", "ret", "envid")
_RCPT_KEYS = ("forward_path", "notify", "orcpt")
BYE = reply(221, "2.0.0", "Bye")


class SinkProtocol(Protocol, TimeoutMixin):
    """Answers each command as the rules tell, else positively."""

    factory: "SinkFactory"
    transport: Any  # a TCP connection

    def connectionMade(self) -> None:
        factory = self.factory
        factory.sessions += 1
        factory.open_sessions.add(self)
        self.setTimeout(SESSION_TIMEOUT)  # type: ignore[no-untyped-call]
        self._engine = ServerEngine(factory.settings)
        self._out: list[bytes] = []
        self._mail: Mail | None = None
        self._mail_event: events.Mail | None = None
        self._rcpt_events: list[events.Rcpt] = []
        self._waiting: IDelayedCall | None = None
        self._is_over = False
        client = self.transport.getPeer().host
        self._decide(factory.rules.judge("connect", client), self._engine.greeting)
        self._work()

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        self.resetTimeout()  # type: ignore[no-untyped-call]
        self._engine.receive(data)
        self._work()
        if self._engine.buffered > MAX_BUFFERED:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        self.factory.open_sessions.discard(self)
        self.setTimeout(None)  # type: ignore[no-untyped-call]
        self._drop_mail()
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()

    def drop(self) -> None:
        """Reset the connection, whatever is under way."""
        self._is_over = True
        self.transport.abortConnection()

    def _work(self) -> None:
        """Take the engine's events until it has none, then write all replies at once."""
        engine = self._engine
        handlers = _HANDLERS
        while not self._is_over:
            try:
                event = engine.next_event()
            except events.RemoteProtocolError:
                self._close()
                break
            handler = handlers.get(type(event))
            if handler is None:  # NEED_DATA, PAUSED
                break
            handler(self, event)
        self._flush()

    def _flush(self) -> None:
        if self._out:
            self.transport.write(b"".join(self._out))
            self._out.clear()
        if self._is_over:
            self.transport.loseConnection()

    def _close(self) -> None:
        """After the replies that are waiting to be written."""
        self._is_over = True

    # --- answers ----------------------------------------------------------------------------

    def _decide(self, verdict: Verdict, accept: Callable[[], Reply]) -> None:
        """Answer the pending command with what `accept` does and yields, unless told otherwise."""
        if verdict is GO_ON:
            self._answer(accept())
        elif verdict.delay:
            rest = Verdict(0.0, verdict.reply, verdict.end)
            self._waiting = self.factory.clock.callLater(verdict.delay, self._resume, rest, accept)
        elif verdict.end == "drop":
            self._flush()
            self.drop()
        elif verdict.reply is not None:
            self._drop_mail()
            self._answer(verdict.reply)
        elif not verdict.end:
            self._answer(accept())

    def _resume(self, verdict: Verdict, accept: Callable[[], Reply]) -> None:
        self._decide(verdict, accept)
        self._work()
        if not self._is_over:
            self.transport.resumeProducing()

    def _answer(self, answer: Reply) -> None:
        self._out.append(self._engine.reply(answer))
        if answer.code == 421:
            self._close()

    # --- events -----------------------------------------------------------------------------

    def _on_hello(self, event: events.Hello) -> None:
        self._drop_mail()
        factory = self.factory
        hello = factory.offered(self._engine.hello_reply())
        self._decide(factory.rules.judge("ehlo", event.name), lambda: hello)

    def _on_mail(self, event: events.Mail) -> None:
        self._mail_event = event
        self._rcpt_events = []
        self._decide(self.factory.rules.judge("mail", event.reverse_path), lambda: OK)

    def _on_rcpt(self, event: events.Rcpt) -> None:
        def accept() -> Reply:
            self._rcpt_events.append(event)
            return RCPT_OK

        self._decide(self.factory.rules.judge("rcpt", event.forward_path), accept)

    def _on_content_begin(self, event: events.ContentBegin) -> None:
        self._decide(self.factory.rules.judge("data", *self._forward_paths()), self._begin_mail)

    def _begin_mail(self) -> Reply:
        try:
            self._mail = self.factory.keeper.begin()
        except OSError as error:
            self.factory.complain(error)
        return GO_AHEAD

    def _on_content_chunk(self, event: events.ContentChunk) -> None:
        if self._mail is None:
            return
        try:
            self._mail.write(event.octets)
        except OSError as error:
            self.factory.complain(error)
            self._drop_mail()

    def _on_content_end(self, event: events.ContentEnd) -> None:
        if event.refusal is None:
            self._decide(self.factory.rules.judge("dot", *self._forward_paths()), self._keep_mail)
        else:
            self._drop_mail()
            self._answer(event.refusal)
            if event.must_close:
                self._close()

    def _keep_mail(self) -> Reply:
        mail, self._mail = self._mail, None
        if mail is None:
            return CANNOT_KEEP
        try:
            return reply(250, "2.0.0", mail.keep(self._envelope))
        except OSError as error:
            self.factory.complain(error)
            return CANNOT_KEEP

    def _drop_mail(self) -> None:
        mail, self._mail = self._mail, None
        if mail is not None:
            try:
                mail.discard()
            except OSError as error:
                self.factory.complain(error)

    def _forward_paths(self) -> list[str]:
        return [event.forward_path for event in self._rcpt_events]

    def _envelope(self) -> dict[str, object]:
        mail = self._mail_event
        return {
            "helo": self._engine.helo,
            **{key: getattr(mail, key) for key in _MAIL_KEYS},
            "recipients": [
                {key: getattr(event, key) for key in _RCPT_KEYS} for event in self._rcpt_events
            ],
        }

    def _on_answered(self, event: events.Answered) -> None:
        if event.resets:
            self._drop_mail()
        self._answer(event.reply)
        if event.must_close:
            self._close()

    def _on_quit(self, event: events.Quit) -> None:
        self._answer(BYE)
        self._close()

    def _on_closed(self, event: events.Closed) -> None:
        self._close()


_HANDLERS: dict[type, Callable[..., None]] = {
    events.Hello: SinkProtocol._on_hello,
    events.Mail: SinkProtocol._on_mail,
    events.Rcpt: SinkProtocol._on_rcpt,
    events.ContentBegin: SinkProtocol._on_content_begin,
    events.ContentChunk: SinkProtocol._on_content_chunk,
    events.ContentEnd: SinkProtocol._on_content_end,
    events.Answered: SinkProtocol._on_answered,
    events.Quit: SinkProtocol._on_quit,
    events.Closed: SinkProtocol._on_closed,
}


class SinkFactory(ServerFactory):
    """What all sessions share. `only` and `without` choose the EHLO keywords that are told."""

    protocol: Any = SinkProtocol
    noisy = False
    _log = Logger()

    def __init__(
        self,
        settings: ServerSettings,
        rules: Rules,
        keeper: MailCount,
        clock: IReactorTime,
        only: frozenset[str] | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.keeper = keeper
        self.clock = clock
        self.sessions = 0
        self.open_sessions: set[SinkProtocol] = set()
        self._only = only
        self._without = without

    def offered(self, hello: Reply) -> Reply:
        """The reply to EHLO with the keywords that are to be told."""
        only, without = self._only, self._without
        if only is None and not without:
            return hello
        first, *keywords = hello.lines
        names = {line: line.split(" ", 1)[0].upper() for line in keywords}
        told = [
            line
            for line, name in names.items()
            if name not in without and (only is None or name in only)
        ]
        return Reply(hello.code, hello.status, (first, *told))

    def complain(self, error: OSError) -> None:
        """Tell the operator that mail cannot be kept."""
        self._log.error("cannot keep mail: {error}", error=error)

    def drop_sessions(self) -> None:
        """The sink is stopping: idle clients do not hold it up."""
        for session in list(self.open_sessions):
            session.drop()
