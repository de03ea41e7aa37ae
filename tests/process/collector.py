"""An upstream in a thread of the test: keeps each message as it came, and answers as told.

Plain sockets and its own few lines of SMTP on purpose: what the relay sends is judged by code that
shares nothing with the relay.
"""

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tests.process.child import wait_until

KEYWORDS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 104857600")
DROP = "drop"
"""An answer: the connection is closed without one."""
STALL = "stall"
"""An answer: there is none, while the relay keeps the connection."""
HOLD = "hold"
"""An answer: the usual one, once the test says `release`; nothing more is read until then."""

_IDLE = 60.0
"""Seconds a session may be silent: a forgotten one does not keep its thread for ever."""

_USUAL = {
    "CONNECT": "220 collector.example.net ESMTP",
    "HELO": "250 collector.example.net",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "DOT": "250 2.0.0 kept",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}


@dataclass(slots=True)
class Kept:
    """One accepted mail transaction. The commands' arguments as they came, that of AUTH too;
    content unstuffed."""

    mail: str
    rcpt: list[str]
    content: bytes
    protocol: str
    auth: str = ""
    begun: float = field(default=0.0, compare=False)
    """When its MAIL came, of time.monotonic()."""

    @property
    def sender(self) -> str:
        return _path(self.mail)

    @property
    def recipients(self) -> list[str]:
        return [_path(argument) for argument in self.rcpt]


@dataclass(slots=True)
class _Rule:
    step: str
    argument: str
    reply: str
    left: int


@dataclass(slots=True)
class Collector:
    """Listens from `start` to `stop`; may be started again on the same port."""

    keywords: Sequence[str] = KEYWORDS
    port: int = 0
    kept: list[Kept] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    most_sessions: int = 0  # at a time
    held: int = 0  # answers that wait for `release`, or did
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _released: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)

    def answer(self, step: str, reply: str, argument: str = "*", times: int = -1) -> None:
        """At `step` (CONNECT, EHLO, MAIL, ..., DOT), whose argument matches: for so many times.

        CONTENT is the step after 354: DROP or HOLD.
        """
        with self._lock:
            self._rules.append(_Rule(step, argument, reply, times))

    def forget_answers(self) -> None:
        with self._lock:
            self._rules.clear()

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """At once, as if the machine went away: sessions are cut."""
        self.release()
        listener, self._listener = self._listener, None
        if listener is not None:
            _cut(listener)
        with self._lock:
            sessions = list(self._open)
        for session in sessions:
            _cut(session)

    def wait_for(self, count: int, within: float = 20.0) -> list[Kept]:
        """The messages, once there are so many."""
        wait_until(lambda: len(self.kept) >= count, f"{count} messages at the upstream", within)
        return list(self.kept)

    def wait_until_held(self, count: int = 1) -> None:
        wait_until(lambda: self.held >= count, f"{count} held answers")

    def release(self) -> None:
        """Give the answers that are held, and hold none from now on."""
        self._released.set()

    def reply_to(self, step: str, argument: str, usual: str) -> str:
        with self._lock:
            for rule in self._rules:
                if rule.step == step and rule.left and fnmatchcase(argument, rule.argument):
                    rule.left -= 1
                    break
            else:
                return usual
        if rule.reply == HOLD:
            self.held += 1
            self._released.wait(_IDLE)
            return usual
        return rule.reply

    @property
    def open_sessions(self) -> int:
        with self._lock:
            return len(self._open)

    def keep(self, kept: Kept) -> None:
        with self._lock:
            self.kept.append(kept)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # replies are one each
            connection.settimeout(_IDLE)
            with self._lock:
                self._open.add(connection)
                self.sessions += 1
                self.most_sessions = max(self.most_sessions, len(self._open))
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Session(self, connection).run()
        except (OSError, _Over):
            pass
        finally:
            self.count_out(connection)
            _cut(connection)

    def count_out(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


class _Over(Exception):
    """The session is at its end."""


class _Session:
    def __init__(self, collector: Collector, connection: socket.socket) -> None:
        self._collector = collector
        self._connection = connection
        self._input = bytearray()
        self._mail = ""
        self._begun = 0.0
        self._rcpt: list[str] = []
        self._protocol = "SMTP"
        self._auth = ""

    def run(self) -> None:
        self._answer("CONNECT", "")
        while True:
            line = self._take(b"\r\n").decode("utf-8", "surrogateescape")
            self._collector.commands.append(line)
            word, _, argument = line.partition(" ")
            self._command(word.upper(), argument)

    def _command(self, word: str, argument: str) -> None:
        if word == "EHLO":
            self._hello(argument)
        elif word == "DATA":
            self._data()
        elif word == "RCPT" and not self._mail:
            self._send("503 5.5.1 MAIL first")
        else:
            if word == "QUIT":  # once answered, the client may have another session elsewhere
                self._collector.count_out(self._connection)
            begun = time.monotonic()
            code = self._answer(word, argument)
            if word == "MAIL" and code < 300:
                self._mail, self._rcpt, self._begun = argument, [], begun
            elif word == "AUTH" and code < 300:
                self._auth = argument
            elif word == "RCPT" and code < 300:
                self._rcpt.append(argument)
            elif word == "QUIT":
                raise _Over

    def _hello(self, argument: str) -> None:
        self._protocol = "ESMTP"
        lines = ["collector.example.net", *self._collector.keywords]
        usual = "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"])
        self._send(self._collector.reply_to("EHLO", argument, usual))

    def _data(self) -> None:
        if not self._rcpt:
            self._send("554 5.5.1 no valid recipients")
            return
        if self._answer("DATA", "") != 354:
            return
        if self._collector.reply_to("CONTENT", self._mail, "") == DROP:
            raise _Over
        content = self._content()
        reply = self._collector.reply_to("DOT", self._mail, _USUAL["DOT"])
        if reply.startswith("2"):
            self._collector.keep(
                Kept(self._mail, self._rcpt, content, self._protocol, self._auth, self._begun)
            )
        self._mail, self._rcpt = "", []
        self._send(reply)

    def _answer(self, step: str, argument: str) -> int:
        reply = self._collector.reply_to(step, argument, _USUAL.get(step, "500 5.5.1 what?"))
        self._send(reply)
        return int(reply[:3])

    def _send(self, reply: str) -> None:
        if reply == STALL:
            self._read()
        if reply in (DROP, STALL):
            raise _Over
        self._connection.sendall(reply.encode() + b"\r\n")

    def _content(self) -> bytes:
        """Up to the final dot: RFC 5321 4.5.2, and nothing but CRLF.CRLF ends it."""
        while len(self._input) < 3:
            self._read()
        if self._input.startswith(b".\r\n"):
            del self._input[:3]
            return b""
        stuffed = self._take(b"\r\n.\r\n") + b"\r\n"
        return stuffed.replace(b"\r\n.", b"\r\n").removeprefix(b".")

    def _take(self, end: bytes) -> bytes:
        """The input up to `end`, which goes too."""
        start = 0
        while (found := self._input.find(end, start)) < 0:
            start = max(0, len(self._input) - len(end))
            self._read()
        taken = bytes(self._input[:found])
        del self._input[: found + len(end)]
        return taken

    def _read(self) -> None:
        if not (octets := self._connection.recv(262144)):
            raise _Over
        self._input += octets


def _path(argument: str) -> str:
    """Between the angle brackets of "FROM:<...> PARAMETERS"."""
    return argument.partition("<")[2].rpartition(">")[0]


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
