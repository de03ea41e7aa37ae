"""Lines smuggled into what others read: the traffic log, header fields, DSNs, upstream commands.

Every field that a client or an upstream fills carries a line end, in each spelling that somebody
might take for one; each fact stays one line, each field one field.
"""

import email
import json

from tests.attacks.dialogue import Rude
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content
from tests.process.through_relay import ThroughRelay

LINE_ENDS = ("\r", "\n", "\0", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\u2029", "\x7f")

FORGED = '{"event":"relayed","recipient":"forged@example.org"}'

_TO = "RCPT TO:<someone@example.org>"

COMMANDS = (
    "EHLO a{}" + FORGED,
    "EHLO a)\r\n\tby b; {}X-Forged: yes",
    "HELO a{}X-Forged: yes",
    'MAIL FROM:<"a{}X-Forged: yes"@example.net> SMTPUTF8',
    "MAIL FROM:<a{}b@example.net> SMTPUTF8",
    "MAIL FROM:<a@example.net> ENVID=a{}X-Forged:yes",
    "MAIL FROM:<a@example.net> ENVID=a+0D+0AX-Forged:+20yes",
    "MAIL FROM:<a@example.net>{}RCPT TO:<forged@example.org>",
    'RCPT TO:<"a{}X-Forged: yes"@example.org>',
    "RCPT TO:<a@example.org{}DATA>",
    "RCPT TO:<a@example.org> ORCPT=rfc822;a{}X-Forged:yes",
    "RCPT TO:<a@example.org> ORCPT=rfc822;a+0D+0AX-Forged:+20yes",
    "VRFY a{}b",
    "NOOP a{}" + FORGED,
    "{}" + FORGED,
    FORGED,
)


class InjectionTests(ThroughRelay):
    def check_log(self, relay: RelayProcess) -> None:
        """Each line is one JSON object of ours, in ASCII that no terminal obeys."""
        octets = relay.traffic_log.read_bytes()
        for line in octets.split(b"\n")[:-1]:
            self.assertIn("time", json.loads(line))
            self.assertFalse(any(octet < 32 or octet == 127 for octet in line), line)
        for end in ("\x85", "\u2028", "\u2029"):
            self.assertNotIn(end.encode(), octets)
        self.assertEqual([], relay.facts(recipient="forged@example.org"))

    def test_what_clients_say(self) -> None:
        collector = self.collector()
        collector.answer("RCPT", "550 5.1.1 no such user", "*@example.org*")
        relay = self.relay(
            upstream("main", collector.port),
            routes=[route("main")],
            listener={"max_errors": 10000},
        )
        for command in COMMANDS:
            for end in LINE_ENDS:
                self.one_message(relay, command.replace("{}", end))
        relay.wait_until_empty()
        self.check_log(relay)
        for line in collector.commands:
            self.assertFalse(line.startswith("X-Forged"), line)
            self.assertTrue(line.isprintable(), line)
            self.assertNotIn("forged@example.org", line)
        reports = [kept for kept in collector.kept if kept.sender == ""]
        self.assertGreater(len(reports), len(COMMANDS))
        for kept in collector.kept:
            self.check_report(kept.content)

    def one_message(self, relay: RelayProcess, hostile: str) -> None:
        """The hostile line where it would be, then as good a message as that leaves."""
        with Rude(relay.port) as client:
            said = client.say("EHLO client.example")
            said = client.say(hostile) if hostile[4:6] != " F" else said
            if not said:
                return
            if hostile.startswith("MAIL"):
                client.say("RSET")
                client.say(hostile)
            elif not client.say(f"MAIL FROM:<{SENDER}>"):
                return
            if hostile.startswith("RCPT"):
                client.say(hostile)
            client.say(_TO)
            if client.say("DATA").startswith("354"):
                client.say(content("x")[:-2] + b"\r\n.")

    def check_report(self, octets: bytes) -> None:
        """A DSN, and its parts: nothing forged in any header."""
        message = email.message_from_bytes(octets)
        for part in message.walk():
            self.assertNotIn("X-Forged", part)
            received = [value for name, value in part.items() if name == "Received"]
            self.assertLessEqual(len(received), 2)

    def test_what_upstreams_say(self) -> None:
        """Their replies go into the log, into DSNs and, in proxy delivery, to the client."""
        for end in LINE_ENDS:
            if end == "\n":
                continue  # that is a line end of theirs, and what follows is no reply
            with self.subTest(repr(end)):
                self.one_reply(f"550 5.1.1 no{end}X-Forged: yes {FORGED}")

    def between(self, collector: Collector, home: Collector) -> RelayProcess:
        """Stored and proxied mail goes to the one, DSNs to the other."""
        return self.relay(
            upstream("main", collector.port),
            upstream("home", home.port),
            routes=[
                route("home", SENDER),
                route("main", "*@proxy.example.org", delivery="proxy"),
                route("main"),
            ],
        )

    def test_what_upstreams_say_at_each_other_step(self) -> None:
        """All the line ends at once."""
        forged = "".join(f"{end}X-Forged: yes {FORGED}" for end in LINE_ENDS if end != "\n")
        for step in ("CONNECT", "EHLO", "MAIL", "DATA", "DOT"):
            with self.subTest(step):
                self.one_step(step, f"554 5.7.1 no{forged}")

    def one_step(self, step: str, reply: str) -> None:
        collector, home = self.collector(), self.collector()
        collector.answer(step, reply)
        collector.answer("HELO", reply)
        relay = self.between(collector, home)
        with Rude(relay.port) as client:
            client.say("EHLO client.example")
            for domain in ("proxy.example.org", "example.org"):
                self.one_transaction(client, f"someone@{domain}")
        if step in ("CONNECT", "EHLO"):
            relay.wait_for(1, "delayed")
        else:
            (report,) = home.wait_for(1)
            self.check_report(report.content)
            self.assertIn(b"554 5.7.1 no", report.content)
            relay.wait_until_empty()
        self.check_log(relay)

    def one_transaction(self, client: Rude, recipient: str) -> None:
        """To its first refusal; whatever is said may be shown on a terminal."""
        message = content("x")[:-2] + b"\r\n."
        for line in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{recipient}>", "DATA", message):
            said = client.say(line)
            self.assertTrue(said and said.isprintable(), said)
            if said >= "4":
                break
        client.say("RSET")

    def one_reply(self, reply: str) -> None:
        collector, home = self.collector(), self.collector()
        collector.answer("RCPT", reply)
        relay = self.between(collector, home)
        with Rude(relay.port) as client:
            client.say("EHLO client.example")
            client.say(f"MAIL FROM:<{SENDER}>")
            said = client.say("RCPT TO:<someone@proxy.example.org>")
            self.assertTrue(said.isprintable() and said.startswith("550 5.1.1 no"), said)
            client.say(_TO)
            client.say("DATA")
            self.assertRegex(client.say(content("x")[:-2] + b"\r\n."), "^250")
        (report,) = home.wait_for(1)
        self.check_report(report.content)
        self.assertIn(b"550 5.1.1 no", report.content)
        relay.wait_until_empty()
        self.check_log(relay)
