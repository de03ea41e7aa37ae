"""Clients that never come to an end: each is stopped by a limit that has a name.

A whole relay under twistd, so that its memory can be seen as well.
"""

import re
from base64 import b64encode
from pathlib import Path

from relay.inbound.protocol import MAX_BUFFERED
from relay.smtp.lines import MAX_SWALLOWED_LINE
from relay.smtp.server import MIN_COMMANDS
from tests.attacks.dialogue import Rude
from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.through_relay import ThroughRelay

GIGABYTE = 1 << 30

SOCKET_BUFFERS = 16 << 20
"""Octets that the kernel takes from us though nobody reads them, at the most."""

MAX_GROWTH = 24 << 20
"""Octets that one client may make the relay grow by."""

_OPENING = ("EHLO c", "MAIL FROM:<a@example.net>")


def resident(relay: RelayProcess) -> int:
    """Octets of memory."""
    status = Path(f"/proc/{relay.child.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


class FloodTests(ThroughRelay):
    def begin(self, **listener: object) -> RelayProcess:
        self.collected = self.collector()
        relay = self.relay(
            upstream("main", self.collected.port),
            routes=[route("main")],
            # the limit itself is looked at, not what makes the way to it long
            listener={"max_connections_per_client": 5000, "error_delay": "0s", **listener},
        )
        with Rude(relay.port) as client:
            client.say("NOOP")
        self.size = resident(relay)
        return relay

    def check_after(self, relay: RelayProcess) -> None:
        """It did not grow, and serves the next one as ever."""
        self.assertLess(resident(relay) - self.size, MAX_GROWTH)
        with Rude(relay.port) as client:
            self.assertRegex(client.say("EHLO c"), "^250")

    def test_a_command_without_line_end(self) -> None:
        """MAX_SWALLOWED_LINE."""
        relay = self.begin()
        with Rude(relay.port) as client:
            sent = client.pour(b"x" * 65536, GIGABYTE)
            self.assertLess(sent, MAX_SWALLOWED_LINE + SOCKET_BUFFERS)
        self.assertEqual(1, len(relay.wait_for(1, "rejected")))
        self.check_after(relay)

    def test_commands_without_end(self) -> None:
        """MIN_COMMANDS, or ten for each recipient that is allowed."""
        relay = self.begin(max_recipients=100)
        for command in ("NOOP", "RSET", "VRFY someone", "HELP", "EHLO c"):
            with self.subTest(command), Rude(relay.port) as client:
                client.say("EHLO c")
                client.socket.sendall(f"{command}\r\n".encode() * (MIN_COMMANDS + 100))
                replies = [*iter(client.reply, "")]
                self.assertLessEqual(len(replies), MIN_COMMANDS + 1)
                self.assertRegex(replies[-1], "^421 4.7.0")
        self.check_after(relay)

    def test_transactions_without_content(self) -> None:
        relay = self.begin(max_recipients=100)
        with Rude(relay.port) as client:
            client.say("EHLO c")
            lines = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nRSET\r\n"
            client.socket.sendall(lines * MIN_COMMANDS)
            self.assertRegex(client.last_word(), "^421 4.7.0")
        self.check_after(relay)

    def test_errors_without_end(self) -> None:
        """max_errors."""
        relay = self.begin(max_errors=20)
        for command in ("XYZZY", "MAIL", "MAIL FROM:<@>", "\x00", "DATA x"):
            with self.subTest(command), Rude(relay.port) as client:
                client.say("EHLO c")
                client.pour(f"{command}\r\n".encode(), 100 * (len(command) + 2))
                replies = [*iter(client.reply, "")]
                self.assertLessEqual(len(replies), 21)
        self.check_after(relay)

    def test_size_ignored(self) -> None:
        """max_message_size, then max_swallowed: 64 MiB are read for the sake of the reply."""
        relay = self.begin(max_message_size="64K")
        for ending in ("DATA", f"BDAT {GIGABYTE} LAST"):
            with self.subTest(ending), Rude(relay.port) as client:
                for line in (*_OPENING, "RCPT TO:<b@example.org>"):
                    client.say(line)
                if ending == "DATA":
                    client.say(ending)
                else:
                    client.socket.sendall(ending.encode() + b"\r\n")
                sent = client.pour(b"a line of text\r\n" * 4096, GIGABYTE)
                self.assertLess(sent, (64 << 20) + SOCKET_BUFFERS)
        relay.wait_for(2, "rejected")
        self.check_after(relay)
        self.assertEqual([], relay.facts("accepted"))

    def test_ten_thousand_recipients(self) -> None:
        """max_recipients: 452 for the rest, and those that were taken get it."""
        relay = self.begin(max_recipients=1000)
        with Rude(relay.port) as client:
            for line in _OPENING:
                client.say(line)
            said = [client.say(f"RCPT TO:<{number}@example.org>")[:9] for number in range(10_000)]
            self.assertEqual({"250 2.1.5", "452 4.5.3", "421 4.7.0"}, set(filter(None, said)))
            self.assertEqual(1000, said.count("250 2.1.5"))
            if said[-1]:
                client.say("DATA")
                self.assertRegex(client.say("Subject: x\r\n\r\n."), "^250")
        self.check_after(relay)

    def test_commands_behind_one_that_waits(self) -> None:
        """MAX_BUFFERED: what comes behind a command that is not answered yet is not all read."""
        relay = self.begin(max_recipients=50000)
        self.collected.answer("DATA", "stall")
        relay.settings["route"][0]["delivery"] = "proxy"
        relay.restart()
        self.size = resident(relay)
        with Rude(relay.port) as client:
            for line in (*_OPENING, "RCPT TO:<b@example.org>"):
                client.say(line)
            client.socket.sendall(b"DATA\r\n")
            client.socket.settimeout(3)
            sent = client.pour(b"NOOP\r\n" * 10000, GIGABYTE)
            self.assertLess(sent, MAX_BUFFERED + SOCKET_BUFFERS)
            self.assertLess(resident(relay) - self.size, MAX_GROWTH)
        self.check_after(relay)

    def test_connections_without_end(self) -> None:
        """max_connections_per_client, and max_connections: 421, and all is well once they went."""
        for limit in ("max_connections_per_client", "max_connections"):
            with self.subTest(limit):
                relay = self.begin(**{limit: 20})
                clients = [Rude(relay.port) for _ in range(60)]
                greetings = [client.greeting[:9] for client in clients]
                self.assertGreaterEqual(greetings.count("421 4.7.0"), 40, greetings)
                self.assertGreater(greetings.count("220 relay"), 15)  # some may not have ended yet
                for client in clients:
                    client.socket.close()
                    client.__exit__()
                wait_until(lambda: Rude(relay.port).greeting[:3] == "220", "a place")  # noqa: B023
                self.check_after(relay)

    def test_thousands_of_idle_sessions(self) -> None:
        """Honest ones beside them are served."""
        relay = self.begin(max_connections=600, max_connections_per_client=600)
        idle = [Rude(relay.port) for _ in range(500)]
        with Rude(relay.port) as client:
            for line in (*_OPENING, "RCPT TO:<b@example.org>", "DATA"):
                client.say(line)
            self.assertRegex(client.say("Subject: x\r\n\r\n."), "^250")
        for each in idle:
            each.__exit__()
        relay.wait_until_empty()


class GuessingTests(ThroughRelay):
    def test_passwords(self) -> None:
        """Each failure costs time, and then the address is shut out: 421, on every session."""
        relay = self.idle_relay(
            upstream("main", 2526),
            routes=[route("main")],
            listener={"auth": "offered", "auth_without_tls": True, "max_errors": 1000},
            top={"auth": {"users": "users", "max_failures": 5, "failure_delay": "1s"}},
        )
        relay.add_user("someone", "the right password")
        relay.start()
        said = []
        for number in range(4):
            with Rude(relay.port) as client:
                client.say("EHLO c")
                while answer := client.say(
                    f"AUTH PLAIN {_plain('someone', f'x{number}{len(said)}')}"
                ):
                    said.append(answer[:9])
        self.assertLessEqual(said.count("535 5.7.8"), 5)
        self.assertIn("421 4.7.0", said)
        with Rude(relay.port) as client:
            client.say("EHLO c")
            answer = client.say(f"AUTH PLAIN {_plain('someone', 'the right password')}")
            self.assertRegex(answer, "^421", "shut out means shut out")


def _plain(name: str, password: str) -> str:
    return b64encode(f"\0{name}\0{password}".encode()).decode()
