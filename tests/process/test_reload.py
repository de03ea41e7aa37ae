"""A changed configuration is taken up while the relay runs: whole or not at all."""

import json
import smtplib
from collections.abc import Sequence

from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, Load, content
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
        load.start(2000, sessions=10)
        for number in range(6):
            wait_until(lambda n=number: len(load.accepted) > 200 * (n + 1), "some more mail")
            to = ("spare", "main")[number % 2]
            relay.settings["route"] = [route(to)]
            relay.settings["listener"][0]["max_recipients"] = 500 + number
            relay.settings["upstream"][0]["max_connections"] = 5 + number
            self.assertEqual(
                ["listener lan: max_recipients", "upstream main: max_connections", "route"],
                list(self.reload(relay)),
            )
        load.wait()
        self.assertEqual(2000, len(load.accepted))
        relay.wait_until_empty()
        arrived = [kept.recipients[0] for one in (first, second) for kept in one.kept]
        self.assertEqual((2000, load.accepted), (len(arrived), set(arrived)))
        self.assertTrue(first.kept and second.kept)
        self.assertEqual(6, len(relay.facts("reloaded")))
        self.assertEqual(10, len([f for f in relay.facts("disconnected") if f["transactions"]]))
