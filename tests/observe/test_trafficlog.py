"""The traffic log: its lines to the letter, its batches, and that it never hurts mail."""

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.envelope import Origin
from relay.mail.outcome import Delayed, Failed, Relayed
from relay.mail.reply import Reply, reply
from relay.notices import (
    Accepted,
    Alarm,
    AlarmOver,
    Attempted,
    Authenticated,
    Connected,
    Disconnected,
    Held,
    Notice,
    Rejected,
    Released,
    Reloaded,
    Removed,
    Reported,
    ShutOut,
    Started,
    Stopped,
)
from relay.observe import trafficlog
from relay.observe.facts import FACTS, rfc3339
from relay.observe.fan import fan_out
from relay.observe.trafficlog import TrafficLog, as_line
from tests.properties import given

ORIGIN = Origin("lan", "192.0.2.1:4321", "client.example.net", "", "S1")
HOST = "mx.example.org[192.0.2.25]:25"
ACCEPTED = Accepted(
    "0A", ORIGIN, "a@example.net", ("b@example.org", "c@example.org"), 4096, "<m@x>", "store"
)


def attempted(outcome: Relayed | Delayed | Failed, at: float | None = None) -> Attempted:
    return Attempted("0A", "b@example.org", "smarthost", outcome, 2, 1.23456, 4096, at)


LINES: list[tuple[Notice, dict[str, Any]]] = [
    (Started("relay"), {"event": "started", "what": "relay"}),
    (Stopped("relay", "SIGTERM"), {"event": "stopped", "what": "relay", "why": "SIGTERM"}),
    (Alarm("queue", "disk full"), {"event": "alarm", "what": "queue", "why": "disk full"}),
    (AlarmOver("queue"), {"event": "alarm_over", "what": "queue"}),
    (Reloaded(("route",)), {"event": "reloaded", "changes": ["route"]}),
    (
        Connected("S1", "192.0.2.1:4321", "lan"),
        {"event": "connected", "session": "S1", "client": "192.0.2.1:4321", "listener": "lan"},
    ),
    (
        Connected("S1", "192.0.2.1:4321", "lan", "10.0.0.1:5432"),
        {
            "event": "connected",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "via": "10.0.0.1:5432",
        },
    ),
    (
        Disconnected("S1", "192.0.2.1:4321", "lan", "quit", 3, "client.example.net"),
        {
            "event": "disconnected",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "helo": "client.example.net",
            "reason": "quit",
            "transactions": 3,
        },
    ),
    (
        Disconnected("S1", "192.0.2.1:4321", "lan", "quit", 3, user="tim"),
        {
            "event": "disconnected",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "user": "tim",
            "reason": "quit",
            "transactions": 3,
        },
    ),
    (
        Authenticated("S1", "192.0.2.1:4321", "lan", "client.example.net", "tim", "PLAIN"),
        {
            "event": "authenticated",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "helo": "client.example.net",
            "user": "tim",
            "mechanism": "PLAIN",
        },
    ),
    (
        ShutOut("2001:db8::/64", "lan", 20),
        {"event": "shut_out", "client": "2001:db8::/64", "listener": "lan", "failures": 20},
    ),
    (
        ACCEPTED,
        {
            "event": "accepted",
            "queue_id": "0A",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "helo": "client.example.net",
            "reverse_path": "a@example.net",
            "recipients": ["b@example.org", "c@example.org"],
            "size": 4096,
            "message_id": "<m@x>",
            "delivery": "store",
        },
    ),
    (
        Accepted("0B", Origin("", ""), "", ("a@example.net",), 9, "", "store"),
        {
            "event": "accepted",
            "queue_id": "0B",
            "reverse_path": "",
            "recipients": ["a@example.net"],
            "size": 9,
            "delivery": "store",
        },
    ),
    (
        Rejected(
            "S1",
            "192.0.2.1:4321",
            "lan",
            "client",
            "RCPT",
            "550 5.7.1 Relaying denied",
            "x@y",
            reverse_path="",
        ),
        {
            "event": "rejected",
            "session": "S1",
            "client": "192.0.2.1:4321",
            "listener": "lan",
            "helo": "client",
            "command": "RCPT",
            "reply": "550 5.7.1 Relaying denied",
            "recipient": "x@y",
            "reverse_path": "",
        },
    ),
    (
        attempted(Relayed(reply(250, "2.0.0", "queued", "as 7"), HOST, tls="TLSv1.3 X verified")),
        {
            "event": "relayed",
            "queue_id": "0A",
            "recipient": "b@example.org",
            "upstream": "smarthost",
            "host": HOST,
            "reply": "250 2.0.0 queued as 7",
            "status": "2.0.0",
            "attempt": 2,
            "delay": 1.235,
            "size": 4096,
            "upstream_tls": "TLSv1.3 X verified",
        },
    ),
    (
        attempted(Delayed(reply(451, "", "later"), HOST, is_unknown=True), 1000000000.25),
        {
            "event": "delayed",
            "queue_id": "0A",
            "recipient": "b@example.org",
            "upstream": "smarthost",
            "host": HOST,
            "reply": "451 later",
            "status": "4.0.0",
            "attempt": 2,
            "delay": 1.235,
            "size": 4096,
            "next_attempt_at": "2001-09-09T01:46:40.250000Z",
            "outcome": "unknown",
        },
    ),
    (
        attempted(Failed(reply(550, "5.1.1", "no such user"), HOST)),
        {
            "event": "failed",
            "queue_id": "0A",
            "recipient": "b@example.org",
            "upstream": "smarthost",
            "host": HOST,
            "reply": "550 5.1.1 no such user",
            "status": "5.1.1",
            "attempt": 2,
            "delay": 1.235,
            "size": 4096,
        },
    ),
    (
        Reported("0A", "0B", ("b@example.org",), "failed"),
        {
            "event": "dsn",
            "queue_id": "0A",
            "dsn_queue_id": "0B",
            "recipients": ["b@example.org"],
            "kind": "failed",
        },
    ),
    (Held("0A", "operator"), {"event": "held", "queue_id": "0A", "why": "operator"}),
    (Released("0A", "operator"), {"event": "released", "queue_id": "0A", "why": "operator"}),
    (Removed("0A", "done"), {"event": "removed", "queue_id": "0A", "why": "done"}),
]


class WritesTheLog(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1700000000.000001)
        self.file = Path(self.mktemp()) / "logs" / "traffic.jsonl"
        self.log = TrafficLog(self.file, self.clock)
        self.said: list[str] = []
        observer = lambda event: self.said.append(event["log_format"].format(**event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.addCleanup(self.log.stop)

    def lines(self, file: Path | None = None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (file or self.file).read_bytes().splitlines()]


class LineTests(WritesTheLog):
    def test_every_notice(self) -> None:
        self.log.start()
        for notice, _ in LINES:
            self.log(notice)
        self.log.stop()
        time = {"time": "2023-11-14T22:13:20.000001Z"}
        for got, (_, fields) in zip(self.lines(), LINES, strict=True):
            self.assertEqual(got, time | fields)
            self.assertEqual(list(got)[:2], ["time", "event"])

    def test_each_kind_of_notice_stands_above(self) -> None:
        self.assertEqual({type(notice) for notice, _ in LINES}, set(FACTS))
        self.assertEqual(set(FACTS), set(Notice.__args__))

    def test_time_goes_on(self) -> None:
        self.assertEqual(rfc3339(1.9999999), "1970-01-01T00:00:02.000000Z")
        self.assertEqual(rfc3339(1.5), "1970-01-01T00:00:01.500000Z")
        self.assertEqual(rfc3339(951782400), "2000-02-29T00:00:00.000000Z")

    def test_nothing_a_peer_says_reaches_a_terminal(self) -> None:
        line = as_line({"helo": "\x1b[2J\x9b\r\nü\u2028\u202e"})
        self.assertTrue(line.isascii())
        self.assertEqual([octet for octet in line if octet < 32], [10])
        self.assertEqual(json.loads(line), {"helo": "\x1b[2J\x9b\r\nü\u2028\u202e"})

    def test_a_host_that_talks_without_end_is_cut_short(self) -> None:
        said = Reply(550, "5.1.1", ("x" * 60_000,))
        fields = FACTS[Attempted](attempted(Failed(said, HOST)))
        self.assertEqual("550 5.1.1 xxx", fields["reply"][:13])
        self.assertLess(len(as_line(fields)), 2000)

    def test_lone_surrogates_are_shown(self) -> None:
        line = as_line({"helo": "a\udc80", "recipients": ("\ud800",)})
        self.assertEqual(json.loads(line), {"helo": "a\\udc80", "recipients": ["\\ud800"]})

    @given(st.dictionaries(st.text(), st.text(st.characters()) | st.integers() | st.booleans()))
    def test_any_text_makes_one_line(self, fields: dict[str, Any]) -> None:
        line = as_line(fields)
        self.assertEqual(line.count(b"\n"), 1)
        json.loads(line)


class BatchTests(WritesTheLog):
    def test_once_a_turn(self) -> None:
        self.log.start()
        self.log(Removed("0A", "done"))
        self.log(Removed("0B", "done"))
        self.assertEqual(self.lines(), [])
        self.clock.advance(0)
        self.assertEqual([line["queue_id"] for line in self.lines()], ["0A", "0B"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_batch_is_written_within_the_turn(self) -> None:
        self.log.start()
        for _ in range(trafficlog.MAX_BATCH):
            self.log(Removed("0A", "done"))
        self.assertEqual(len(self.lines()), trafficlog.MAX_BATCH)

    def test_long_lines_are_written_within_the_turn(self) -> None:
        self.log.start()
        for _ in range(2):
            self.log(Removed("0A", "x" * trafficlog.MAX_BATCH_OCTETS))
        self.assertEqual(len(self.lines()), 2)

    def test_reopen_after_rotation(self) -> None:
        self.log.start()
        self.log(Removed("0A", "done"))
        rotated = self.file.with_suffix(".1")
        self.file.rename(rotated)
        self.log.reopen()
        self.log(Removed("0B", "done"))
        self.log.stop()
        self.assertEqual([line["queue_id"] for line in self.lines(rotated)], ["0A"])
        self.assertEqual([line["queue_id"] for line in self.lines()], ["0B"])

    def test_old_lines_stay(self) -> None:
        self.file.parent.mkdir(parents=True)
        self.file.write_text('{"old": 1}\n')
        self.log(Removed("0A", "done"))
        self.log.stop()
        self.assertEqual(len(self.lines()), 2)

    def test_others_may_not_read_it(self) -> None:
        self.log.start()
        self.assertEqual(self.file.stat().st_mode & 0o007, 0)


class TroubleTests(WritesTheLog):
    def test_cannot_be_opened_then_can(self) -> None:
        self.file.parent.parent.mkdir()
        self.file.parent.write_text("in the way")
        self.log.start()
        for _ in range(3):
            self.log(Removed("0A", "done"))
            self.clock.advance(0)
        self.assertEqual(self.log.lost, 3)
        self.assertEqual(len(self.said), 1)
        self.assertIn("cannot be written (Not a directory)", self.said[0])
        self.assertIn("failing", repr(self.log))
        self.file.parent.unlink()
        self.log(Removed("0B", "done"))
        self.clock.advance(0)
        self.assertEqual([line["queue_id"] for line in self.lines()], ["0B"])
        self.assertIn("written again; 3 lines were lost", self.said[1])

    def test_disk_full(self) -> None:
        full = TrafficLog(Path("/dev/full"), self.clock)
        full.start()
        full(Removed("0A", "done"))
        full.stop()
        self.assertEqual(full.lost, 1)
        self.assertIn("No space left on device", self.said[0])

    def test_a_torn_line_stands_alone(self) -> None:
        """The disk fills in the middle of a line, and has room again later."""
        self.log.start()
        self.log(Removed("0A", "done"))
        room = iter([10])

        def write(descriptor: int, octets: memoryview) -> int:
            for size in room:
                return os_write(descriptor, octets[:size])
            raise OSError(28, "No space left on device")

        os_write = os.write
        self.patch(os, "write", write)
        self.clock.advance(0)
        self.patch(os, "write", os_write)
        self.log(Removed("0B", "done"))
        self.log.stop()
        torn, whole = self.file.read_bytes().splitlines()
        self.assertEqual(len(torn), 10)
        self.assertEqual(json.loads(whole)["queue_id"], "0B")

    def test_a_stalled_reader_blocks_nobody(self) -> None:
        """A full pipe: lines wait in bounded memory, nothing is torn, and they follow later."""
        self.file.parent.mkdir(parents=True)
        os.mkfifo(self.file)
        reader = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.log.start()
        given = 0
        while not self.log.lost:
            self.log(Removed(str(given), "x" * 5000))
            given += 1
            self.clock.advance(0)
        waiting = sum(map(len, self.log._lines))
        self.assertLess(waiting, trafficlog.MAX_WAITING_OCTETS + 10000)
        self.assertGreater(waiting, trafficlog.MAX_WAITING_OCTETS // 2)
        octets = b""
        while self.log._lines:
            octets += os.read(reader, 1 << 20)
            self.clock.advance(trafficlog.RETRY_AFTER)
        octets += os.read(reader, 1 << 20)
        ids = [json.loads(line)["queue_id"] for line in octets.splitlines()]
        self.assertEqual(ids, [str(each) for each in range(given - self.log.lost)])

    def test_after_the_end(self) -> None:
        self.log.start()
        self.log.stop()
        self.log(Removed("0A", "done"))
        self.assertIn("closed", repr(self.log))


class FanOutTests(SynchronousTestCase):
    def test_all_are_told(self) -> None:
        first: list[Notice] = []
        second: list[Notice] = []
        fan_out(first.append, second.append)(Held("0A", "operator"))
        self.assertEqual(first, [Held("0A", "operator")])
        self.assertEqual(first, second)

    def test_a_broken_one_hurts_nobody(self) -> None:
        told: list[Notice] = []

        def broken(notice: Notice) -> None:
            raise RuntimeError("broken")

        fan_out(broken, told.append)(Held("0A", "operator"))
        self.assertEqual(len(told), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
