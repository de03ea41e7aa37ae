"""A changed configuration is taken up while the relay runs: whole or not at all."""

import json
import os
import signal
import smtplib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from tests.certificates import Authority
from tests.process.child import free_port, is_open, wait_until
from tests.process.collector import HOLD, Collector
from tests.process.relay_process import Fact, RelayProcess, route, upstream
from tests.process.sending import SENDER, Load, Waiting, content, send
from tests.process.through_relay import ThroughRelay


class ReloadCase(ThroughRelay):
    def reload(self, relay: RelayProcess) -> Sequence[str]:
        """What it says has changed."""
        relay.write_config()
        done = relay.relayctl("reload", "--json")
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        changes: Sequence[str] = json.loads(done.stdout)["changes"]
        return changes

    def refusal(self, relay: RelayProcess) -> str:
        relay.write_config()
        done = relay.relayctl("reload")
        self.assertEqual(2, done.returncode, done.stdout)
        return done.stderr

    def session(self, relay: RelayProcess) -> smtplib.SMTP:
        session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
        self.addCleanup(session.close)
        session.ehlo()
        return session

    def deliver(self, session: smtplib.SMTP, recipient: str = "one@example.org") -> None:
        session.sendmail(SENDER, [recipient], content("x"))


class UnderLoadTests(ReloadCase):
    def test_no_session_is_dropped_and_no_mail_is_lost(self) -> None:
        """From one upstream to another and back, with other limits each time."""
        first, second = self.collector(), self.collector()
        relay = self.relay(upstream("main", first.port), upstream("spare", second.port))
        load = Load(relay.port)
        load.start(100_000, sessions=10)
        self.addCleanup(load.stop)
        for number in range(6):
            to, there = (("spare", second), ("main", first))[number % 2]
            relay.settings["route"] = [route(to)]
            relay.settings["listener"][0]["max_recipients"] = 500 + number
            relay.settings["upstream"][0]["max_connections"] = 5 + number
            self.assertEqual(
                ["listener lan: max_recipients", "upstream main: max_connections", "route"],
                list(self.reload(relay)),
            )
            before = len(there.kept)
            wait_until(lambda n=before, at=there: len(at.kept) > n + 100, f"mail at {to}")
        load.stop()
        load.wait()
        relay.wait_until_empty()
        arrived = [kept.recipients[0] for one in (first, second) for kept in one.kept]
        self.assertEqual((len(arrived), load.accepted), (len(set(arrived)), set(arrived)))
        self.assertEqual(6, len(relay.facts("reloaded")))
        self.assertEqual(10, len([f for f in relay.facts("disconnected") if f["transactions"]]))


class RefusedTests(ReloadCase):
    def test_a_bad_one_changes_nothing_and_tells_every_mistake(self) -> None:
        main = self.collector()
        relay = self.relay(upstream("main", main.port))
        relay.settings["listener"][0]["max_recipients"] = 0
        relay.settings["route"].append(route("nowhere"))
        said = self.refusal(relay)
        self.assertIn("listener[0].max_recipients", said)
        self.assertIn("there is no upstream named 'nowhere'", said)
        relay.hang_up()
        for alarm in relay.wait_for(2, "alarm", what="configuration"):
            self.assertIn("nothing has changed", alarm["why"])
            self.assertIn("'nowhere'", alarm["why"])
        send(relay.port, ["one@example.org"])
        main.wait_for(1)
        relay.settings["listener"][0]["max_recipients"] = 7
        del relay.settings["route"][1:]
        self.assertEqual(["listener lan: max_recipients"], list(self.reload(relay)))
        relay.wait_for(1, "alarm_over", what="configuration")

    def test_a_file_that_is_being_changed_hides_nothing_of_the_relay_that_runs(self) -> None:
        relay = self.idle_relay(upstream("main", self.collector().port))
        relay.start()
        relay.settings["upstream"][0]["tls"] = "verifed"
        relay.write_config()
        done = relay.relayctl("status")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("has mistakes (relayctl check tells them)", done.stderr)
        self.assertIn("nothing has changed", self.refusal(relay))
        self.assertTrue(relay.facts("alarm"))
        relay.stop()
        done = relay.relayctl("status")
        self.assertEqual(2, done.returncode)
        self.assertIn("verifed", done.stderr)

    def test_what_needs_a_restart_is_told_and_the_rest_waits_with_it(self) -> None:
        relay = self.relay(upstream("main", 9))
        relay.settings["workers"] = 2
        relay.settings["queue"]["max_content_memory"] = "1M"
        relay.settings["listener"][0]["max_message_size"] = "70K"
        said = self.refusal(relay)
        self.assertIn("workers: cannot change while the relay runs", said)
        self.assertIn("queue.max_content_memory: cannot change while the relay runs", said)
        self.assertNotIn("71680", self.session(relay).esmtp_features["size"])

    def test_an_address_that_is_taken(self) -> None:
        """Of two new listeners one could be bound: it is not listened on, either."""
        main = self.collector()
        relay = self.relay(upstream("main", main.port))
        port = free_port()
        for name, at in (("free", port), ("taken", main.port)):
            relay.settings["listener"].append({"name": name, "address": f"127.0.0.1:{at}"})
        said = self.refusal(relay)
        self.assertIn("listener taken: cannot listen on 127.0.0.1", said)
        self.assertIn("nothing has changed", said)
        self.assertFalse(is_open(port))
        relay.settings["listener"].pop()
        self.reload(relay)
        self.assertTrue(is_open(port))

    def test_files_are_read_first(self) -> None:
        relay = self.relay(upstream("main", 9))
        relay.settings["auth"] = {"users": "users"}
        relay.settings["listener"][0] |= {"auth": "offered", "auth_without_tls": True}
        self.assertIn("users does not exist", self.refusal(relay))
        self.assertNotIn("auth", self.session(relay).esmtp_features)


class ListenerTests(ReloadCase):
    workers = 1

    def running(self, *upstreams: Fact, **tables: Fact) -> RelayProcess:
        relay = self.idle_relay(*upstreams, top={"workers": self.workers}, **tables)
        relay.launch()
        relay.wait_for(1, "started", what="relay")
        return relay

    def test_sessions_go_on_as_they_began_and_new_ones_have_the_new_settings(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", main.port))
        before = self.session(relay)
        relay.settings["listener"][0]["max_message_size"] = "70K"
        relay.settings["hostname"] = "new.example.net"
        self.reload(relay)
        after = self.session(relay)
        self.assertEqual(f"{70 << 10}", after.esmtp_features["size"])
        self.assertTrue(after.ehlo_resp.startswith(b"new.example.net"))  # type: ignore[attr-defined]
        self.deliver(before)
        self.deliver(after)
        main.wait_for(2)
        with self.assertRaises(smtplib.SMTPSenderRefused):
            after.sendmail(SENDER, ["one@example.org"], content("x", 80_000))

    def test_one_comes_and_goes_and_its_sessions_end_by_themselves(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", main.port))
        first, port = relay.port, free_port()
        relay.settings["listener"].append({"name": "extra", "address": f"127.0.0.1:{port}"})
        self.assertEqual(["listener extra: added"], list(self.reload(relay)))
        relay.port = port
        session = self.session(relay)
        self.deliver(session)
        relay.settings["listener"].pop()
        self.assertEqual(["listener extra: removed"], list(self.reload(relay)))
        wait_until(lambda: not is_open(port), "nobody listening there")
        self.deliver(session)
        session.quit()
        relay.port = first
        self.deliver(self.session(relay))
        main.wait_for(3)
        relay.settings["listener"].append({"name": "extra", "address": f"127.0.0.1:{port}"})
        self.reload(relay)
        self.assertTrue(is_open(port))

    def test_a_renamed_one_keeps_its_socket(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", main.port))
        relay.settings["listener"][0]["name"] = "office"
        self.reload(relay)
        send(relay.port, ["one@example.org"])
        self.assertEqual("office", relay.wait_for(1, "accepted")[0]["listener"])

    def test_routes_hold_for_the_next_recipient_of_a_session(self) -> None:
        main, spare = self.collector(), self.collector()
        relay = self.running(upstream("main", main.port))
        session = self.session(relay)
        self.deliver(session)
        main.wait_for(1)
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare")]
        self.reload(relay)
        self.deliver(session)
        spare.wait_for(1)

    def test_mail_that_waits_goes_by_the_new_routes(self) -> None:
        spare = self.collector()
        relay = self.running(upstream("main", 9), queue={"retry": ["1h"]})
        for _ in range(2 * self.workers):
            send(relay.port, ["one@example.org"])
        relay.wait_for(1, "delayed")
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare")]
        self.reload(relay)
        spare.wait_for(2 * self.workers)
        relay.wait_until_empty()

    def test_a_restart_does_so_too(self) -> None:
        """Also where the former upstream is still there."""
        main, spare = upstream("main", 9), self.collector()
        relay = self.running(main, queue={"retry": ["1h"]})
        send(relay.port, ["one@example.org"])
        relay.wait_for(1, "delayed")
        relay.settings["upstream"] = [main, upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare")]
        relay.restart()
        spare.wait_for(1)

    def test_an_upstream_that_moved_is_tried_at_once(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", 9), queue={"retry": ["1h"]})
        send(relay.port, ["one@example.org"])
        relay.wait_for(1, "delayed")
        relay.settings["upstream"] = [upstream("main", main.port)]
        self.assertEqual(["upstream main: hosts"], list(self.reload(relay)))
        main.wait_for(1)

    def test_no_way_left_is_an_alarm_and_no_loss(self) -> None:
        spare = self.collector()
        relay = self.running(upstream("main", 9), queue={"retry": ["1h"]})
        send(relay.port, ["one@example.org"])
        relay.wait_for(1, "delayed")
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare", "*@example.net")]
        self.reload(relay)
        (alarm,) = relay.wait_for(1, "alarm", what="lane 'main'")
        self.assertIn("1 messages are kept", alarm["why"])
        relay.settings["route"] = [route("spare")]
        self.reload(relay)
        spare.wait_for(1)

    def test_an_attempt_under_way_ends_where_it_began(self) -> None:
        main, spare = self.collector(), self.collector()
        main.answer("DOT", HOLD)
        relay = self.running(upstream("main", main.port))
        send(relay.port, ["one@example.org"])
        main.wait_until_held()
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare")]
        self.reload(relay)
        main.release()
        relay.wait_until_empty()
        self.assertEqual((1, 0), (len(main.kept), len(spare.kept)))

    def test_who_waits_for_a_proxied_upstream_gets_its_answer(self) -> None:
        main, spare = self.collector(), self.collector()
        main.answer("DOT", HOLD)
        relay = self.running(upstream("main", main.port), routes=[route("main", delivery="proxy")])
        client = Waiting(relay.port, "one@example.org")
        main.wait_until_held()
        between = self.session(relay)
        self.deliver_later(between, main)
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare", delivery="proxy")]
        self.reload(relay)
        main.release()
        self.assertEqual(250, client.answer())
        self.deliver(between)
        self.assertEqual((1, 1), (len(main.kept), len(spare.kept)))

    def test_a_session_from_before_anything_was_proxied(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", main.port))
        session = self.session(relay)
        relay.settings["route"] = [route("main", delivery="proxy")]
        self.reload(relay)
        self.assertEqual(250, session.mail(SENDER)[0])
        self.assertEqual(451, session.rcpt("one@example.org")[0])
        session.quit()
        self.deliver(self.session(relay))
        main.wait_for(1)

    def deliver_later(self, session: smtplib.SMTP, main: Collector) -> None:
        """It has a line to the upstream by now, and nothing under way."""
        self.assertEqual(250, session.mail(SENDER)[0])
        self.assertEqual(250, session.rcpt("two@example.org")[0])
        self.assertEqual(250, session.rset()[0])

    def test_who_may_authenticate(self) -> None:
        main = self.collector()
        relay = self.running(upstream("main", main.port))
        relay.settings["auth"] = {"users": "users"}
        relay.add_user("tim", "secret")
        relay.settings["listener"][0] |= {"auth": "required", "auth_without_tls": True}
        before = self.session(relay)
        self.reload(relay)
        session = self.session(relay)
        self.assertEqual(530, session.mail(SENDER)[0])
        session.login("tim", "secret")
        self.deliver(session)
        self.deliver(before)
        second = relay.folder / "second"
        (relay.folder / "users").rename(second)
        relay.settings["auth"] = {"users": "second", "failure_delay": "0s"}
        late = self.session(relay)
        self.reload(relay)
        late.login("tim", "secret")  # by the users of its own beginning
        self.deliver(late)
        main.wait_for(3)

    def test_certificates(self) -> None:
        authority, folder = Authority(), self.folder()
        trusted = authority.write(folder)
        authority.issue("localhost").write(folder)
        relay = self.running(upstream("main", 9))
        pair = {"certificate": str(folder / "host.pem"), "key": str(folder / "host.key")}
        relay.settings["listener"][0] |= {"tls": "starttls", "certificates": [pair]}
        before = self.session(relay)
        self.reload(relay)
        self.assertNotIn("starttls", before.esmtp_features)
        session = self.session(relay)
        session._host = "localhost"  # type: ignore[attr-defined]
        session.starttls(context=ssl.create_default_context(cafile=str(trusted)))
        (folder / "host.key").write_text("no key")
        self.assertIn("certificates[0]", self.refusal(relay))
        self.assertEqual(250, session.ehlo()[0])

    def folder(self) -> Path:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        return folder


class WorkersTests(ListenerTests):
    """The same, and what several alone can do wrong."""

    workers = 2

    def test_one_that_is_away_refuses_the_reload(self) -> None:
        relay = self.running(upstream("main", 9))
        os.kill(int((relay.spool / "0" / "lock").read_text()), signal.SIGKILL)
        relay.wait_for(1, "alarm", what="worker 0")
        relay.settings["listener"][0]["max_recipients"] = 7
        if not relay.facts("alarm_over", what="worker 0"):
            relay.write_config()
            relay.relayctl("reload")
        relay.wait_for(1, "alarm_over", what="worker 0")
        self.reload(relay)

    def test_one_that_is_started_again_has_the_new_configuration(self) -> None:
        spare = self.collector()
        relay = self.running(upstream("main", 9))
        port = free_port()
        relay.settings["listener"].append({"name": "extra", "address": f"127.0.0.1:{port}"})
        relay.settings["upstream"] = [upstream("spare", spare.port)]
        relay.settings["route"] = [route("spare")]
        self.reload(relay)
        for number in "01":
            os.kill(int((relay.spool / number / "lock").read_text()), signal.SIGKILL)
        relay.wait_for(2, "alarm_over")
        send(port, ["one@example.org"])
        spare.wait_for(1)


class SystemdTests(ReloadCase):
    """Its part is played by a few lines that run before twistd: a socket as descriptor 3."""

    def handed(self, workers: int) -> tuple[RelayProcess, socket.socket]:
        main = self.collector()
        relay = self.idle_relay(upstream("main", main.port), top={"workers": workers})
        relay.settings["listener"][0]["address"] = "systemd:smtp"
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(relay.folder / "notify"))
        manager.settimeout(60)
        relay.before = (
            "import os, socket\n"
            f"handed = socket.create_server(('127.0.0.1', {relay.port}))\n"
            "os.dup2(handed.fileno(), 3)\n"
            "handed.close() if handed.fileno() != 3 else handed.detach()\n"
            "os.environ |= dict(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', "
            f"LISTEN_FDNAMES='smtp', NOTIFY_SOCKET={str(relay.folder / 'notify')!r})"
        )
        return relay, manager

    def test_its_socket_and_what_it_is_told(self) -> None:
        for workers in (1, 2):
            relay, manager = self.handed(workers)
            relay.launch()
            self.assertEqual(b"READY=1", manager.recv(100))
            send(relay.port, ["one@example.org"])
            relay.wait_until_empty()
            relay.settings["listener"][0]["name"] = "renamed"
            self.reload(relay)
            self.assertTrue(manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
            self.assertEqual(b"READY=1", manager.recv(100))
            send(relay.port, ["one@example.org"])
            relay.settings["listener"].append({"name": "second", "address": "systemd:1"})
            self.assertIn("has handed over no socket systemd:1", self.refusal(relay))
            relay.stop()
            told = [manager.recv(100) for _ in range(3)]
            self.assertEqual(b"STOPPING=1", told[-1])

    def test_without_one_it_does_not_start(self) -> None:
        relay = self.idle_relay(upstream("main", 9))
        relay.settings["listener"][0]["address"] = "systemd:0"
        self.assertEqual(1, relay.launch().wait())
        self.assertIn("systemd has handed over no socket systemd:0", relay.child.output)
        self.assertNotIn("Traceback", relay.child.output)


class SignalTests(ReloadCase):
    def test_the_log_is_opened_anew_and_the_config_taken_up(self) -> None:
        relay = self.relay(upstream("main", 9))
        wait_until(relay.traffic_log.exists, "the log")  # the port is bound before it
        relay.traffic_log.rename(relay.folder / "traffic.old")
        relay.settings["listener"][0]["max_recipients"] = 7
        relay.write_config()
        relay.hang_up()
        (told,) = relay.wait_for(1, "reloaded")
        self.assertEqual(["listener lan: max_recipients"], told["changes"])
