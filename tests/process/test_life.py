"""A relay's life as a process: crash, stop, hang-up, and refusing to start."""

import re
from collections import Counter
from pathlib import Path

from tests.process.child import wait_until
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream
from tests.process.sending import Load, send
from tests.process.through_relay import ThroughRelay


def arrived(collector: Collector) -> Counter[str]:
    """How often each recipient got it."""
    return Counter(path for kept in list(collector.kept) for path in kept.recipients)


class CrashTests(ThroughRelay):
    def test_thousand_accepted_then_killed(self) -> None:
        """None relayed yet; after kill -9 and a new start all are, each exactly once."""
        collector = self.collector(is_up=False)
        relay = self.relay(upstream("main", collector.port))
        load = Load(relay.port)
        load.start(1000)
        load.wait()
        self.assertEqual(len(load.accepted), 1000)
        relay.kill()
        collector.start()
        relay.start()
        collector.wait_for(1000, within=60)
        relay.wait_until_empty()
        self.assertEqual(arrived(collector), Counter(load.accepted))

    def test_killed_in_the_middle_of_a_load(self) -> None:
        """Whatever got its 250 arrives. Twice is allowed for what was on its way just then."""
        collector = self.collector()
        relay = self.relay(upstream("main", collector.port))
        load = Load(relay.port)
        load.start(20000)
        collector.wait_for(200)
        relay.kill()
        load.wait()
        self.assertLess(len(load.accepted), 20000)
        relay.start()
        wait_until(lambda: load.accepted <= set(arrived(collector)), "every accepted message", 60)


class StopTests(ThroughRelay):
    def test_sigterm_in_the_middle_of_a_load(self) -> None:
        """It ends by itself, in order; nothing is lost and nothing comes twice."""
        collector = self.collector()
        relay = self.relay(upstream("main", collector.port))
        load = Load(relay.port)
        load.start(20000)
        collector.wait_for(200)
        status = relay.stop()
        load.wait()
        self.assertIn(status, (0, -15))
        self.assertLess(len(load.accepted), 20000)
        relay.start()
        wait_until(lambda: load.accepted <= set(arrived(collector)), "every accepted message", 60)
        relay.wait_until_empty()
        twice = {path for path, count in arrived(collector).items() if count > 1}
        self.assertEqual(twice, set())

    def test_started_and_stopped_are_logged(self) -> None:
        relay = self.relay(upstream("main", self.collector().port))
        relay.wait_for(1, "started")  # the port is open a little before
        relay.stop()
        self.assertEqual(len(relay.facts("started")), 1)
        self.assertEqual(len(relay.facts("stopped")), 1)

    def test_sighup_reopens_the_log(self) -> None:
        """As logrotate does it: renamed, hung up, and no line is lost or torn."""
        collector = self.collector()
        relay = self.relay(upstream("main", collector.port))
        send(relay.port, ["one@example.org"])
        relay.wait_for(1, "removed")
        old = relay.traffic_log.rename(relay.folder / "traffic.jsonl.1")
        relay.hang_up()
        wait_until(relay.traffic_log.exists, "a new traffic log")
        send(relay.port, ["two@example.org"])
        relay.wait_for(1, "removed")
        self.assertEqual(len(relay.facts("relayed", recipient="two@example.org")), 1)
        self.assertNotIn("two@example.org", old.read_text())
        self.assertTrue(old.read_text().endswith("\n"))


class RefusalTests(ThroughRelay):
    """What a relay says that cannot start: what is wrong, without a traceback."""

    def check(self, relay: RelayProcess, *words: str) -> None:
        child = relay.launch()
        status = child.wait()
        self.assertNotEqual(status, 0, child.output)
        self.assertNotIn("Traceback", child.output)
        told = [line for line in child.output.splitlines() if all(word in line for word in words)]
        self.assertTrue(told, child.output)

    def test_bad_config(self) -> None:
        """All mistakes at once, each with its path."""
        relay = self.idle_relay(upstream("main", 2526, max_connections=0))
        relay.settings["listener"][0]["relay_networks"] = ["foo"]
        relay.settings["colour"] = "red"
        self.check(relay, "listener[0].relay_networks[0]", "'foo'")
        self.assertIn("colour", relay.child.output)
        self.assertIn("max_connections", relay.child.output)

    def test_broken_toml(self) -> None:
        relay = self.idle_relay(upstream("main", 2526))
        relay.settings["hostname\n"] = "x"
        self.check(relay, "relay.toml:2:")

    def test_locked_spool(self) -> None:
        running = self.relay(upstream("main", 2526))
        second = self.idle_relay(upstream("main", 2526), queue={"store": f"sqlite:{running.spool}"})
        self.check(second, str(running.spool), str(running.child.pid))
        send(running.port, ["one@example.org"])

    def test_spool_that_is_a_file(self) -> None:
        relay = self.idle_relay(upstream("main", 2526))
        relay.spool.write_text("in the way")
        self.check(relay, str(relay.spool))

    def test_spool_where_nobody_may_write(self) -> None:
        """Not root either."""
        spool = Path("/proc/relay-spool")
        self.check(
            self.idle_relay(upstream("main", 2526), queue={"store": f"sqlite:{spool}"}), str(spool)
        )

    def test_port_in_use(self) -> None:
        running = self.relay(upstream("main", 2526))
        second = self.idle_relay(upstream("main", 2526))
        second.settings["listener"][0]["address"] = f"127.0.0.1:{running.port}"
        self.check(second, str(running.port))
        self.assertTrue(re.search(r"in use", second.child.output))
