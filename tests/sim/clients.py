"""Simulated clients: they send, pipeline, dribble, misbehave, and break off at any octet.

Written from RFC 5321 alone, with none of the relay's own protocol code. What a client was told goes
to the oracle at the instant it is told.
"""

import contextlib
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol

from tests.sim.mail import USUAL, Submission, make_submission
from tests.sim.network import Network
from tests.sim.oracle import Oracle
from tests.sim.people import Bystander
from tests.sim.world import World

PATIENCE = 600.0
"""Seconds a client waits for a reply (RFC 5321 4.5.3.2.6)."""


class Gone(Exception):
    """The connection is."""


class Talk(Protocol):
    """Replies come out in order; each `reply` waits for one."""

    transport: Any

    def __init__(self, world: World) -> None:
        self._world = world
        self._buffer = b""
        self._replies: deque[tuple[int, str]] = deque()
        self._waiting: Deferred[tuple[int, str]] | None = None
        self._is_gone = False
        self._lines: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            text = line.decode("utf-8", "backslashreplace")
            self._lines.append(text[4:])
            if text[3:4] != "-":
                self._replies.append((int(text[:3]), "\n".join(self._lines)))
                self._lines = []
        self._serve()

    def connectionLost(self, reason: Any = None) -> None:
        self._is_gone = True
        self._serve()

    def reply(self) -> Deferred[tuple[int, str]]:
        """Fails with Gone once there is none, nor will be."""
        waiting = self._waiting = Deferred()
        self._world.after(PATIENCE, self._lose_patience, waiting)
        self._serve()
        return waiting

    def _lose_patience(self, waiting: Deferred[tuple[int, str]]) -> None:
        if self._waiting is waiting:
            self.transport.abortConnection()
            self._is_gone = True
            self._serve()

    def _serve(self) -> None:
        waiting = self._waiting
        if waiting is not None and (self._replies or self._is_gone):
            self._waiting = None
            if self._replies:
                waiting.callback(self._replies.popleft())
            else:
                waiting.errback(Gone())


class Dialing(ClientFactory[Any]):
    """One connection."""

    noisy = False

    def __init__(self, world: World) -> None:
        self._world = world
        self.made: Deferred[Talk | None] = Deferred()

    def buildProtocol(self, addr: Any) -> Talk:
        talk = Talk(self._world)
        self._world.after(0, self.made.callback, talk)
        return talk

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.made.callback(None)


class Client(Bystander):
    """Sends some submissions, in one session or several, and remembers what it was told."""

    def __init__(
        self,
        number: int,
        world: World,
        network: Network,
        oracle: Oracle,
        target: tuple[str, int],
        to: Mapping[str, int] = USUAL,
    ) -> None:
        super().__init__(f"10.0.1.{number}")
        self._to = to
        self.world = world
        self.network = network
        self.oracle = oracle
        self._target = target
        self._number = number
        self._sent = 0
        self.random = world.chance(f"client {number}")
        self.is_done = False

    def begin(self, after: float, count: int) -> None:
        self._left = count
        self.world.after(after, lambda: Deferred.fromCoroutine(self._run()).addErrback(self._fail))

    async def _run(self) -> None:
        while self._left > 0:
            talk = await self._dial()
            if talk is not None:
                with contextlib.suppress(Gone):
                    await self.session(talk).run()
            self._left -= 1
            await self.sleep(self.random.expovariate(1 / 60))
        self.is_done = True

    def session(self, talk: Talk) -> "Session":
        return Session(self, talk)

    def _fail(self, reason: Any) -> None:
        """A defect of the simulation itself."""
        self.world.blame(f"client {self.address} broke: {reason.getTraceback()}")

    def _dial(self) -> Deferred[Talk | None]:
        factory = Dialing(self.world)
        self.network.connect(self, *self._target, factory)
        return factory.made

    def sleep(self, seconds: float) -> Deferred[None]:
        slept: Deferred[None] = Deferred()
        self.world.after(seconds, slept.callback, None)
        return slept

    def next_submission(self) -> Submission:
        self._sent += 1
        submission = make_submission(f"m{self._number}x{self._sent}", self.random, self._to)
        self.oracle.began(submission)
        return submission

    @property
    def wants_more(self) -> bool:
        self._left -= 1
        return self._left > 0 and self.random.random() < 0.6


class Session:
    """One session with the relay."""

    def __init__(self, client: Client, talk: Talk) -> None:
        self._client = client
        self._random: Random = client.random
        self._talk = talk
        self._is_extended = self._random.random() < 0.85
        self._pipelines = self._is_extended and self._random.random() < 0.5
        self._dribbles = self._random.random() < 0.1
        self._left = self._random.randint(1, 1500) if self._random.random() < 0.12 else -1
        self._submission: Submission | None = None

    async def run(self) -> None:
        code, _ = await self._talk.reply()
        if code != 220:
            return
        await self._say(b"EHLO client.example" if self._is_extended else b"HELO client.example")
        if (await self._talk.reply())[0] != 250:
            return
        await self.introduce()
        while True:
            submission = self._client.next_submission()
            self.prepare(submission)
            await self._submit(submission)
            if not self._client.wants_more:
                break
        await self._say(b"QUIT")
        await self._talk.reply()
        self._talk.transport.loseConnection()

    async def introduce(self) -> None:
        """Before any mail."""

    def prepare(self, submission: Submission) -> None:
        """Before its MAIL."""

    async def _submit(self, submission: Submission) -> None:
        random = self._random
        self._submission = submission
        if random.random() < 0.1:
            await self._distract()
        commands = [b"MAIL FROM:<%s>" % submission.reverse_path.encode() + self._parameters()]
        for addressee in submission.addressees:
            command = b"RCPT TO:<%s>" % addressee.path.encode()
            if not self._is_extended:
                addressee.notify = ""
            if addressee.notify:
                command += b" NOTIFY=" + addressee.notify.encode()
            commands.append(command)
        chunked = self._is_extended and random.random() < 0.2
        if self._pipelines:
            await self._send(b"".join(c + b"\r\n" for c in commands))
        answers = []
        for number, command in enumerate(commands):
            if not self._pipelines:
                await self._say(command)
            code, text = await self._talk.reply()
            answers.append(code)
            if number:
                if answers[0] < 300:  # else it is no recipient of this one
                    submission.addressees[number - 1].is_accepted = code < 300
                    self._client.oracle.named(submission, code)
                continue
            self._client.oracle.sent_from(submission, f"{code} {text}")
            if code >= 300 and not self._pipelines:
                return
        if answers[0] >= 300:
            return
        if not any(a.is_accepted for a in submission.addressees) or random.random() < 0.03:
            await self._say(b"RSET")
            await self._talk.reply()
        elif chunked:
            await self._send_chunks(submission)
        else:
            await self._send_data(submission)

    async def _distract(self) -> None:
        await self._say(
            self._random.choice((b"NOOP", b"RSET", b"VRFY x", b"NONSENSE", b"RCPT TO:<>"))
        )
        await self._talk.reply()

    def _parameters(self) -> bytes:
        if not self._is_extended:
            return b""
        return self._random.choice((b"", b" BODY=8BITMIME", b" RET=HDRS", b" SIZE=100"))

    async def _send_data(self, submission: Submission) -> None:
        await self._say(b"DATA")
        code, _ = await self._talk.reply()
        if code != 354:
            return
        if self._random.random() < 0.05:
            await self._end_early(submission.wire[: -len(b"\r\n.\r\n")])
        await self._send(submission.wire, is_final=True)
        self._answered(submission, await self._talk.reply())

    async def _send_chunks(self, submission: Submission) -> None:
        """RFC 3030."""
        content, random = submission.content, self._random
        while True:
            size = len(content) if random.random() < 0.5 else random.randint(0, len(content))
            chunk, content = content[:size], content[size:]
            last = b"" if content else b" LAST"
            if not content and random.random() < 0.05:
                await self._end_early(b"BDAT %d\r\n" % len(chunk) + chunk)
            head = b"BDAT %d%s\r\n" % (len(chunk), last)
            await self._send(head + chunk, is_final=not content)
            answer = await self._talk.reply()
            if not content:
                self._answered(submission, answer)
                return
            if answer[0] >= 300:
                return

    def _answered(self, submission: Submission, answer: tuple[int, str]) -> None:
        submission.answer = answer[0]
        self._client.oracle.answered(submission, answer[1])

    async def _end_early(self, part: bytes) -> None:
        """The content has begun, and its end never comes."""
        await self._send(part[: self._random.randint(0, len(part))])
        await self._client.sleep(self._random.uniform(0, 5))
        how = self._random.choice(("abort", "close", "half"))
        transport = self._talk.transport
        if how == "abort":
            transport.abortConnection()
        elif how == "close":
            transport.loseConnection()
        else:
            transport.loseWriteConnection()
            await self._talk.reply()
        raise Gone

    async def _say(self, command: bytes) -> None:
        await self._send(command + b"\r\n")

    async def _send(self, octets: bytes, *, is_final: bool = False) -> None:
        """May break off at any octet, or take its time with each few."""
        if 0 <= self._left < len(octets):
            self._talk.transport.write(octets[: self._left])
            await self._client.sleep(self._random.uniform(0, 2))
            self._talk.transport.abortConnection()
            raise Gone
        if self._left >= 0:
            self._left -= len(octets)
        if is_final and self._submission is not None:
            self._client.oracle.ended(self._submission)
        if self._dribbles and len(octets) < 5000:
            await self._dribble(octets)
        else:
            self._talk.transport.write(octets)

    async def _dribble(self, octets: bytes) -> None:
        while octets:
            size = self._random.randint(1, max(1, len(octets) // 3))
            self._talk.transport.write(octets[:size])
            octets = octets[size:]
            await self._client.sleep(self._random.uniform(0, 0.5))
