"""relayctl: in process against a queue in memory behind a real door, as a process on a spool."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from relay.admin.cli import relayctl
from relay.admin.control import Control
from relay.admin.operations import PAGE, Operations
from relay.build import how_built
from relay.queue.open_store import open_store
from relay.queue.store import LaneState, Selection
from relay.testing.sink import Options, makeService
from tests.admin.queue_in_memory import NOW, fill, filled_queue
from tests.certificates import self_signed

CONFIG = """
hostname = "relay.example.net"
postmaster = "postmaster@example.org"
[queue]
store = "sqlite:spool"
[[listener]]
name = "lan"
address = "127.0.0.1:{port}"
[[upstream]]
name = "even"
hosts = ["smtp://127.0.0.1:2526", "smtp://backup.example.net"]
[[route]]
recipients = ["*@example.org"]
upstream = "even"
[[route]]
upstream = "even"
[traffic_log]
file = "traffic.jsonl"
"""


class CommandTestCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relayctl"))
        self.spool = self.folder / "spool"
        self.spool.mkdir()
        self.write_config()

    def write_config(self, port: int = 2525) -> None:
        self.config = self.folder / "relay.toml"
        self.config.write_text(CONFIG.format(port=port))

    async def run_command(self, *words: str, answer: str = "") -> Result:
        """In a thread, since this one serves it."""
        arguments = ["--config", str(self.config), *words]
        result: Result = await deferToThread(CliRunner().invoke, relayctl, arguments, answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    async def objects(self, *words: str, status: int = 0) -> list[Any]:
        result = await self.run_command(*words, "--json")
        self.assertEqual(result.exit_code, status, result.stderr)
        return [json.loads(line) for line in result.stdout.splitlines()]


class RunningRelayTests(CommandTestCase):
    """A relay runs: everything goes through control.sock."""

    async def serve(self, count: int) -> None:
        self.queue = await filled_queue(count)
        control = Control(Operations(self.queue, 432000.0), reactor)
        control.listen_unix(self.spool)
        self.addCleanup(control.close)

    async def test_list_shows_a_first_part_and_says_how_to_go_on(self) -> None:
        await self.serve(60)
        result = await self.run_command("queue", "list")
        self.assertEqual(len(result.stdout.splitlines()), 51)
        self.assertIn(f"more: --after {self.queue.ids[49]}", result.stderr)
        rest = await self.run_command("queue", "list", "--after", self.queue.ids[49])
        self.assertEqual(len(rest.stdout.splitlines()), 11)
        self.assertEqual(rest.stderr, "")
        self.assertIn("user59@example.org", rest.stdout)

    async def test_json_streams_everything_unless_limited(self) -> None:
        await self.serve(PAGE + 7)
        told = await self.objects("queue", "list")
        self.assertEqual([message["id"] for message in told], self.queue.ids)
        self.assertEqual(len(await self.objects("queue", "list", "--limit", "3")), 3)
        self.assertEqual(
            list(told[0]),
            ["id", "reverse_path", "size", "accepted_at", "expires_at", "held", "recipients"],
        )

    async def test_selectors_choose(self) -> None:
        await self.serve(4)
        for words, expected in (
            (["--lane", "odd"], [1, 3]),
            (["--sender", "sender2@*"], [2]),
            (["--recipient", "*3@example.org"], [3]),
            ([self.queue.ids[1].lower(), self.queue.ids[0]], [0, 1]),
            (["--older-than", "1h", "--lane", "even"], [0, 2]),
            (["--older-than", "3650d"], []),
        ):
            with self.subTest(words):
                told = await self.objects("queue", "list", *words)
                ids = [message["id"] for message in told]
                self.assertEqual(ids, [self.queue.ids[i] for i in expected])

    async def test_show_tells_each_recipient(self) -> None:
        await self.serve(2)
        result = await self.run_command("queue", "show", self.queue.ids[1])
        self.assertIn("user1@example.org: waiting, lane odd", result.stdout)
        self.assertNotIn("user0", result.stdout)

    async def test_hold_all_goes_page_by_page_and_release_what_is_held(self) -> None:
        await self.serve(PAGE * 2 + 1)
        result = await self.run_command("queue", "hold", "--all")
        self.assertEqual((result.exit_code, result.stdout), (0, f"held: {PAGE * 2 + 1} messages\n"))
        told = await self.objects("queue", "list")
        self.assertTrue(all(message["held"] for message in told))
        done = await self.objects("queue", "release", "--lane", "odd")
        self.assertEqual(done, [{"id": i, "done": "release"} for i in self.queue.ids[1::2]])
        again = await self.run_command("queue", "release", "--lane", "odd")
        self.assertEqual(again.exit_code, 1)
        self.assertIn("no message matches (or not held)", again.stderr)

    async def test_mail_that_comes_meanwhile_is_not_chased(self) -> None:
        """By the relay's clock: it may be another than ours."""
        await self.serve(2 * PAGE + 1)
        told: list[Selection] = []
        times = iter((NOW, NOW + 1, NOW + 2))
        self.queue.now = lambda: next(times)
        find = self.queue.find

        def watched(selection: Selection, after: str, limit: int) -> Any:
            told.append(selection)
            return find(selection, after, limit)

        self.queue.find = watched
        await self.run_command("queue", "hold", "--all")
        self.assertEqual([None, NOW, NOW], [each.accepted_before for each in told])

    async def test_more_ids_than_a_page_holds(self) -> None:
        await self.serve(PAGE + 3)
        done = await self.objects("queue", "retry", *self.queue.ids)
        self.assertEqual([each["id"] for each in done], self.queue.ids)
        result = await self.run_command("queue", "show", *self.queue.ids)
        self.assertEqual(result.stdout.count("accepted:"), PAGE + 3)

    async def test_what_is_not_found_is_named_and_the_rest_done(self) -> None:
        await self.serve(2)
        result = await self.run_command("queue", "remove", "NOSUCH", self.queue.ids[0])
        self.assertEqual(result.exit_code, 1)
        self.assertIn("not found: NOSUCH", result.stderr)
        self.assertIn("removed: 1 message\n", result.stdout)
        self.assertEqual(len(await self.objects("queue", "list")), 1)

    async def test_without_a_selector_nothing_is_changed(self) -> None:
        await self.serve(2)
        for verb in ("show", "retry", "hold", "release", "remove"):
            result = await self.run_command("queue", verb)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("--all means every message", result.stderr)
        result = await self.run_command("queue", "hold", "--all", "--lane", "odd")
        self.assertEqual(result.exit_code, 2)
        told = await self.objects("queue", "list")
        self.assertEqual([message["held"] for message in told], [False, False])

    async def test_remove_all_needs_a_yes(self) -> None:
        await self.serve(2)
        result = await self.run_command("queue", "remove", "--all", answer="n\n")
        self.assertEqual(result.exit_code, 2)
        self.assertEqual(len(await self.objects("queue", "list")), 2)
        result = await self.run_command("queue", "remove", "--all", "--yes")
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(await self.objects("queue", "list"), [])

    async def test_lanes(self) -> None:
        await self.serve(3)
        self.assertEqual((await self.run_command("lane", "hold", "odd")).exit_code, 0)
        told = {lane["name"]: lane for lane in await self.objects("lane", "list")}
        self.assertEqual((told["odd"]["held"], told["odd"]["waiting"]), (True, 1))
        self.assertIn("held", (await self.run_command("lane", "list")).stdout)
        wrong = await self.run_command("lane", "release", "nowhere", "odd")
        self.assertEqual(wrong.exit_code, 1)
        self.assertIn("there is no lane nowhere", wrong.stderr)
        self.assertEqual([lane["held"] for lane in await self.objects("lane", "list")], [False] * 2)
        (status,) = await self.objects("status")
        self.assertEqual([lane["name"] for lane in status["lanes"]], ["even", "odd"])
        self.assertIn("even", (await self.run_command("status")).stdout)

    async def test_the_next_attempt_is_not_before_the_lanes(self) -> None:
        await self.serve(3)
        failing = LaneState("even", 2, time.time() + 7230.0, last_reply="451 no")
        await self.queue.store.save_lane(failing)
        await self.queue.hold_lane("odd")
        first, second, third = (await self.run_command("queue", "list")).stdout.splitlines()[1:]
        for line, expected in ((first, "in 2h"), (second, "lane held"), (third, "in 2h")):
            self.assertRegex(line, rf"  0 +{expected}$")
        shown = (await self.run_command("queue", "show", *self.queue.ids)).stdout
        self.assertIn("lane even, 0 attempts, next in 2h\n", shown)
        self.assertIn("lane odd, 0 attempts, lane held\n", shown)

    async def test_a_lane_that_waits_for_a_login(self) -> None:
        """It is no time that its mail waits for."""
        await self.serve(2)
        paused = LaneState("even", 2, time.time() + 7230.0, last_reply="535 no", is_paused=True)
        await self.queue.store.save_lane(paused)
        first, second = (await self.run_command("queue", "list")).stdout.splitlines()[1:]
        self.assertRegex(first, r"  0 +lane paused$")
        self.assertNotIn("lane paused", second)
        shown = (await self.run_command("queue", "show", *self.queue.ids)).stdout
        self.assertIn("lane even, 0 attempts, lane paused\n", shown)

    async def test_yes_and_no_are_words(self) -> None:
        await self.serve(0)
        self.queue.status = lambda: {"has_space": True, "hosts": [{"is_skipped": False}]}
        told = (await self.run_command("status")).stdout
        self.assertRegex(told, r"has space: +yes\n")
        self.assertIn("IS SKIPPED\nno\n", told)

    async def test_what_peers_wrote_cannot_command_the_terminal(self) -> None:
        await self.serve(1)
        (listed,) = await self.queue.find(Selection(), "", 1)
        recipient = replace(listed.recipients[0], last_reply="\x1b[2J\u202e[red]x")
        self.queue.find = lambda *_: succeed([replace(listed, recipients=(recipient,))])
        for command in (["list"], ["show", "--all"]):
            result = await self.run_command("queue", *command)
            self.assertNotIn("\x1b", result.stdout)
            self.assertNotIn("\u202e", result.stdout)
            self.assertIn("\\x{1B}[2J\\x{202E}[red]x", result.stdout)


class CheckTests(CommandTestCase):
    async def test_a_right_config_is_shown(self) -> None:
        result = await self.run_command("check")
        self.assertEqual(result.exit_code, 0, result.stderr)
        self.assertIn("smtp://127.0.0.1:2526, smtp://backup.example.net:25", result.stdout)
        facts = await self.objects("check")
        self.assertEqual(
            [next(iter(fact)) for fact in facts],
            ["listener", "upstream", "route", "route", "built"],
        )
        self.assertEqual(facts[4]["built"], how_built())
        self.assertEqual(facts[2]["recipients"], ["*@example.org"])

    async def test_every_problem_is_told_with_status_2(self) -> None:
        self.config.write_text('nonsense = 1\nstop_within = "x"\n')
        result = await self.run_command("check")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("nonsense", result.stderr)
        self.assertIn("stop_within", result.stderr)
        problems = await self.objects("check", status=2)
        self.assertTrue(all(list(problem) == ["problem"] for problem in problems))
        self.assertEqual((await self.run_command("queue", "list")).exit_code, 2)

    async def test_a_missing_config_says_what_to_do(self) -> None:
        self.config.unlink()
        result = await self.run_command("status")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("pass --config FILE or set RELAY_CONFIG", result.stderr)

    def change_upstream(self, line: str) -> None:
        text = self.config.read_text()
        self.config.write_text(text.replace("[[upstream]]\n", f"[[upstream]]\n{line}\n", 1))

    async def test_certificates_that_cannot_be_used(self) -> None:
        self.change_upstream('ca_file = "away.pem"')
        result = await self.run_command("check")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("away.pem cannot be read: No such file or directory", result.stderr)

    async def test_a_key_that_others_can_read_is_a_warning(self) -> None:
        _, key = self_signed("relay.example.net").write(self.config.parent, "client")
        self.change_upstream('client_certificate = "client.pem"\nclient_key = "client.key"')
        result = await self.run_command("check")
        self.assertEqual((result.exit_code, "every user" in result.stderr), (0, False))
        key.chmod(0o644)
        result = await self.run_command("check")
        self.assertEqual((result.exit_code, "every user" in result.stderr), (0, True))

    async def test_an_unusable_token_is_a_warning(self) -> None:
        self.config.write_text(
            self.config.read_text() + '[admin]\naddress = "127.0.0.1:8025"\ntoken_file = "token"\n'
        )
        result = await self.run_command("check")
        self.assertEqual(result.exit_code, 0)
        self.assertIn("token_file", result.stderr)


class SendTests(CommandTestCase):
    """Against the sink, as a server that answers."""

    def serve(self, *fails: str) -> None:
        options = Options()
        words = ["--listen", "127.0.0.1:0", "--dir", str(self.folder / "in")]
        for fail in fails:
            words += ["--fail", fail]
        options.parseOptions(words)  # type: ignore[no-untyped-call]
        self.sink = makeService(options)
        self.sink.startService()
        self.addCleanup(self.sink.stopService)
        self.write_config(self.sink.address[1])

    async def test_the_replies_are_shown(self) -> None:
        self.serve("rcpt:bad@*=550 5.1.1 nobody here")
        result = await self.run_command("send", "--to", "a@example.org", "--to", "bad@example.org")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("RCPT TO:<bad@example.org>\n    550 5.1.1 nobody here", result.stdout)
        self.assertIn("250 2.0.0 kept as", result.stdout)
        self.assertEqual(self.sink.keeper.messages, 1)

    async def test_many_of_a_size(self) -> None:
        self.serve()
        told = await self.objects("send", "--to", "a@example.org", "--count", "3", "--size", "64K")
        self.assertEqual([each["refused"] for each in told], [[], [], []])
        sizes = [file.stat().st_size for file in (self.folder / "in").glob("*.eml")]
        self.assertEqual(sizes, [65536] * 3)

    async def test_a_refusal_ends_with_1(self) -> None:
        self.serve("mail=451 4.3.0 not now")
        result = await self.run_command("send", "--to", "a@example.org")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("451 4.3.0 not now", result.stdout)

    async def test_nobody_there(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server = f"127.0.0.1:{probe.getsockname()[1]}"
            result = await self.run_command("send", "--to", "a@b.example", "--server", server)
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"cannot send to {server}", result.stderr)
        self.assertIn("does the relay run?", result.stderr)


class TraceTests(CommandTestCase):
    async def test_all_lines_of_the_messages_that_are_meant(self) -> None:
        facts = [
            {"time": "t", "event": "accepted", "queue_id": "A1", "reverse_path": "Me@example.org"},
            {"time": "t", "event": "accepted", "queue_id": "B2", "reverse_path": "you@example.org"},
            {"time": "t", "event": "removed", "queue_id": "A1", "why": "done"},
            {"time": "t", "event": "rejected", "recipient": "me@example.org"},
        ]
        lines = [json.dumps(fact, separators=(",", ":")) for fact in facts]
        (self.folder / "traffic.jsonl").write_text("\n".join(lines) + '\n{"half me@example.org')
        told = await self.objects("trace", "me@example.org")
        self.assertEqual(told, [facts[0], facts[2], facts[3]])
        readable = await self.run_command("trace", "B2")
        self.assertEqual(readable.stdout, "t  accepted  queue_id=B2 reverse_path=you@example.org\n")
        self.assertEqual((await self.run_command("trace", "nothing")).exit_code, 1)

    async def test_a_name_is_no_further_fact(self) -> None:
        fact = {"time": "t", "event": "accepted", "recipients": ["a@b", '"x event=relayed"@d']}
        (self.folder / "traffic.jsonl").write_text(json.dumps(fact) + "\n")
        shown = (await self.run_command("trace", "a@b")).stdout
        self.assertEqual("t  accepted  recipients=a@b,'\"x event=relayed\"@d'\n", shown)


class NoRelayTests(CommandTestCase):
    """None runs: relayctl opens the spool. It brings a reactor of its own, so it is a process."""

    async def fill_spool(self, count: int) -> list[str]:
        store = open_store(f"sqlite:{self.spool}", reactor)
        await store.open()
        ids = await fill(store, count)
        await store.close()
        return ids

    async def relayctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from relay.admin.cli import main; main()"]
        environment = {**os.environ, "RELAY_CONFIG": str(self.config)}

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [*command, *words],
                capture_output=True,
                text=True,
                timeout=60,
                env=environment,
                check=False,
                stdin=subprocess.DEVNULL,
            )

        done: subprocess.CompletedProcess[str] = await deferToThread(run)
        return done

    async def test_it_says_so_and_works_on_the_spool(self) -> None:
        ids = await self.fill_spool(3)
        listed = await self.relayctl("queue", "list", "--json")
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertEqual([json.loads(line)["id"] for line in listed.stdout.splitlines()], ids)
        self.assertIn("working on its spool", listed.stderr)
        removed = await self.relayctl("queue", "remove", ids[0], ids[1])
        self.assertEqual((removed.returncode, removed.stdout), (0, "removed: 2 messages\n"))
        held = await self.relayctl("lane", "hold", "even")
        self.assertEqual(held.returncode, 0)
        lanes = await self.relayctl("lane", "list", "--json")
        states = {lane["name"]: lane for lane in map(json.loads, lanes.stdout.splitlines())}
        self.assertEqual((states["even"]["held"], states["even"]["waiting"]), (True, 1))

    async def test_what_is_done_stands_in_the_traffic_log(self) -> None:
        ids = await self.fill_spool(1)
        await self.relayctl("queue", "remove", "--all", "--yes")
        (fact,) = map(json.loads, (self.folder / "traffic.jsonl").read_text().splitlines())
        told = (fact["event"], fact["queue_id"], fact["why"])
        self.assertEqual(told, ("removed", ids[0], "operator"))

    async def test_root_leaves_the_spool_to_its_owner(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root could do it harm")
        await self.fill_spool(1)
        self.folder.chmod(0o755)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, 65534, 65534)
        done = await self.relayctl("queue", "hold", "--all")
        self.assertEqual(done.returncode, 0, done.stderr)
        owners = {str(path): path.stat().st_uid for path in self.folder.rglob("*")}
        self.assertEqual(set(owners.values()), {65534}, owners)

    async def test_status_needs_a_running_relay(self) -> None:
        await self.fill_spool(1)
        done = await self.relayctl("status")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no relay is running on", done.stderr)
        self.assertIn(f"twistd -n relay --config {self.config}", done.stderr)

    async def test_a_spool_in_use_is_one_clear_line(self) -> None:
        store = open_store(f"sqlite:{self.spool}", reactor)
        await store.open()
        self.addCleanup(store.close)
        done = await self.relayctl("queue", "list")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no relay answers on", done.stderr)
        self.assertIn("in use", done.stderr)
        self.assertNotIn("start it", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    async def test_no_queue_is_made_where_there_is_none(self) -> None:
        done = await self.relayctl("queue", "list")
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no queue yet", done.stderr)
        self.assertEqual(list(self.spool.iterdir()), [])

    async def test_a_reader_that_has_seen_enough(self) -> None:
        await self.fill_spool(2000)
        command = (
            f"{sys.executable} -c 'from relay.admin.cli import main; main()' queue list --json"
        )

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                f"{command} | head -1",
                shell=True,
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "RELAY_CONFIG": str(self.config)},
                check=False,
            )

        done = await deferToThread(run)
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertNotIn("Traceback", done.stderr)


class DeafRelayTests(SynchronousTestCase):
    def test_something_else_on_the_socket_is_told(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="relayctl"))
        (folder / "spool").mkdir()
        (folder / "relay.toml").write_text(CONFIG.format(port=2525))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / "spool" / "control.sock"))
            server.listen()

            def answer() -> None:
                link, _ = server.accept()
                link.recv(1000)
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
                link.close()

            thread = threading.Thread(target=answer)
            thread.start()
            result = CliRunner().invoke(
                relayctl, ["--config", str(folder / "relay.toml"), "queue", "list"]
            )
            thread.join()
        self.assertEqual(result.exit_code, 1)
        self.assertIn("is no relay", result.stderr)
