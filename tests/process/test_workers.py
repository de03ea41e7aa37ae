"""Several workers: one relay to clients, upstreams and operators; a crash of one harms no mail."""

import contextlib
import json
import os
import pwd
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import SkipTest

from tests.interop.tools import need_root
from tests.process.child import wait_until
from tests.process.collector import STALL, Collector
from tests.process.relay_process import RECOVERY, RelayProcess, libraries, upstream
from tests.process.sending import SENDER, Load, content, send
from tests.process.through_relay import ThroughRelay

FAIL_THIRD_FORK = """
from relay.workers.nursery_process import _Nursery as Nursery
fork, forks = Nursery._fork, []
def count(self, *what):
    forks.append(what)
    if len(forks) == 3:
        raise BlockingIOError(11, "no more processes")
    return fork(self, *what)
Nursery._fork = count
"""
"""After those of the start."""


NO_DESCRIPTORS = """
from relay.workers.process import WorkerProcess
def pipe(*of):
    raise OSError(24, "Too many open files")
WorkerProcess._open_ends = pipe
"""

MANY_DESCRIPTORS = """
import os, resource
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
"""


def worker_pids(relay: RelayProcess) -> list[int]:
    """By number, as each one's lock tells it."""
    locks = sorted(relay.spool.glob("*/lock"), key=lambda path: int(path.parent.name))
    return [int(path.read_text()) for path in locks]


def waiting_in(relay: RelayProcess, number: int) -> int:
    """Read from a queue that nobody has open."""
    with closing(sqlite3.connect(relay.spool / str(number) / "queue.db")) as database:
        return int(database.execute("SELECT count(*) FROM message").fetchone()[0])


class WorkersCase(ThroughRelay):
    def of(self, workers: int, *upstreams: object, **tables: object) -> RelayProcess:
        relay = self.idle_relay(*upstreams, top={"workers": workers}, **tables)
        relay.launch()
        self.wait_until_ready(relay, workers)
        return relay

    def wait_until_ready(self, relay: RelayProcess, workers: int, starts: int = 1) -> None:
        wait_until(
            lambda: len(relay.facts("started", what="relay")) >= starts, f"{workers} workers"
        )

    def json_of(self, relay: RelayProcess, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in relay.relayctl(*words).stdout.splitlines()]

    def sessions(self, relay: RelayProcess, count: int) -> Sequence[smtplib.SMTP]:
        sessions = [smtplib.SMTP("127.0.0.1", relay.port, timeout=30) for _ in range(count)]
        for session in sessions:
            self.addCleanup(session.close)
            session.ehlo()
        return sessions


class OneRelayTests(WorkersCase):
    def test_all_take_mail_and_each_id_is_its_own(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        load = Load(relay.port)
        load.start(400, sessions=16)
        load.wait()
        relay.wait_until_empty()
        self.assertEqual((400, 400), (len(load.accepted), len(main.kept)))
        accepted = relay.facts("accepted")
        self.assertEqual(400, len({fact["queue_id"] for fact in accepted}))
        prefixes = {fact["session"].count(".") for fact in accepted}
        self.assertEqual({1, 2}, prefixes, "both workers had a part")

    def test_operators_see_one_queue(self) -> None:
        main = self.collector(is_up=False)
        relay = self.of(2, upstream("main", main.port), queue={"retry": ["1h"]})
        for number in range(12):
            send(relay.port, [f"{number}@example.org"])
        relay.wait_for(1, "delayed")
        listed = relay.queue()
        ids = [message["id"] for message in listed]
        self.assertEqual((12, ids), (len(ids), sorted(ids)))
        (lane,) = self.json_of(relay, "lane", "list", "--json")
        self.assertEqual(("main", 12), (lane["name"], lane["waiting"]))
        (told,) = self.json_of(relay, "status", "--json")
        self.assertEqual(2, told["workers"])
        self.assertEqual("held: 12 messages\n", relay.relayctl("queue", "hold", "--all").stdout)
        self.assertTrue(all(message["held"] for message in relay.queue()))
        for verb, is_held in (("hold", True), ("release", False)):
            self.assertEqual(0, relay.relayctl("lane", verb, "main").returncode)
            (lane,) = self.json_of(relay, "lane", "list", "--json")
            self.assertEqual(is_held, lane["held"])
        main.start()
        self.assertEqual(0, relay.relayctl("queue", "release", ids[3], ids[8]).returncode)
        main.wait_for(2)
        relay.relayctl("queue", "release", "--all")
        main.wait_for(12)
        relay.wait_until_empty()

    def test_the_log_is_one_file_of_whole_lines_also_after_a_rotation(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        send(relay.port, ["one@example.org"])
        relay.wait_for(1, "removed")
        old = relay.traffic_log.rename(relay.folder / "traffic.old")
        relay.hang_up()
        wait_until(relay.traffic_log.exists, "a new file")
        relay.wait_for(1, "reloaded")  # by then each worker has opened it, too
        load = Load(relay.port)
        load.start(200)
        load.wait()
        wait_until(lambda: len(relay.facts("removed")) == 200, "200 lines in the new file")
        self.assertNotIn(b"99@example.org", old.read_bytes())

    def test_a_mistake_at_the_start_is_told_once(self) -> None:
        relay = self.idle_relay(upstream("main", 1), top={"workers": 2})
        relay.spool.write_text("not a directory")
        child = relay.launch()
        self.assertEqual(1, child.wait(30))
        self.assertIn("spool", relay.child.output)

    def test_a_start_without_descriptors_is_told_in_plain_words(self) -> None:
        relay = self.idle_relay(upstream("main", 1), top={"workers": 2})
        relay.before = NO_DESCRIPTORS
        child = relay.launch()
        self.assertEqual(1, child.wait(30))
        told = "relay: worker 0 ended before it began: Too many open files at its start"
        self.assertIn(told, relay.child.output)
        self.assertNotIn("Traceback", relay.child.output)

    def test_stop_ends_all(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        pids = worker_pids(relay)
        relay.stop()
        for pid in pids:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)


class LimitTests(WorkersCase):
    def test_sessions_with_an_upstream_are_a_total_and_everybody_gets_a_turn(self) -> None:
        """Four workers, three sessions: also who comes last delivers while the others are busy."""
        main = self.collector()
        relay = self.of(4, upstream("main", main.port, max_connections=3))
        load = Load(relay.port)
        load.start(100_000, sessions=24)
        self.addCleanup(load.wait)
        self.addCleanup(load.stop)

        def all_have_relayed() -> bool:
            names = [fact["queue_id"] for fact in relay.facts("relayed")]
            accepted = relay.facts("accepted")  # what is relayed was accepted before
            worker_of = {fact["queue_id"]: worker_in(fact["session"]) for fact in accepted}
            relayed = {worker_of[name] for name in names}
            return len(relayed) > 1 and relayed == set(worker_of.values())

        wait_until(all_have_relayed, "mail relayed by each worker that has any", RECOVERY)
        load.stop()
        load.wait()
        relay.wait_until_empty()
        self.assertEqual(len(load.accepted), len(main.kept))
        self.assertIn(main.most_sessions, (2, 3))

    def test_sessions_of_a_listener_are_a_total(self) -> None:
        self._no_more_than_eight("max_connections", "try again")

    def test_sessions_of_a_client_are_a_total(self) -> None:
        self._no_more_than_eight("max_connections_per_client", "from your address")

    def _no_more_than_eight(self, key: str, said: str) -> None:
        relay = self.of(3, upstream("main", 9), listener={key: 8})
        sessions = self.sessions(relay, 8)
        for _ in range(6):
            with self.assertRaises(smtplib.SMTPConnectError) as caught:
                smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
            self.assertEqual(421, caught.exception.smtp_code)
            self.assertIn(said, str(caught.exception.smtp_error))
        for session in sessions[:4]:
            session.quit()
        wait_until(lambda: self._sessions(relay) == 4, "4 sessions")
        self.sessions(relay, 4)

    def test_errors_of_a_client_are_a_total(self) -> None:
        """Nine: without the others' no worker but one could have had enough of him."""
        keys = {"relay_networks": ["192.0.2.0/24"], "max_errors_per_client": 4}
        relay = self.of(3, upstream("main", 9), listener=keys)
        for _ in range(9):
            with (
                contextlib.suppress(smtplib.SMTPConnectError, smtplib.SMTPServerDisconnected),
                smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session,
            ):
                session.docmd("NONSENSE")
        wait_until(
            lambda: all(self._is_shown_the_door(relay) for _ in range(12)), "421 from all workers"
        )

    def _is_shown_the_door(self, relay: RelayProcess) -> bool:
        try:
            with smtplib.SMTP("127.0.0.1", relay.port, timeout=30):
                return False
        except smtplib.SMTPConnectError as refusal:
            self.assertIn(b"Too many errors from your address", refusal.smtp_error)
            return True

    def test_connections_without_a_header_are_a_total(self) -> None:
        keys = {"max_connections": 8, "proxy_protocol_from": ["127.0.0.1/32"]}
        relay = self.of(3, upstream("main", 9), listener=keys)
        silent = [self._connection(relay) for _ in range(8)]
        wait_until(lambda: self._sessions(relay) == 8, "8 connections")
        for _ in range(6):
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(b"", self._connection(relay).recv(1))
        self.assertEqual(6, len(relay.facts("rejected")))
        for each in silent[:4]:
            each.close()
        wait_until(lambda: self._sessions(relay) == 4, "4 connections")
        for _ in range(4):
            named = self._connection(relay)
            named.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n")
            self.assertEqual(b"220", named.recv(3))

    def _connection(self, relay: RelayProcess) -> socket.socket:
        """Closed within the time for a header, it was not wanted."""
        connection = socket.create_connection(("127.0.0.1", relay.port), timeout=5)
        self.addCleanup(connection.close)
        return connection

    def _sessions(self, relay: RelayProcess) -> int:
        (told,) = self.json_of(relay, "status", "--json")
        return sum(listener["sessions"] for listener in told["listeners"])


class CrashTests(WorkersCase):
    def test_one_killed_under_load(self) -> None:
        """What got a 250 arrives; the others go on meanwhile."""
        main = self.collector()
        relay = self.of(3, upstream("main", main.port))
        load = Load(relay.port)
        load.start(3000, sessions=24)
        wait_until(lambda: len(load.accepted) > 200, "200 accepted messages")
        victim, *others = worker_pids(relay)
        os.kill(victim, signal.SIGKILL)
        load.wait()
        relay.wait_for(1, "alarm", what="worker 0")
        relay.wait_for(1, "alarm_over", what="worker 0")
        self.assertEqual(others, worker_pids(relay)[1:])
        relay.wait_until_empty_after_a_crash()
        arrived = {recipient for kept in main.kept for recipient in kept.recipients}
        self.assertEqual(set(), load.accepted - arrived)
        send(relay.port, ["after@example.org"])

    def test_operators_are_never_told_half_of_the_queue(self) -> None:
        main = self.collector(is_up=False)
        relay = self.of(2, upstream("main", main.port), queue={"retry": ["1h"]})
        for session in self.sessions(relay, 12):
            session.sendmail(SENDER, ["one@example.org"], content("x"))
        os.kill(worker_pids(relay)[0], signal.SIGKILL)
        relay.wait_for(1, "alarm", what="worker 0")
        answers = []
        while not relay.facts("alarm_over", what="worker 0"):
            answers.append(relay.relayctl("queue", "list", "--json"))
            (told,) = self.json_of(relay, "status", "--json")
            self.assertEqual("1", told["processes"][1]["worker"])
            if told["processes"][0]["state"] != "working":
                self.assertEqual(["worker 0"], [row["alarm"] for row in told["alarms"]])
        answers.append(relay.relayctl("queue", "list", "--json"))
        told_numbers = {len(a.stdout.splitlines()) for a in answers if a.returncode == 0}
        self.assertEqual({12}, told_numbers)

    def test_a_supervisor_that_is_killed_leaves_no_worker(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        relay.kill()
        relay.launch()
        self.wait_until_ready(relay, 2, starts=2)
        send(relay.port, ["one@example.org"])
        main.wait_for(1)

    def test_it_goes_on_with_the_configuration_of_the_start(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        relay.config.write_text("half an edited fi")
        for pid in worker_pids(relay):
            os.kill(pid, signal.SIGKILL)
        relay.wait_for(2, "alarm_over")
        send(relay.port, ["one@example.org"])
        main.wait_for(1)

    def test_places_of_the_dead_are_free_again(self) -> None:
        main = self.collector()
        main.answer("MAIL", STALL, times=2)
        relay = self.of(2, upstream("main", main.port, max_connections=2))
        load = Load(relay.port)
        load.start(20, sessions=20)
        load.wait()
        wait_until(lambda: said_mail(main) >= 2, "two stalled sessions")  # not merely begun
        for pid in worker_pids(relay):
            os.kill(pid, signal.SIGKILL)
        relay.wait_until_empty_after_a_crash()
        self.assertEqual(20, len({kept.recipients[0] for kept in main.kept}))


class NurseryTests(WorkersCase):
    """Workers are forked from a process that has loaded all they need."""

    def test_what_they_have_loaded_lies_in_memory_once(self) -> None:
        relay = self.of(3, upstream("main", 9))
        pids = worker_pids(relay)
        own, shared = (
            sum(megabytes(pid, kind) for pid in pids) / len(pids) for kind in ("Private", "Shared")
        )
        self.assertLess(own, shared / 2)

    def test_signals_to_all_of_the_group_are_not_for_it(self) -> None:
        """Ctrl-C reaches every process of a terminal, the end of a service all of its group."""
        relay = self.of(2, upstream("main", 9))
        worker = worker_pids(relay)[0]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(parent_of(worker), number)
        os.kill(worker, signal.SIGKILL)
        relay.wait_for(1, "alarm_over", what="worker 0")

    def test_a_hang_up_of_all_of_the_group_ends_no_worker(self) -> None:
        """A terminal that is closed, or systemctl kill --signal=HUP, which asks for a reload."""
        relay = self.of(2, upstream("main", 9))
        pids = worker_pids(relay)
        for pid in (*pids, relay.child.pid):
            os.kill(pid, signal.SIGHUP)
        relay.wait_for(1, "reloaded")
        self.assertEqual((pids, []), (worker_pids(relay), relay.facts("alarm")))

    def test_a_stop_of_all_processes_is_one_stop(self) -> None:
        """systemd tells each of them; the supervisor tells its workers, too."""
        main = self.collector()
        main.answer("MAIL", STALL, times=1)
        keys = {"workers": 2, "stop_within": "2s"}
        relay = self.idle_relay(upstream("main", main.port), top=keys)
        relay.launch()
        self.wait_until_ready(relay, 2)
        send(relay.port, ["one@example.org"])
        wait_until(lambda: said_mail(main) >= 1, "a stalled session")
        for pid in worker_pids(relay):
            os.kill(pid, signal.SIGTERM)
        child = relay.child
        relay.stop()
        for word in ("Traceback", "ReactorNotRunning"):
            self.assertNotIn(word, child.output)

    def test_two_that_end_in_one_moment_are_both_started_again(self) -> None:
        relay = self.of(2, upstream("main", 9))
        pids = worker_pids(relay)
        nursery = parent_of(pids[0])
        os.kill(nursery, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(state_of(pid) == "Z" for pid in pids), "two ended workers")
        os.kill(nursery, signal.SIGCONT)
        for number in "01":
            relay.wait_for(1, "alarm_over", what=f"worker {number}")

    def test_it_keeps_nothing_of_what_its_parent_had_open(self) -> None:
        relay = self.of(2, upstream("main", 9))
        nursery = parent_of(worker_pids(relay)[0])
        open_there = {
            path.name: os.readlink(path) for path in Path(f"/proc/{nursery}/fd").iterdir()
        }
        beyond = [open_there[name] for name in open_there if int(name) > 2]
        self.assertEqual(3, len(beyond), open_there)
        self.assertTrue(all(name.startswith("socket:") for name in beyond), open_there)

    def test_they_are_told_apart_in_ps(self) -> None:
        relay = self.of(2, upstream("main", 9))
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in worker_pids(relay)]
        self.assertEqual(["relay worker 0", "relay worker 1"], names)
        nursery = Path(f"/proc/{parent_of(worker_pids(relay)[0])}")
        self.assertEqual("relay nursery", (nursery / "comm").read_text().strip())

    def test_without_it_the_relay_ends_and_says_so(self) -> None:
        main = self.collector(is_up=False)
        relay = self.of(2, upstream("main", main.port))
        send(relay.port, ["one@example.org"])
        os.kill(parent_of(worker_pids(relay)[0]), signal.SIGKILL)
        self.assertEqual(1, relay.child.wait())
        self.assertIn("relay: the process that workers are forked from ended", relay.child.output)
        main.start()
        relay.launch()
        main.wait_for(1)

    def test_without_it_one_that_hangs_holds_up_nobody(self) -> None:
        relay = self.idle_relay(upstream("main", 9), top={"workers": 2, "stop_within": "0s"})
        relay.before = "import relay.workers.supervisor as s; s.KILL_AFTER = 0.5"
        relay.launch()
        self.wait_until_ready(relay, 2)
        pids = worker_pids(relay)
        os.kill(pids[1], signal.SIGSTOP)
        os.kill(parent_of(pids[0]), signal.SIGKILL)
        self.assertEqual(1, relay.child.wait())

    def test_it_may_have_descriptors_with_large_numbers(self) -> None:
        """As where many listeners and workers have their sockets open before it is forked."""
        relay = self.idle_relay(upstream("main", 9), top={"workers": 2})
        relay.before = MANY_DESCRIPTORS
        relay.launch()
        self.wait_until_ready(relay, 2)

    def test_a_fork_that_fails_is_tried_again(self) -> None:
        main = self.collector()
        relay = self.idle_relay(upstream("main", main.port), top={"workers": 2})
        relay.before = FAIL_THIRD_FORK
        relay.launch()
        self.wait_until_ready(relay, 2)
        os.kill(worker_pids(relay)[1], signal.SIGKILL)
        first, second = relay.wait_for(2, "alarm", what="worker 1")
        self.assertIn("by signal 9", first["why"])
        self.assertIn("before it began: no more processes", second["why"])
        relay.wait_for(1, "alarm_over", what="worker 1")
        send(relay.port, ["one@example.org"])
        main.wait_for(1)

    def test_a_worker_that_hangs_at_the_stop_is_killed(self) -> None:
        relay = self.idle_relay(upstream("main", 9), top={"workers": 2, "stop_within": "0s"})
        relay.before = "import relay.workers.supervisor as s; s.KILL_AFTER = 0.5"
        relay.launch()
        self.wait_until_ready(relay, 2)
        pids = worker_pids(relay)
        os.kill(pids[1], signal.SIGSTOP)
        relay.stop()
        self.assertIn("worker 1 does not end: killed", relay.child.output)
        for pid in pids:
            self.assertRaises(ProcessLookupError, os.kill, pid, 0)


class NumberTests(WorkersCase):
    def test_fewer_workers_deliver_what_more_left(self) -> None:
        main = self.collector(is_up=False)
        relay = self.of(3, upstream("main", main.port), queue={"retry": ["1s"]})
        for session in self.sessions(relay, 12):
            session.sendmail(SENDER, ["one@example.org"], content("x"))
        relay.stop()
        left = [waiting_in(relay, number) for number in range(3)]
        self.assertEqual(12, sum(left))
        relay.settings["workers"] = 1
        main.start()
        relay.launch()
        main.wait_for(12)
        relay.wait_until_empty()
        relay.stop()
        self.assertEqual([0, 0, 0], [waiting_in(relay, number) for number in range(3)])

    def test_up_and_down_with_mail_waiting_in_each(self) -> None:
        """The port stays, no message is lost or sent twice, and all queues are empty at last."""
        main = self.collector(is_up=False)
        relay = self.idle_relay(upstream("main", main.port))
        sent: list[str] = []
        for starts, workers in enumerate((4, 2, 1, 3), 1):
            relay.settings["workers"] = workers
            relay.launch().wait_for_port(relay.port)
            self.wait_until_ready(relay, workers, starts)
            for session in self.sessions(relay, 12):
                sent.append(f"{len(sent)}@example.org")
                session.sendmail(SENDER, [sent[-1]], content("x"))
            self.assertEqual(len(sent), len(relay.queue()))
            if workers == 4:
                relay.kill()
            elif workers < 3:
                relay.stop()
        main.start()
        main.wait_for(len(sent), RECOVERY)
        relay.wait_until_empty_after_a_crash()
        self.assertEqual(sorted(sent), sorted(kept.recipients[0] for kept in main.kept))
        relay.stop()
        self.assertEqual([0] * 4, [waiting_in(relay, number) for number in range(4)])

    def test_a_held_lane_is_so_in_each_queue_also_in_new_ones(self) -> None:
        main = self.collector()
        relay = self.of(2, upstream("main", main.port))
        self.assertEqual(0, relay.relayctl("lane", "hold", "main").returncode)
        relay.stop()
        relay.settings["workers"] = 4
        relay.launch()
        self.wait_until_ready(relay, 4, starts=2)
        for session in self.sessions(relay, 16):
            session.sendmail(SENDER, ["one@example.org"], content("x"))
        self.assertEqual((16, []), (len(relay.queue()), main.kept))
        relay.relayctl("lane", "release", "main")
        main.wait_for(16)

    def test_relayctl_finds_all_of_it_without_a_relay(self) -> None:
        main = self.collector(is_up=False)
        relay = self.of(2, upstream("main", main.port), queue={"retry": ["1h"]})
        for session in self.sessions(relay, 8):
            session.sendmail(SENDER, ["one@example.org"], content("x"))
        relay.stop()
        self.assertEqual(8, len(relay.queue()))
        self.assertEqual("held: 8 messages\n", relay.relayctl("queue", "hold", "--all").stdout)


class PrivilegesTests(WorkersCase):
    def as_nobody(self, main: Collector, python: str) -> RelayProcess:
        user = nobody()
        relay = self.idle_relay(upstream("main", main.port), top={"workers": 2})
        relay.port = low_port()
        relay.settings["listener"][0]["address"] = f"127.0.0.1:{relay.port}"
        relay.arguments = [f"--uid={user.pw_uid}", f"--gid={user.pw_gid}"]
        relay.python = python
        os.chown(relay.folder, user.pw_uid, user.pw_gid)
        return relay

    def test_bound_as_root_and_given_up_before_any_worker_starts(self) -> None:
        need_root("a port below 1024")
        user = nobody()
        main = self.collector()
        relay = self.as_nobody(main, python_of_nobody())
        relay.launch()
        self.wait_until_ready(relay, 2)
        pids = worker_pids(relay)
        for pid in (relay.child.pid, *pids):
            self.assertEqual({user.pw_uid}, uids_of(pid))
        for number in "01":
            made = (relay.spool / number).stat()
            self.assertEqual((user.pw_uid, 0o700), (made.st_uid, made.st_mode & 0o777))
        send(relay.port, ["one@example.org"])
        main.wait_for(1)
        os.kill(pids[0], signal.SIGKILL)  # the next one has the old socket of a port it cannot bind
        relay.wait_for(1, "alarm_over", what="worker 0")
        load = Load(relay.port)
        load.start(50, sessions=16)
        load.wait()
        self.assertEqual(50, len(load.accepted))


def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def python_of_nobody() -> str:
    """An interpreter that an unprivileged user may run, and that finds our libraries."""
    for python in (sys.executable, "/usr/bin/python3"):
        if may_run(python):
            return python
    raise SkipTest("no interpreter that an unprivileged user may run finds our libraries")


def may_run(python: str) -> bool:
    user = nobody()
    try:
        tried = subprocess.run(
            [python, "-c", "import apsw, pydantic_core, cryptography.hazmat.bindings._rust"],
            env={"PYTHONPATH": libraries()},
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=(),
            capture_output=True,
            check=False,
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def low_port() -> int:
    """One that only root may bind, and that is free."""
    for port in range(1023, 512, -1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise SkipTest("no free port below 1024")


def said_mail(main: Collector) -> int:
    return sum(command.startswith("MAIL") for command in main.commands)


def megabytes(pid: int, kind: str) -> float:
    """`kind`: Private or Shared, clean pages and dirty ones."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}_"))


def parent_of(pid: int) -> int:
    return int(status_of(pid, "PPid")[0])


def state_of(pid: int) -> str:
    """ "Z": it has ended, and nobody has asked how."""
    return status_of(pid, "State")[0]


def status_of(pid: int, key: str) -> Sequence[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{key}:"))


def uids_of(pid: int) -> set[int]:
    """Real, effective, saved and of the file system."""
    return set(map(int, status_of(pid, "Uid")))


def worker_in(session: str) -> str:
    """Session ids of all workers but the first begin with the worker's number."""
    return session.partition(".")[0] if session.count(".") == 2 else "0"
