"""Clients of all kinds authenticate at a running relay, by each mechanism that they know."""

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import auth_clients as clients
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

USER, PASSWORD = "printer=3,a", "gr\u00fcn & blue"
ASCII_PASSWORD = "black & blue"
"""For smtplib, which knows no other."""


class AuthClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-auth-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)
        self.relay = RelayProcess(
            [upstream("main", self.collector.port)],
            listener={"auth": "required", "auth_without_tls": True, "relay_networks": []},
            top={"auth": {"users": "users", "failure_delay": "0s"}},
        )
        self.addCleanup(self.relay.clean_up)
        self.relay.add_user("somebody", "else")
        self.relay.start()

    def check(self, send: clients.Send, mechanism: str, right: str = PASSWORD) -> None:
        self.relay.add_user(USER, right)  # the running relay sees it
        for password, is_right in ((right, True), ("wrong", False), (right, True)):
            is_sent = send(self.relay.port, mechanism, USER, password, self.folder)
            self.assertEqual(is_sent, is_right)
        for kept in self.collector.wait_for(2):
            self.assertIn(b" with ESMTPA id ", kept.content)
        accepted = self.relay.wait_for(2, "accepted")
        self.assertEqual([fact["user"] for fact in accepted], [USER] * 2)
        told = self.relay.wait_for(2, "authenticated")
        self.assertEqual({fact["mechanism"] for fact in told}, {mechanism})
        (refused,) = self.relay.facts("rejected", command="AUTH")
        self.assertEqual(refused["why"], f"wrong password, user {USER}")
        log = self.relay.traffic_log.read_text() + (self.relay.folder / "output").read_text()
        self.assertNotIn("blue", log)

    def test_smtplib_plain(self) -> None:
        self.check(clients.by_smtplib, "PLAIN", ASCII_PASSWORD)

    def test_smtplib_login(self) -> None:
        self.check(clients.by_smtplib, "LOGIN", ASCII_PASSWORD)

    def test_swaks_plain(self) -> None:
        self.check(clients.by_swaks, "PLAIN")

    def test_swaks_login(self) -> None:
        self.check(clients.by_swaks, "LOGIN")

    def test_msmtp_plain(self) -> None:
        self.check(clients.by_msmtp, "PLAIN")

    def test_msmtp_login(self) -> None:
        self.check(clients.by_msmtp, "LOGIN")

    def test_msmtp_scram(self) -> None:
        self.check(clients.by_msmtp, "SCRAM-SHA-256")

    def test_curl_plain(self) -> None:
        self.check(clients.by_curl, "PLAIN")

    def test_curl_login(self) -> None:
        self.check(clients.by_curl, "LOGIN")

    def test_nodemailer_plain(self) -> None:
        self.check(clients.by_nodemailer, "PLAIN")

    def test_nodemailer_login(self) -> None:
        self.check(clients.by_nodemailer, "LOGIN")
