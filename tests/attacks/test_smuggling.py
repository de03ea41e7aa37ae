"""Smuggling through a whole relay under twistd: both listeners' settings, all three deliveries.

A tap before the upstream sees every octet that goes out. Behind it are a collector, a Postfix
that forwards to the collector, and aiosmtpd: exactly one message arrives of what got a 250, none
of what did not, and never the smuggled one.
"""

import re
import socket
import time
from collections import Counter
from contextlib import suppress as ignoring

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.attacks.smuggling import (
    DOTS,
    ENDS,
    INNOCENT,
    SMUGGLED,
    Variant,
    at,
    is_canonical,
    variants,
)
from tests.attacks.tap import Tap, take_apart
from tests.interop.peers import Postfix
from tests.process.child import free_port, wait_until
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.through_relay import ThroughRelay

DELIVERIES = ("store", "hybrid", "proxy")

_PAUSE = 0.002
"""Seconds between two segments, so that they are two."""


class Attacker:
    """One session for each message; `accepted` has the markers of those that got a 250."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.accepted: set[str] = set()

    def attack(self, port: int, delivery: str, variant: Variant, kind: str) -> None:
        """By DATA in one segment or cut within the variant, or by two chunks."""
        marker = f"m{len(self.sent)}x"
        self.sent.append(marker)
        content = variant.content(f"{delivery}.example.org", marker)
        at_octet = content.index(b"begin") + 5 + len(variant.octets) // 2
        with socket.create_connection(("127.0.0.1", port), timeout=30) as session:
            session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            file = session.makefile("rb")
            _reply(file)
            for command in (
                "EHLO attacker.example",
                f"MAIL FROM:<{INNOCENT}>",
                f"RCPT TO:<{at(delivery + '.example.org')}>",
            ):
                session.sendall(command.encode() + b"\r\n")
                assert _reply(file) == 250, command
            pieces = _pieces(kind, content, at_octet)
            if kind != "BDAT":
                session.sendall(b"DATA\r\n")
                assert _reply(file) == 354
            for piece in pieces:
                session.sendall(piece)
                time.sleep(_PAUSE * (len(pieces) > 1))
            codes = [_reply(file) for _ in range(1 + (kind == "BDAT"))]
            if codes[-1] == 250:
                self.accepted.add(marker)
            with ignoring(OSError):  # refused octets close the session
                session.sendall(b"QUIT\r\n")
                while file.readline():
                    pass


def _pieces(kind: str, content: bytes, at_octet: int) -> list[bytes]:
    one, other = content[:at_octet], content[at_octet:]
    if kind == "BDAT":
        return [b"BDAT %d\r\n%b" % (len(one), one), b"BDAT %d LAST\r\n%b" % (len(other), other)]
    return [one, other] if kind == "cut" else [content]


def _reply(file: socket.SocketIO) -> int:
    """Its code; 0 where the session has ended, by a reset where a chunk came after the refusal."""
    with ignoring(ConnectionResetError):
        while line := file.readline():
            if line[3:4] != b"-":
                return int(line[:3])
    return 0


class _Case(ThroughRelay):
    def before(self, port: int) -> tuple[RelayProcess, Tap]:
        """A relay with two listeners, whose upstream is tapped."""
        tap = Tap(port)
        tap.start()
        self.addCleanup(tap.stop)
        self.strict_port = free_port()
        relay = self.idle_relay(
            upstream("main", tap.port),
            routes=[
                route("main", f"*@{delivery}.example.org", delivery=delivery)
                for delivery in DELIVERIES
            ],
            queue={"min_free": "1M"},
        )
        relay.settings["listener"][0]["bare_newline"] = "normalise"
        relay.settings["listener"].append(
            {
                "name": "strict",
                "address": f"127.0.0.1:{self.strict_port}",
                "bare_newline": "reject",
            }
        )
        relay.start()
        return relay, tap

    def attack_all(self, relay: RelayProcess, chosen: list[Variant]) -> Attacker:
        attacker = Attacker()
        for number, variant in enumerate(chosen):
            for port in (relay.port, self.strict_port):
                for delivery in DELIVERIES:
                    kind = ("DATA", "cut", "BDAT")[number % 3]
                    attacker.attack(port, delivery, variant, kind)
        return attacker

    def check_tap(self, tap: Tap, attacker: Attacker) -> None:
        """One content on the wire for each 250, canonical, and no smuggled command."""
        contents = []
        for said in tap.said:
            spoken = take_apart(bytes(said))
            contents += spoken.contents
            paths = [line for line in spoken.commands if SMUGGLED.encode() in line]
            self.assertEqual([], paths)
            self.assertEqual([], [line for line in spoken.commands if b"\n" in line])
        for content in contents:
            self.assertTrue(is_canonical(content), content)
        self.check_markers(contents, attacker)

    def check_markers(self, contents: list[bytes], attacker: Attacker) -> None:
        found = Counter(
            marker.decode()
            for each in contents
            for marker in re.findall(rb"Subject: (m\d+x)", each)
        )
        self.assertEqual(Counter(attacker.accepted), found)
        self.assertNotEqual(set(), attacker.accepted)
        self.assertLess(len(attacker.accepted), len(attacker.sent))


def _harmless(ends: tuple[bytes, ...] = ENDS, dots: tuple[bytes, ...] = (b".",)) -> list[Variant]:
    return [variant for variant in variants(ends, dots) if not variant.is_end]


def _sample(ends: tuple[bytes, ...]) -> list[Variant]:
    """A lone dot between any two of `ends`, and with every line end on either side; every dot
    between usual line ends."""
    chosen = [
        *_harmless(ends),
        *(Variant(b"\r\n." + end) for end in ENDS),
        *(Variant(end + b".\r\n") for end in ENDS),
        *(Variant(end + b"." + end) for end in ENDS),
        *(Variant(end + dot + end) for end in (b"\r\n", b"\n") for dot in DOTS),
    ]
    return [variant for variant in dict.fromkeys(chosen) if not variant.is_end]


class CollectorTests(_Case):
    def test_every_line_end_around_a_dot(self) -> None:
        collector = self.collector()
        relay, tap = self.before(collector.port)
        attacker = self.attack_all(relay, _harmless())
        relay.wait_until_empty()
        collector.wait_for(len(attacker.accepted))
        self.assertEqual({INNOCENT}, {kept.sender for kept in collector.kept})
        self.check_markers([kept.content for kept in collector.kept], attacker)
        self.check_tap(tap, attacker)

    def test_a_real_end_is_seen(self) -> None:
        """The counter-check: with CRLF.CRLF there are two messages, so the tests can tell."""
        collector = self.collector()
        relay, _ = self.before(collector.port)
        for delivery in DELIVERIES:
            Attacker().attack(relay.port, delivery, Variant(b"\r\n.\r\n"), "DATA")
        collector.wait_for(6)
        self.assertEqual({INNOCENT: 3, SMUGGLED: 3}, Counter(k.sender for k in collector.kept))


class PostfixTests(_Case):
    def test_a_sample_before_postfix(self) -> None:
        collector = self.collector()
        postfix = Postfix(collector.port)
        self.addCleanup(postfix.clean_up)
        postfix.start()
        relay, tap = self.before(postfix.port)
        attacker = self.attack_all(relay, _sample(ENDS[:5]))
        relay.wait_until_empty()
        collector.wait_for(len(attacker.accepted), 60)
        self.assertEqual({INNOCENT}, {kept.sender for kept in collector.kept})
        self.check_markers([kept.content for kept in collector.kept], attacker)
        self.check_tap(tap, attacker)


class _Keeping:
    """aiosmtpd's handler."""

    def __init__(self) -> None:
        self.kept: list[Envelope] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.kept.append(envelope)
        return "250 2.0.0 kept"


class AiosmtpdTests(_Case):
    def test_a_sample_before_aiosmtpd(self) -> None:
        handler = _Keeping()
        controller = Controller(handler, "127.0.0.1", free_port())
        controller.start()
        self.addCleanup(controller.stop)
        relay, tap = self.before(controller.port)
        attacker = self.attack_all(relay, _sample(ENDS[:9]))
        relay.wait_until_empty()
        wait_until(lambda: len(handler.kept) >= len(attacker.accepted), "aiosmtpd's messages")
        self.assertEqual({INNOCENT}, {each.mail_from for each in handler.kept})
        self.check_markers([_content(each) for each in handler.kept], attacker)
        self.check_tap(tap, attacker)


def _content(envelope: Envelope) -> bytes:
    assert isinstance(envelope.content, bytes)
    return envelope.content
