"""Upstreams that want a login: Postfix under TLS, with Dovecot behind it as its SASL server."""

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.interop import clients
from tests.interop.dovecot_auth import DovecotAuth
from tests.interop.peers import UNCHANGED, Postfix
from tests.interop.received import without_received
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route

_AUTHORITY = Authority()
_CONTENT = b"Subject: with a login\r\nMessage-ID: <1@example.net>\r\n\r\n.one\r\n"
_USERS = {"relay@example.net": "rel/ay, =secret", "billing": "bill"}
_ALL = "plain login scram-sha-256"


class AuthCase(SynchronousTestCase):
    users = _USERS

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-auth-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)

    def postfix(self, mechanisms: str = _ALL, passdb: str = "", **more: str) -> Postfix:
        self.dovecot = DovecotAuth(self.users, mechanisms, passdb)
        self.addCleanup(self.dovecot.clean_up)
        self.dovecot.start()
        certificate, key = _AUTHORITY.issue("localhost").write(self.folder, "postfix")
        settings = {
            **UNCHANGED,
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(certificate),
            "smtpd_tls_key_file": str(key),
            **self.dovecot.settings(),
            **more,
        }
        postfix = Postfix(self.collector.port, settings=settings)
        self.addCleanup(postfix.clean_up)
        postfix.start()
        return postfix

    def secret(self, text: str, name: str = "password") -> str:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(f"{text}\n")
        return str(path)

    def relay_to(self, postfix: Postfix, delivery: str = "store", **settings: object):
        upstream = {
            "name": "main",
            "hosts": [f"smtp://localhost:{postfix.port}"],
            "ca_file": str(_AUTHORITY.write(self.folder)),
            "tls": "verified",
            **settings,
        }
        relay = RelayProcess([upstream], [route("main", delivery=delivery)])
        self.addCleanup(relay.clean_up)
        relay.start()
        return relay

    def send(self, relay: RelayProcess, sender: str = "a@example.net") -> None:
        clients.by_smtplib(relay.port, sender, ("b@example.org",), _CONTENT, relay.folder)


class PasswordTests(AuthCase):
    def assert_relayed(self, postfix: Postfix, mechanism: str, **settings: object) -> None:
        user = "relay@example.net"
        secret = self.secret(_USERS[user])
        relay = self.relay_to(postfix, user=user, password_file=secret, **settings)
        self.send(relay)
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(without_received(kept.content, 2), _CONTENT)
        self.assertIn(f"(Authenticated sender: {user})".encode(), kept.content)
        self.assertIn(f"sasl_method={mechanism}, sasl_username={user}", postfix.log)
        self.assertNotIn(_USERS[user], relay.traffic_log.read_text())
        self.assertNotIn(_USERS[user], (relay.folder / "output").read_text())
        relay.stop()
        self.collector.kept.clear()

    def test_each_mechanism(self) -> None:
        """Unless one is named it is the strongest."""
        postfix = self.postfix()
        self.assert_relayed(postfix, "SCRAM-SHA-256")
        for mechanism in ("PLAIN", "LOGIN"):
            self.assert_relayed(postfix, mechanism, mechanisms=[mechanism])

    def test_hybrid_and_proxy(self) -> None:
        postfix = self.postfix()
        self.assert_relayed(postfix, "SCRAM-SHA-256", delivery="hybrid")
        self.assert_relayed(postfix, "SCRAM-SHA-256", delivery="proxy")
