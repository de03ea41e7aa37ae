"""The scripted upstream, talked to over a real connection."""

from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from relay.testing.upstream import OK, Act, ScriptedUpstream

Steps = Generator[Deferred[Any], Any, None]


class Talker(Protocol):
    """Says what it is told to and keeps what comes back."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_closed = False
        self._waiting: tuple[bytes, Deferred[bytes]] | None = None

    def say(self, octets: bytes, until: bytes) -> Deferred[bytes]:
        """Fires with all that came since, once it ends with `until` (b"": once it is closed)."""
        self.heard = b""
        fired: Deferred[bytes] = Deferred()
        self._waiting = (until, fired)
        fired.addTimeout(10, reactor)
        self.transport.write(octets)
        self._look()
        return fired

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_closed = True
        self._look()

    def _look(self) -> None:
        if self._waiting is None:
            return
        until, fired = self._waiting
        if self.is_closed if not until else self.heard.endswith(until):
            self._waiting = None
            fired.callback(self.heard)


class Upstreams(TestCase):
    def start(self, *args: Any, **options: Any) -> ScriptedUpstream:
        upstream = ScriptedUpstream(*args, **options)
        upstream.listen(reactor)
        self.addCleanup(upstream.stop)
        return upstream

    def connect(self, upstream: ScriptedUpstream) -> Deferred[Talker]:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", upstream.port)
        return connectProtocol(endpoint, Talker())

    @inlineCallbacks
    def test_usual_answers_and_record(self) -> Steps:
        upstream = self.start()
        talker = yield self.connect(upstream)
        greeting = yield talker.say(b"", b"\r\n")
        self.assertEqual(greeting, b"220 upstream.test ESMTP\r\n")
        hello = yield talker.say(b"EHLO me\r\n", b" SMTPUTF8\r\n")
        self.assertTrue(hello.startswith(b"250-upstream.test\r\n250-PIPELINING\r\n"), hello)
        got = yield talker.say(
            b"MAIL FROM:<a@x> SIZE=9 RET=FULL\r\nRCPT TO:<b@y> NOTIFY=NEVER\r\nDATA\r\n", b"on\r\n"
        )
        self.assertEqual(got, b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n")
        yield talker.say(b"..a\r\n..\r\nb.\r\n.\r\n", b"accepted\r\n")
        yield talker.say(b"QUIT\r\n", b"")
        self.assertEqual(talker.heard, b"221 2.0.0 bye\r\n")
        [one] = upstream.accepted
        self.assertEqual((one.reverse_path, one.parameters), ("a@x", {"SIZE": "9", "RET": "FULL"}))
        self.assertEqual(one.forward_paths, ["b@y"])
        self.assertEqual(one.recipients[0].parameters, {"NOTIFY": "NEVER"})
        self.assertEqual(one.content, b".a\r\n.\r\nb.\r\n")
        self.assertEqual(upstream.commands[-1], "QUIT")
        yield upstream.when(lambda: not upstream.open_sessions)

    @inlineCallbacks
    def test_script_by_glob_and_by_turn(self) -> Steps:
        upstream = self.start({"rcpt:bad@*": "550 5.1.1 no", "dot": ["451 4.3.0 later", OK]})
        talker = yield self.connect(upstream)
        yield talker.say(b"EHLO me\r\n", b" SMTPUTF8\r\n")
        group = b"MAIL FROM:<>\r\nRCPT TO:<bad@y>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
        for expected in (b"451 4.3.0 later\r\n", b"250 2.0.0 ok\r\n", b"250 2.0.0 ok\r\n"):
            got = yield talker.say(group, b"on\r\n")
            self.assertIn(b"550 5.1.1 no\r\n250 2.1.5 ok\r\n354", got)
            got = yield talker.say(b"x\r\n.\r\n", b"\r\n")
            self.assertEqual(got, expected)
        self.assertEqual((len(upstream.transactions), len(upstream.accepted)), (3, 2))
        self.assertEqual(upstream.transactions[0].forward_paths, ["b@y"])

    @inlineCallbacks
    def test_empty_content_and_content_in_single_octets(self) -> Steps:
        upstream = self.start()
        talker = yield self.connect(upstream)
        group = b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
        for wire in (b".\r\n", b"..\r\n\r\n.a\r\n.\r\n"):
            yield talker.say(group, b"on\r\n")
            for octet in wire[:-1]:
                talker.transport.write(bytes([octet]))
            yield talker.say(wire[-1:], b"accepted\r\n")
        self.assertEqual([t.content for t in upstream.accepted], [b"", b".\r\n\r\na\r\n"])

    @inlineCallbacks
    def test_drop_reset_and_stall(self) -> Steps:
        for act in (Act.DROP, Act.RESET):
            for step, wire in ((("connect"), b""), ("mail", b"MAIL FROM:<>\r\n")):
                upstream = self.start({step: act})
                talker = yield self.connect(upstream)
                yield talker.say(wire, b"")
        upstream = self.start({"content": Act.STALL})
        talker = yield self.connect(upstream)
        yield talker.say(b"MAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n", b"on\r\n")
        talker.transport.write(b"x\r\n.\r\nQUIT\r\n")
        yield upstream.stop()
        self.assertEqual((upstream.transactions, upstream.commands[-1]), ([], "DATA"))

    @inlineCallbacks
    def test_hold_and_release(self) -> Steps:
        upstream = self.start({"mail": [Act.HOLD, OK]})
        talker = yield self.connect(upstream)
        yield talker.say(b"", b"\r\n")
        answered = talker.say(b"MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\n", b"2.0.0 ok\r\n")
        yield upstream.when(lambda: bool(upstream.commands))
        self.assertEqual((upstream.commands, talker.heard), (["MAIL FROM:<>"], b""))
        upstream.release()
        yield answered
        yield upstream.when(lambda: len(upstream.commands) == 3)

    @inlineCallbacks
    def test_raw_octets(self) -> Steps:
        upstream = self.start({"connect": b"hello\0", "ehlo": "250 a\nb\nc"})
        talker = yield self.connect(upstream)
        yield talker.say(b"", b"hello\0")
        got = yield talker.say(b"EHLO me\r\n", b"250 c\r\n")
        self.assertEqual(got, b"250-a\r\n250-b\r\n250 c\r\n")

    @inlineCallbacks
    def test_chunks(self) -> Steps:
        upstream = self.start(keywords=["CHUNKING"])
        talker = yield self.connect(upstream)
        yield talker.say(b"EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<b@y>\r\n", b"2.1.5 ok\r\n")
        yield talker.say(b"BDAT 4\r\na\r\n.BDAT 2\r\n\r\nBDAT 0 LAST\r\n", b"accepted\r\n")
        [one] = upstream.accepted
        self.assertEqual((one.content, one.is_chunked), (b"a\r\n.\r\n", True))

    @inlineCallbacks
    def test_lmtp_answers_each_recipient(self) -> Steps:
        upstream = self.start({"dot:c@y": "450 4.2.1 full"}, is_lmtp=True)
        talker = yield self.connect(upstream)
        yield talker.say(
            b"LHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n", b"on\r\n"
        )
        got = yield talker.say(b"a\r\n.\r\n", b"full\r\n")
        self.assertEqual(got, b"250 2.0.0 accepted\r\n450 4.2.1 full\r\n")

    @inlineCallbacks
    def test_stop_and_listen_again_on_the_same_port(self) -> Steps:
        upstream = self.start()
        port = upstream.port
        yield self.connect(upstream)
        yield upstream.stop()
        self.assertEqual(upstream.open_sessions, [])
        self.assertEqual(upstream.listen(reactor), port)
        talker = yield self.connect(upstream)
        yield talker.say(b"", b"ESMTP\r\n")
        yield upstream.when(lambda: len(upstream.sessions) == 2)
