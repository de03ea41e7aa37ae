"""Simulated upstreams: they accept, refuse at any step, drop, stall, and answer strangely.

Written from RFC 5321 alone. A message counts as accepted at the instant the server decides so,
whatever becomes of its reply. A sloppy one keeps the last transaction's recipients until RSET.
"""

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.protocol import Factory, Protocol

from tests.sim.logins import Logins
from tests.sim.network import Network
from tests.sim.oracle import Copy, Oracle
from tests.sim.people import Bystander
from tests.sim.sasl import decoded, encoded, server_side
from tests.sim.world import World

STEPS = ("connect", "hello", "mail", "rcpt", "data", "content", "dot")

TRANSIENT = ("421 4.3.2 closing", "450 4.2.1 later", "451 4.3.0 trouble", "452 4.5.3 too many")
PERMANENT = ("550 5.1.1 no such user", "552 5.2.2 full", "554 5.7.1 no", "553 5.1.3 bad")


@dataclass
class Mood:
    """Probabilities of trouble, per step."""

    transient: float = 0.0
    permanent: float = 0.0
    drop: float = 0.0
    drop_after_accepting: float = 0.0
    stall: float = 0.0
    slow: float = 0.0
    extensions: tuple[str, ...] = field(default=("PIPELINING", "8BITMIME", "SIZE 50000000", "DSN"))


class Upstream(Bystander):
    """One host of an upstream."""

    def __init__(
        self,
        name: str,
        address: str,
        world: World,
        network: Network,
        oracle: Oracle,
        mood: Mood,
        logins: Logins,
    ) -> None:
        super().__init__(address)
        self.name = name
        self.world = world
        self.network = network
        self.oracle = oracle
        self.mood = mood
        self.logins = logins
        self.random = world.chance(f"upstream {address}")
        self.is_sloppy = self.random.random() < 0.3
        self.sessions: dict[Service, None] = {}
        self.is_dead_for_good = False
        self.is_spotless = True  # nobody ever had trouble with it
        self._port: Any = None

    def open(self) -> None:
        if self._port is None and not self.is_dead_for_good:
            factory = Factory.forProtocol(Service)
            factory.noisy = False
            factory.host = self
            self._port = self.network.listen(self, self.address, 25, factory)

    def close(self) -> None:
        """Its sessions break, and new ones are refused."""
        if self._port is not None:
            self._port.stopListening()
            self._port = None
            self.is_spotless = False
            for session in list(self.sessions):
                session.transport.abortConnection()

    def fate(self, step: str) -> str:
        """ "", a reply, "drop", "stall" or "lose"."""
        mood, random = self.mood, self.random
        draw = random.random()
        for what, share in (
            ("drop", mood.drop),
            ("stall", mood.stall),
            ("lose", mood.drop_after_accepting if step == "dot" else 0.0),
            (TRANSIENT, mood.transient),
            (PERMANENT, mood.permanent if step in ("mail", "rcpt", "data", "dot") else 0.0),
        ):
            if draw < share:
                self.is_spotless = False
                return what if isinstance(what, str) else random.choice(what)
            draw -= share
        return ""


class Service(Protocol):
    """One session."""

    transport: Any

    def connectionMade(self) -> None:
        host: Upstream = self.factory.host  # type: ignore[union-attr]
        self.host = host
        host.sessions[self] = None
        self._buffer = bytearray()
        self._is_stalled = self._is_gone = False
        self._reverse_path: str | None = None
        self._paths: list[str] = []
        self._content: bytearray | None = None
        self._chunked = bytearray()  # of the chunks before
        self._chunk_left = 0
        self._is_chunk = self._is_last_chunk = False
        self._is_busy = False
        self._contents = 0  # that ended, whatever became of them
        self._user = ""
        self._exchange: Any = None
        fate = host.fate("connect")
        self._meet(fate, "220 upstream.example ESMTP")

    def connectionLost(self, reason: Any = None) -> None:
        self._is_gone = True
        self.host.sessions.pop(self, None)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    # --- one thing after the other --------------------------------------------------------------

    def _work(self) -> None:
        while not (self._is_busy or self._is_stalled or self._is_gone):
            if self._is_chunk:
                if not self._take_chunk():
                    return
            elif self._content is not None:
                if not self._take_content():
                    return
            else:
                line, end, rest = self._buffer.partition(b"\r\n")
                if not end:
                    return
                self._buffer = bytearray(rest)
                self._obey(bytes(line).decode("utf-8", "backslashreplace"))

    def _meet(self, fate: str, reply: str) -> bool:
        """Whether things take their course."""
        if fate == "drop":
            self._is_gone = True
            self.transport.abortConnection()
        elif fate == "stall":
            self._is_stalled = True
        elif fate[:3].isdigit():
            self._say(fate)
            return False
        else:
            self._say(reply)
        return not fate

    def _say(self, reply: str) -> None:
        host = self.host
        slow = host.random.random() < host.mood.slow
        host.is_spotless &= not slow
        delay = host.random.uniform(1, 90) if slow else host.random.uniform(0, 0.02)
        self._is_busy = True
        host.world.after(delay, self._said, reply)

    def _said(self, reply: str) -> None:
        self._is_busy = False
        if self._is_gone:
            return
        self.transport.write(reply.encode() + b"\r\n")
        if reply.startswith(("421", "221")):
            self._is_gone = True
            self.transport.loseConnection()
        self._work()

    def _reset(self) -> None:
        self._chunked = bytearray()
        self._reverse_path = None
        self._paths = []

    # --- commands -------------------------------------------------------------------------------

    def _obey(self, line: str) -> None:
        if self._exchange is not None:
            self._go_on(decoded(line))
            return
        verb = line[:4].upper()
        act = getattr(self, f"_do_{verb.lower()}", None)
        if act is None:
            self._say("500 5.5.1 what?")
        else:
            act(line)

    def _do_ehlo(self, line: str) -> None:
        self._reset()
        words = ["upstream.example", *self.host.mood.extensions]
        if mechanisms := self.host.logins.words.get(self.host.name):
            words.append(f"AUTH {' '.join(mechanisms)}")
        lines = [f"250{' ' if word is words[-1] else '-'}{word}" for word in words]
        self._meet(self.host.fate("hello"), "\r\n".join(lines))

    def _do_auth(self, line: str) -> None:
        """RFC 4954."""
        host, logins = self.host, self.host.logins
        refusal = host.fate("auth") or logins.refuses.get(host.name, "")
        if refusal:
            self._meet(refusal, "")
            return
        _, mechanism, *initial = line.split(" ")
        self._exchange = server_side(mechanism, logins.password_of, f"{host.random.random()}")
        challenge = next(self._exchange)
        if initial:
            self._go_on(decoded(initial[0]))
        else:
            self._say(f"334 {encoded(challenge)}")

    def _go_on(self, response: str) -> None:
        try:
            self._say(f"334 {encoded(self._exchange.send(response))}")
        except StopIteration as end:
            self._exchange = None
            self._user = end.value or ""
            self._say("235 2.7.0 welcome" if self._user else "535 5.7.8 wrong name or password")

    def _do_helo(self, line: str) -> None:
        self._reset()
        self._meet(self.host.fate("hello"), "250 upstream.example")

    def _do_mail(self, line: str) -> None:
        if self._reverse_path is not None and not self.host.is_sloppy:
            self._say("503 5.5.1 nested MAIL")
            return
        if self.host.logins.demands(self.host.name) and not self._user:
            self.host.world.blame(f"{self.host.name} gets mail without a login")
            self._say("530 5.7.0 who are you?")
            return
        fate = self.host.fate("mail")
        if fate[:1] == "5":
            self.host.oracle.refused_from(path_of(line), fate)
        if self._meet(fate, "250 2.1.0 ok"):
            self._reverse_path = path_of(line)

    def _do_rcpt(self, line: str) -> None:
        if self._reverse_path is None:
            self._say("503 5.5.1 MAIL first")
            return
        fate = self.host.fate("rcpt")
        if fate[:1] == "5":
            self.host.oracle.refused(path_of(line), fate)
        if self._meet(fate, "250 2.1.5 ok"):
            self._paths.append(path_of(line))

    def _do_data(self, line: str) -> None:
        if not self._paths:
            self._say("503 5.5.1 RCPT first" if self._reverse_path is None else "554 5.5.1 nobody")
        else:
            fate = self.host.fate("data")
            self._note_refusal(fate)
            if self._meet(fate, "354 go on"):
                self._content = bytearray()

    def _do_bdat(self, line: str) -> None:
        words = line.split()
        self._chunk_left = int(words[1])
        self._is_chunk = True
        self._is_last_chunk = len(words) > 2
        self._content, self._chunked = self._chunked, bytearray()

    def _do_rset(self, line: str) -> None:
        self._reset()
        self._say("250 2.0.0 ok")

    def _do_noop(self, line: str) -> None:
        self._say("250 2.0.0 ok")

    def _do_quit(self, line: str) -> None:
        self._say("221 2.0.0 bye")

    # --- content --------------------------------------------------------------------------------

    def _take_content(self) -> bool:
        """Whether its end was there. CRLF.CRLF and nothing else ends it (RFC 5321 4.1.1.4)."""
        octets = self._buffer
        if octets.startswith(b".\r\n"):
            content, after = b"", 3
        else:
            at = octets.find(b"\r\n.\r\n")
            if at < 0:
                if self.host.fate("content") == "drop":
                    self._is_gone = True
                    self.transport.abortConnection()
                return False
            content, after = bytes(octets[: at + 2]), at + 5
        del octets[:after]
        self._content = None
        self._end(content.removeprefix(b".").replace(b"\r\n.", b"\r\n"))
        return True

    def _take_chunk(self) -> bool:
        if len(self._buffer) < self._chunk_left:
            return False
        assert self._content is not None
        self._content += self._buffer[: self._chunk_left]
        del self._buffer[: self._chunk_left]
        self._is_chunk = False
        if self._is_last_chunk:
            content, self._content = bytes(self._content), None
            if not self._paths:
                self._say("503 5.5.1 RCPT first")
            else:
                self._end(content)
        else:
            self._chunked, self._content = self._content, None
            self._say("250 2.0.0 go on")
        return True

    def _end(self, content: bytes) -> None:
        self._contents += 1
        fate = self.host.fate("dot")
        if fate[:3].isdigit():
            self._note_refusal(fate)
            self._reset()
            self._say(fate)
            return
        if fate in ("drop", "stall"):  # it never came to a decision
            self._meet(fate, "")
            return
        paths = tuple(self._paths)
        copy = Copy(
            self.host.name,
            self._reverse_path or "",
            paths,
            content,
            self._user,
            self.host.address,
            self._contents,
            is_late=not self.transport.other.process.is_alive,
        )
        self._reset()
        self.host.oracle.accepted(copy)
        if fate == "lose":
            self._is_gone = True
            self.transport.abortConnection()
            return
        transport = self.transport
        reply = "250 2.0.0 taken"
        self._say(reply)
        mark = transport.written + len(reply) + 2
        copy.was_answered = lambda: transport.heard >= mark

    def _note_refusal(self, fate: str) -> None:
        if fate[:1] == "5":
            for path in self._paths:
                self.host.oracle.refused(path, fate)


def path_of(line: str) -> str:
    """What stands in the angle brackets."""
    return line[line.index("<") + 1 : line.index(">")]
