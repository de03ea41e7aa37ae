"""A whole relay with users: what keeps it from starting, several workers, an own checker."""

import smtplib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.auth_clients import RECIPIENT, SENDER, by_smtplib
from tests.process.child import DEADLINE
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

LISTENER = {"auth": "required", "auth_without_tls": True, "relay_networks": []}

CHECKER = """
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse

def make():
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(b"tim", b"secret")
    return checker
"""


class AuthProcessTests(SynchronousTestCase):
    def relay(self, auth: dict[str, Any], **top: Any) -> RelayProcess:
        collector = Collector()
        collector.start()
        self.addCleanup(collector.stop)
        relay = RelayProcess(
            [upstream("main", collector.port)], listener=LISTENER, top={"auth": auth, **top}
        )
        self.addCleanup(relay.clean_up)
        return relay

    def refusal(self, relay: RelayProcess) -> str:
        self.assertEqual(relay.launch().wait(DEADLINE), 1)
        return (relay.folder / "output").read_text()

    def test_no_users_file(self) -> None:
        said = self.refusal(self.relay({"users": "users"}))
        self.assertIn("users does not exist; make it with: relayctl user add NAME\n", said)
        self.assertNotIn("Traceback", said)

    def test_a_users_file_that_others_can_read(self) -> None:
        relay = self.relay({"users": "users"})
        relay.add_user("tim", "secret")
        (relay.folder / "users").chmod(0o640)
        self.assertIn("can be read by others; run: chmod 600 ", self.refusal(relay))

    def test_no_checker(self) -> None:
        said = self.refusal(self.relay({"checker": "relay_nowhere:make"}))
        self.assertIn("auth.checker 'relay_nowhere:make' cannot be made", said)
        self.assertNotIn("Traceback", said)

    def test_a_checker_of_ones_own(self) -> None:
        relay = self.relay({"checker": "own_checker:make", "failure_delay": "0s"})
        (relay.folder / "own_checker.py").write_text(CHECKER)
        relay.start()
        for password, is_right in (("secret", True), ("wrong", False)):
            is_sent = by_smtplib(relay.port, "PLAIN", "tim", password, relay.folder)
            self.assertEqual(is_sent, is_right)
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=DEADLINE) as session:
            session.ehlo()
            self.assertEqual(session.esmtp_features["auth"].split(), ["PLAIN", "LOGIN"])

    def test_workers(self) -> None:
        """Each sees the users, and their changes."""
        relay = self.relay({"users": "users", "failure_delay": "0s"}, workers=2)
        relay.add_user("tim", "secret")
        relay.start()
        for password in ("secret", "other"):
            relay.add_user("tim", password)
            for _ in range(4):
                self.assertTrue(by_smtplib(relay.port, "PLAIN", "tim", password, relay.folder))
        relay.wait_for(8, "accepted", user="tim", reverse_path=SENDER)
        relay.wait_for(8, "relayed", recipient=RECIPIENT)

    def test_no_password_on_standard_output_or_in_any_log(self) -> None:
        relay = self.relay({"users": "users", "failure_delay": "0s"})
        relay.add_user("tim", "swordfish")
        relay.start()
        self.assertTrue(by_smtplib(relay.port, "LOGIN", "tim", "swordfish", relay.folder))
        self.assertFalse(by_smtplib(relay.port, "PLAIN", "swordfish", "swordfish", relay.folder))
        relay.stop()
        for path in relay.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(b"swordfish", path.read_bytes(), path)
