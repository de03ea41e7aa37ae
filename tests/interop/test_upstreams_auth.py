"""Upstreams that want a login: Postfix under TLS, with Dovecot behind it as its SASL server."""

import json
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.interop import clients
from tests.interop.dovecot_auth import DovecotAuth
from tests.interop.peers import UNCHANGED, Postfix
from tests.interop.received import without_received
from tests.interop.token_endpoint import KEY, TokenEndpoint, jwt
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

    def postfix(self, mechanisms: str = _ALL, token_key: bytes = b"", **more: str) -> Postfix:
        self.dovecot = DovecotAuth(self.users, mechanisms, token_key)
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


class RefusalTests(AuthCase):
    def test_wrong_password_pauses_until_it_is_mended(self) -> None:
        """Nothing bounces; a change of the file is enough."""
        secret = self.secret("wrong")
        user = "relay@example.net"
        relay = self.relay_to(self.postfix(), user=user, password_file=secret)
        self.send(relay)
        (alarm,) = relay.wait_for(1, "alarm")
        self.assertEqual(alarm["what"], "login at main")
        self.assertIn("535 5.7.8", alarm["why"])
        self.assertIn("535 5.7.8", relay.wait_for(1, "delayed")[0]["reply"])
        (lane,) = map(json.loads, relay.relayctl("lane", "list", "--json").stdout.splitlines())
        self.assertTrue(lane["paused"])
        self.assertIn("535 5.7.8", lane["last_reply"])
        self.assertIn("paused, login refused", relay.relayctl("lane", "list").stdout)
        shown = relay.relayctl("status").stdout
        self.assertRegex(shown, r"ALARM +SINCE +WHY\nlogin at main +2.*535 5\.7\.8")
        self.secret(_USERS[user])
        relay.wait_until_empty()
        self.assertEqual(len(self.collector.wait_for(1)), 1)
        relay.wait_for(1, "alarm_over", what="login at main")
        self.assertNotIn("ALARM", relay.relayctl("status").stdout)
        self.assertEqual(relay.facts("failed"), [])

    def test_no_usable_mechanism(self) -> None:
        secret = self.secret("secret")
        relay = self.relay_to(
            self.postfix("plain"), user="x", password_file=secret, mechanisms=["SCRAM-SHA-256"]
        )
        self.send(relay)
        (alarm,) = relay.wait_for(1, "alarm")
        self.assertIn("offers AUTH PLAIN; it would have to be SCRAM-SHA-256", alarm["why"])


class LiveCheckTests(AuthCase):
    def test_what_it_shows(self) -> None:
        postfix = self.postfix()
        user = "relay@example.net"
        relay = RelayProcess(
            [
                {
                    "name": "main",
                    "hosts": [f"smtp://localhost:{postfix.port}"],
                    "ca_file": str(_AUTHORITY.write(self.folder)),
                    "profile": "gmail",
                    "mechanisms": ["SCRAM-SHA-256"],
                    "user": user,
                    "password_file": self.secret(_USERS[user]),
                }
            ]
        )
        self.addCleanup(relay.clean_up)
        relay.write_config()
        shown = relay.relayctl("check", "--live")
        self.assertEqual(shown.returncode, 0, shown.stdout + shown.stderr)
        for text in (
            "greeting:     220 postfix.example.net ESMTP",
            "AUTH PLAIN LOGIN SCRAM-SHA-256",
            "TLS:          TLSv1.3 TLS_",
            "certificate:  localhost; by Test CA; until 20",
            "verification: verified",
            "login:        as relay@example.net, let in by SCRAM-SHA-256",
            "result:       mail can go there",
        ):
            self.assertIn(text, shown.stdout)
        self.assertRegex(shown.stdout, r"main +gmail +max_recipients +100")
        self.assertRegex(shown.stdout, r"main +gmail +mechanisms +SCRAM-SHA-256 +by you")
        self.secret("wrong")
        refused = relay.relayctl("check", "--live", "--json")
        self.assertEqual(refused.returncode, 1)
        found = json.loads(refused.stdout.splitlines()[-1])
        self.assertEqual((found["upstream"], found["verification"]), ("main", "verified"))
        self.assertIn("535 5.7.8", found["trouble"])
        self.assertNotIn("wrong", refused.stdout + refused.stderr)


class IdentityTests(AuthCase):
    def test_by_sender(self) -> None:
        """One that is refused holds nobody else up."""
        identity = {"name": "bills", "senders": ["bill@*"], "user": "billing"}
        bad = {"name": "bad", "senders": ["bad@*"], "user": "nobody"}
        relay = self.relay_to(
            self.postfix(),
            user="relay@example.net",
            password_file=self.secret(_USERS["relay@example.net"]),
            identity=[
                {**identity, "password_file": self.secret("bill", "bill.password")},
                {**bad, "password_file": self.secret("x", "bad.password")},
            ],
        )
        for sender in ("bad@example.net", "bill@example.net", "a@example.net"):
            self.send(relay, sender)
        kept = {message.sender: message.content for message in self.collector.wait_for(2)}
        self.assertIn(b"(Authenticated sender: billing)", kept["bill@example.net"])
        self.assertIn(b"(Authenticated sender: relay@example.net)", kept["a@example.net"])
        (alarm,) = relay.wait_for(1, "alarm")
        self.assertEqual(alarm["what"], "login at main:bad")
        lanes = map(json.loads, relay.relayctl("lane", "list", "--json").stdout.splitlines())
        paused = {lane["name"]: lane["paused"] for lane in lanes}
        self.assertEqual(paused, {"main": False, "main:bills": False, "main:bad": True})


class TokenTests(AuthCase):
    """Dovecot validates the tokens, by the key that they are signed with."""

    user = "relay@example.net"

    def relay_by_token(self, *tokens: str, **settings: object) -> RelayProcess:
        files = _AUTHORITY.issue("localhost").write(self.folder, "token")
        self.endpoint = TokenEndpoint(*files, *tokens)
        self.addCleanup(self.endpoint.stop)
        oauth = {
            "grant": "client-credentials",
            "token_url": self.endpoint.url,
            "client_id": "relay",
            "client_secret_file": self.secret("hush"),
            "ca_file": str(_AUTHORITY.write(self.folder)),
        }
        postfix = self.postfix("xoauth2 oauthbearer", KEY)
        return self.relay_to(postfix, user=self.user, oauth=oauth, **settings)

    def assert_relayed(self, relay: RelayProcess) -> None:
        self.send(relay)
        (kept,) = self.collector.wait_for(1)
        self.assertIn(f"(Authenticated sender: {self.user})".encode(), kept.content)
        self.assertEqual(relay.facts("alarm"), [])

    def test_oauthbearer(self) -> None:
        relay = self.relay_by_token(jwt(self.user))
        self.assert_relayed(relay)
        self.assertIn("OAUTHBEARER", relay.relayctl("status").stdout)

    def test_xoauth2_and_a_token_that_is_had_anew(self) -> None:
        """The first one has expired, which only the mail server knows."""
        tokens = jwt(self.user, life=-60), jwt(self.user)
        relay = self.relay_by_token(*tokens, mechanisms=["XOAUTH2"])
        self.assert_relayed(relay)
        self.assertEqual(self.endpoint.asked, 2)
        for token in tokens:
            self.assertNotIn(token, relay.traffic_log.read_text())
            self.assertNotIn(token, (relay.folder / "output").read_text())


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
