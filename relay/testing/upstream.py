"""An upstream for tests, its every answer in a table: a real TCP server that also misbehaves.

upstream = ScriptedUpstream({"rcpt:bad@*": "550 5.1.1 no", "dot": ["451 4.3.0 later", OK]})
port = upstream.listen(reactor)
...
yield upstream.when(lambda: len(upstream.accepted) == 3)
yield upstream.stop()
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IReactorTCP,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

KEYWORDS = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8")
OK = "250 2.0.0 ok"


class Act(Enum):
    """What an upstream may do in place of an answer."""

    DROP = "close the connection"
    RESET = "abort the connection: a TCP reset"
    STALL = "never answer, and hear nothing more"
    HOLD = "hear nothing more until `release()`, which sends the usual answer"


# A reply's text (lines parted by LF; codes and line ends are put in), octets to write as they are,
# an Act, or several of these: one for each time, the last one for ever.
Answer = str | bytes | Act
Script = Mapping[str, Answer | Sequence[Answer]]

USUAL: dict[str, str] = {
    "connect": "220 upstream.test ESMTP",
    "helo": "250 upstream.test",
    "mail": "250 2.1.0 ok",
    "rcpt": "250 2.1.5 ok",
    "data": "354 go on",
    "bdat": "250 2.0.0 ok",
    "dot": "250 2.0.0 accepted",
    "rset": "250 2.0.0 ok",
    "noop": "250 2.0.0 ok",
    "quit": "221 2.0.0 bye",
    "starttls": "220 2.0.0 go on",
    "handshake": "",
}


@dataclass
class SeenRecipient:
    forward_path: str
    parameters: dict[str, str]


@dataclass
class Transaction:
    """One mail transaction whose content arrived whole, whatever was answered to it."""

    session: int  # from 0, in the order of connecting
    reverse_path: str
    parameters: dict[str, str]
    recipients: list[SeenRecipient] = field(default_factory=list)  # the accepted ones
    content: bytes = b""  # unstuffed
    is_chunked: bool = False
    is_tls: bool = False
    replies: list[str] = field(default_factory=list)  # to its end; many in LMTP

    @property
    def forward_paths(self) -> list[str]:
        return [recipient.forward_path for recipient in self.recipients]

    @property
    def is_accepted(self) -> bool:
        return any(reply.startswith("2") for reply in self.replies)


class ScriptedUpstream:
    """`script` keys: connect, ehlo, helo, lhlo, mail, rcpt, data, content (its first octets; only
    acts and octets), bdat, dot, rset, quit, starttls, handshake (once TLS is to begin; only acts,
    and octets that answer it); `mail:GLOB`, `rcpt:GLOB` and, in LMTP, `dot:GLOB` go first, for
    paths that match, `ehlo:tls` under TLS. What the script leaves out is answered as usual.
    `script` may be changed while the upstream runs.

    With a `tls` context it offers STARTTLS or, where `is_implicit`, begins with TLS.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        keywords: Sequence[str] = KEYWORDS,
        is_lmtp: bool = False,
        tls: SSL.Context | None = None,
        is_implicit: bool = False,
    ) -> None:
        self.tls = tls
        self.is_implicit = is_implicit
        self.script: dict[str, Answer | Sequence[Answer]] = dict(script or {})
        self.keywords = tuple(keywords)
        self.is_lmtp = is_lmtp
        self.sessions: list[UpstreamSession] = []
        self.transactions: list[Transaction] = []
        self.port = 0
        self._used: dict[str, int] = {}
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self._listening: IListeningPort | None = None
        self._reactor: Any = None

    def listen(self, reactor: IReactorTCP, port: int = 0, address: str = "127.0.0.1") -> int:
        """Begin; returns the port, the same one again after a `stop`."""
        self._reactor = reactor
        factory = _SessionFactory(self)
        self._listening = reactor.listenTCP(port or self.port, factory, interface=address)
        self.port = cast(IPv4Address, self._listening.getHost()).port
        return self.port

    def stop(self) -> Deferred[Any]:
        """Stop listening and reset every open session. Fires when all is gone."""
        gone: list[Deferred[Any]] = [session.closed for session in self.open_sessions]
        listening, self._listening = self._listening, None
        if listening is not None:
            gone.append(maybeDeferred(cast(Callable[[], Any], listening.stopListening)))
        for session in self.open_sessions:
            session.abort()
        for _, fired in self._waiting:
            fired.cancel()
        return DeferredList(gone)

    @property
    def open_sessions(self) -> list["UpstreamSession"]:
        return [session for session in self.sessions if session.is_open]

    @property
    def accepted(self) -> list[Transaction]:
        return [transaction for transaction in self.transactions if transaction.is_accepted]

    @property
    def commands(self) -> list[str]:
        """All command lines of all sessions, in the order they came within each session."""
        return [line for session in self.sessions for line in session.commands]

    def when(self, condition: Callable[[], bool], seconds: float = 10) -> Deferred[None]:
        """Fires once `condition()` is true; it is asked after everything that happens here."""
        fired: Deferred[None] = Deferred()
        fired.addTimeout(seconds, cast(IReactorTime, self._reactor))
        self._waiting.append((condition, fired))
        self.changed()
        return fired

    def release(self) -> None:
        """Let every held session go on with its usual answer."""
        for session in self.open_sessions:
            session.release()

    def changed(self) -> None:
        """Something happened: see who waited for it."""
        for entry in list(self._waiting):
            condition, fired = entry
            if fired.called:
                self._waiting.remove(entry)
            elif condition():
                self._waiting.remove(entry)
                fired.callback(None)

    def answer(self, step: str, path: str = "") -> Answer:
        """What the script says for this step now, else the usual."""
        for key in self.script:
            name, _, glob = key.partition(":")
            if name == step and glob and fnmatchcase(path, glob):
                return self._take(key)
        return self._take(step) if step in self.script else self.usual(step, path)

    def _take(self, key: str) -> Answer:
        answers = self.script[key]
        if isinstance(answers, (str, bytes, Act)):
            return answers
        used = self._used[key] = self._used.get(key, 0) + 1
        return answers[min(used, len(answers)) - 1]

    def usual(self, step: str, path: str = "") -> str:
        if step in ("ehlo", "lhlo"):
            offers = ["STARTTLS"] if self.tls is not None and path != "tls" else []
            return "\n".join(["250 upstream.test", *self.keywords, *offers])
        return USUAL.get(step, "500 5.5.1 what?")


class _SessionFactory(ServerFactory):
    noisy = False

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream

    def buildProtocol(self, addr: IAddress | None) -> "UpstreamSession":
        return UpstreamSession(self.upstream)


_MAIL = re.compile(r"(?:FROM|TO): ?<([^>]*)>(?: (.*))?$", re.IGNORECASE)
_STUFFED = re.compile(rb"(\A|\r\n)\.")


@implementer(IOpenSSLServerConnectionCreator)
class _ServerTls:
    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        return connection


@implementer(IHandshakeListener)
class UpstreamSession(Protocol):
    """One connection, with what was said on it. `server_name`: as the client gave it (SNI)."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self.number = len(upstream.sessions)
        self.commands: list[str] = []
        self.is_open = False
        self.is_tls = False
        self.server_name: bytes | None = None
        self.closed: Deferred[None] = Deferred()
        self._buffer = bytearray()
        self._searched = 0
        self._is_deaf = False
        self._held: Callable[[], None] | None = None
        self._transaction: Transaction | None = None
        self._read: Callable[[], bool] = self._read_line

    def connectionMade(self) -> None:
        self.is_open = True
        self.upstream.sessions.append(self)
        if self.upstream.is_implicit:
            self._start_tls()
        else:
            self._answer("connect")
        self.upstream.changed()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.is_open = False
        self._is_deaf = True
        self.closed.callback(None)
        self.upstream.changed()

    def abort(self) -> None:
        cast(ITCPTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def _go_on(self) -> None:
        while not self._is_deaf and self._read():
            self.upstream.changed()

    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._is_deaf = False
            held()
            self._go_on()

    # --- answers ---

    def _answer(self, step: str, path: str = "", then: Callable[[str], None] | None = None) -> None:
        """Do what the script says, and hand the reply's text on where there is one."""
        answer = self.upstream.answer(step, path)
        if isinstance(answer, Act):
            self._act(answer, step, then)
        else:
            self._send(answer, then)

    def _act(self, act: Act, step: str, then: Callable[[str], None] | None) -> None:
        self._is_deaf = True
        if act is Act.DROP:
            cast(ITCPTransport, self.transport).loseConnection()
        elif act is Act.RESET:
            self.abort()
        elif act is Act.HOLD:
            path = "tls" if self.is_tls else ""
            self._held = lambda: self._send(self.upstream.usual(step, path), then)

    def _send(self, answer: str | bytes, then: Callable[[str], None] | None) -> None:
        wire = answer if isinstance(answer, bytes) else _as_wire(answer)
        cast(ITCPTransport, self.transport).write(wire)
        if then is not None:
            then(wire.decode("utf-8", "replace").strip())

    # --- commands ---

    def _read_line(self) -> bool:
        line, found, rest = self._buffer.partition(b"\n")
        if not found:
            return False
        self._buffer = rest
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        self.commands.append(text)
        verb, _, argument = text.partition(" ")
        handler = self._COMMANDS.get(verb.upper())
        if handler is None:
            self._answer(verb.lower())
        else:
            handler(self, argument)
        return True

    def _hello(self, argument: str) -> None:
        self._transaction = None
        self._answer(self.commands[-1][:4].lower(), "tls" if self.is_tls else "")

    def _starttls(self, argument: str) -> None:
        def then(reply: str) -> None:
            if reply.startswith("2"):
                self._start_tls()

        if self.upstream.tls is None or self.is_tls:
            self._send("502 5.5.1 no TLS", None)
        else:
            self._answer("starttls", "", then)

    def _start_tls(self) -> None:
        answer = self.upstream.answer("handshake")
        if isinstance(answer, Act):
            self._act(answer, "handshake", None)
        elif answer:
            self._read = lambda: self._answer_handshake(answer)
        else:
            assert self.upstream.tls is not None
            cast(Any, self.transport).startTLS(_ServerTls(self.upstream.tls))

    def _answer_handshake(self, answer: str | bytes) -> bool:
        if not self._buffer:
            return False
        self._is_deaf = True
        self._send(answer, None)
        return True

    def handshakeCompleted(self) -> None:
        self.is_tls = True
        self.server_name = cast(Any, self.transport).getHandle().get_servername()
        if self.upstream.is_implicit:
            self._answer("connect")
        self.upstream.changed()

    def _mail(self, argument: str) -> None:
        path, parameters = _parse(argument)
        begun = Transaction(self.number, path, parameters, is_tls=self.is_tls)

        def then(reply: str) -> None:
            if reply.startswith("2"):
                self._transaction = begun

        self._in_turn(self._transaction is None, "mail", path, then)

    def _rcpt(self, argument: str) -> None:
        path, parameters = _parse(argument)

        def then(reply: str) -> None:
            if reply.startswith("2") and self._transaction is not None:
                self._transaction.recipients.append(SeenRecipient(path, parameters))

        self._in_turn(self._transaction is not None, "rcpt", path, then)

    def _data(self, argument: str) -> None:
        def then(reply: str) -> None:
            if reply.startswith("3"):
                self._read = self._read_content_begin

        has_recipients = self._transaction is not None and bool(self._transaction.recipients)
        self._in_turn(has_recipients or "data" in self.upstream.script, "data", "", then)

    def _in_turn(self, is_in_turn: bool, step: str, path: str, then: Callable[[str], None]) -> None:
        if is_in_turn:
            self._answer(step, path, then)
        else:
            self._send("503 5.5.1 out of turn", None)

    def _rset(self, argument: str) -> None:
        self._transaction = None
        self._answer("rset")

    def _quit(self, argument: str) -> None:
        self._answer("quit", then=lambda reply: self._close())

    def _close(self) -> None:
        self._is_deaf = True
        cast(ITCPTransport, self.transport).loseConnection()

    # --- content ---

    def _read_content_begin(self) -> bool:
        if not self._buffer:
            return False
        self._read = self._read_content
        self._searched = 0
        if "content" in self.upstream.script:
            self._answer("content")
        return True

    def _read_content(self) -> bool:
        if self._buffer.startswith(b".\r\n"):
            end, rest = 0, 3
        else:
            end = self._buffer.find(b"\r\n.\r\n", self._searched) + 2
            rest = end + 3
        if end == 1:
            self._searched = max(0, len(self._buffer) - 4)
            return False
        content = _STUFFED.sub(rb"\1", bytes(self._buffer[:end]))
        del self._buffer[:rest]
        self._end_content(content)
        return True

    def _bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        wanted, is_last = int(size), last.upper() == "LAST"
        self._read = lambda: self._read_chunk(wanted, is_last)

    def _read_chunk(self, wanted: int, is_last: bool) -> bool:
        if len(self._buffer) < wanted:
            return False
        chunk = bytes(self._buffer[:wanted])
        del self._buffer[:wanted]
        self._read = self._read_line
        if self._transaction is None or not self._transaction.recipients:
            self._send("503 5.5.1 out of turn", None)
            return True
        self._transaction.is_chunked = True
        if is_last:
            self._end_content(self._transaction.content + chunk)
        else:
            self._transaction.content += chunk
            self._answer("bdat")
        return True

    def _end_content(self, content: bytes) -> None:
        self._read = self._read_line
        whole = self._transaction or Transaction(self.number, "", {})
        self._transaction = None
        whole.content = content
        self.upstream.transactions.append(whole)
        for path in whole.forward_paths if self.upstream.is_lmtp else [""]:
            if not self._is_deaf:
                self._answer("dot", path, whole.replies.append)

    _COMMANDS: Mapping[str, Callable[["UpstreamSession", str], None]] = {
        "EHLO": _hello,
        "HELO": _hello,
        "LHLO": _hello,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "BDAT": _bdat,
        "RSET": _rset,
        "QUIT": _quit,
        "STARTTLS": _starttls,
    }


def _parse(argument: str) -> tuple[str, dict[str, str]]:
    """The path and the parameters of MAIL or RCPT."""
    match = _MAIL.match(argument)
    if match is None:
        raise ValueError(f"the client sent {argument!r}")
    words = (match[2] or "").split()
    return match[1], {name.upper(): value for name, _, value in (w.partition("=") for w in words)}


def _as_wire(text: str) -> bytes:
    """ "250 a\\nb" as the lines "250-a", "250 b"."""
    code, lines = text[:3], text[4:].split("\n")
    wire = [f"{code}-{line}\r\n" for line in lines[:-1]] + [f"{code} {lines[-1]}\r\n"]
    return "".join(wire).encode()
