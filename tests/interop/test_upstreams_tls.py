"""Real upstreams under TLS: Postfix, with the right certificate and another's; Dovecot's LMTP."""

from smtplib import SMTPSenderRefused

from tests.certificates import Authority
from tests.interop import clients
from tests.interop.dovecot import Dovecot
from tests.interop.postfix_tls import PostfixTlsCase
from tests.interop.received import without_received
from tests.process.child import free_port
from tests.process.relay_process import RelayProcess, route

_AUTHORITY = Authority()
_CONTENT = (
    b"Subject: under TLS\r\nMessage-ID: <1@example.net>\r\n\r\n.one\r\n" + b"x" * 500 + b"\r\n"
)


class _TlsTests(PostfixTlsCase):
    def relay_to(self, host: str, delivery: str = "store", **settings: object) -> RelayProcess:
        ca_file = str(_AUTHORITY.write(self.folder))
        upstream = {"name": "main", "hosts": [host], "ca_file": ca_file, **settings}
        relay = RelayProcess([upstream], [route("main", delivery=delivery)])
        self.addCleanup(relay.clean_up)
        relay.start()
        return relay

    def send(self, relay: RelayProcess, *recipients: str) -> None:
        to = recipients or ("b@example.org",)
        clients.by_smtplib(relay.port, "a@example.net", to, _CONTENT, relay.folder)


class DovecotTests(_TlsTests):
    def test_lmtp_with_starttls(self) -> None:
        dovecot = Dovecot(*_AUTHORITY.issue("localhost").write(self.folder, "dovecot"))
        self.addCleanup(dovecot.clean_up)
        dovecot.start()
        relay = self.relay_to(f"lmtp://localhost:{dovecot.port}", tls="verified")
        self.send(relay, "one@example.org", "two@example.org")
        for fact in relay.wait_for(2, "relayed"):
            self.assertRegex(str(fact["upstream_tls"]), r"^TLSv1\.3 TLS_\w+ verified$")
        for user in ("one@example.org", "two@example.org"):
            (kept,) = dovecot.kept(user)
            self.assertTrue(kept.endswith(_CONTENT.replace(b"\r\n", b"\n")), kept)
            self.assertIn(b"using TLSv1.3 with cipher", kept)


class PostfixTests(_TlsTests):
    def assert_relayed(self, relay: RelayProcess) -> str:
        """The content arrived as it was; what the log says of TLS."""
        self.send(relay)
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(without_received(kept.content, 2), _CONTENT)
        self.assertIn(b"using TLSv1.3 with cipher", kept.content)
        (fact,) = relay.wait_for(1, "relayed")
        return str(fact["upstream_tls"])

    def test_verified(self) -> None:
        port = self.postfix(_AUTHORITY.issue("localhost")).port
        told = self.assert_relayed(self.relay_to(f"smtp://localhost:{port}", tls="verified"))
        self.assertRegex(told, r"^TLSv1\.3 TLS_\w+ verified$")

    def test_hybrid_and_proxy(self) -> None:
        port = self.postfix(_AUTHORITY.issue("localhost")).port
        for delivery in ("hybrid", "proxy"):
            relay = self.relay_to(f"smtp://localhost:{port}", delivery, tls="verified")
            self.assertIn("verified", self.assert_relayed(relay))
            self.collector.kept.clear()

    def test_wrong_name_in_proxy(self) -> None:
        """The client hears that it may try again, and no more; the log says why."""
        port = self.postfix(_AUTHORITY.issue("other.example")).port
        relay = self.relay_to(f"smtp://localhost:{port}", "proxy", tls="verified")
        refused = self.assertRaises(SMTPSenderRefused, self.send, relay)
        self.assertEqual((refused.smtp_code, b"other" in refused.smtp_error), (451, False))
        self.assertIn("certificate is for other.example", str(relay.wait_for(1, "rejected")[0]))

    def test_opportunistic_by_default(self) -> None:
        port = self.postfix(Authority().issue("other.example")).port
        told = self.assert_relayed(self.relay_to(f"smtp://127.0.0.1:{port}"))
        self.assertRegex(told, r"^TLSv1\.3 TLS_\w+$")

    def test_client_certificate(self) -> None:
        identity = _AUTHORITY.issue("relay.example.net")
        certificate, key = identity.write(self.folder, "client")
        wanted = {
            "smtpd_tls_req_ccert": "yes",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_CAfile": str(_AUTHORITY.write(self.folder)),
        }
        postfix = self.postfix(_AUTHORITY.issue("127.0.0.1"), wanted)
        files = {"client_certificate": str(certificate), "client_key": str(key)}
        relay = self.relay_to(f"smtp://127.0.0.1:{postfix.port}", tls="verified", **files)
        self.assert_relayed(relay)
        self.assertIn("Trusted TLS connection established from", postfix.log)

    def test_wrong_name(self) -> None:
        """The mail waits, and the log says why."""
        port = self.postfix(_AUTHORITY.issue("other.example")).port
        relay = self.relay_to(f"smtp://localhost:{port}", tls="verified")
        self.send(relay)
        fact = relay.wait_for(1, "delayed")[0]
        why = "451 4.7.5 certificate is for other.example, not localhost"
        self.assertEqual((fact["reply"], fact["status"]), (why, "4.7.5"))
        self.assertEqual(self.collector.kept, [])

    def test_implicit(self) -> None:
        port = free_port()
        postfix = self.postfix(_AUTHORITY.issue("localhost"))
        master = postfix.folder / "etc" / "master.cf"
        wrapped = f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
        master.write_text(master.read_text() + wrapped)
        postfix.stop()
        postfix.start()
        told = self.assert_relayed(self.relay_to(f"smtps://localhost:{port}", tls="verified"))
        self.assertIn("verified", told)
