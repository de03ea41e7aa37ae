"""Postfix as a domain's mail host: DANE, MTA-STS and REQUIRETLS, with unbound and a policy host."""

import hashlib
import smtplib
import ssl
from collections.abc import Mapping

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import Authority, Issued, self_signed
from tests.interop.nameserver import NameServer
from tests.interop.peers import Postfix
from tests.interop.policy_server import PolicyServer
from tests.interop.postfix_tls import PostfixTlsCase
from tests.interop.received import without_received
from tests.process.child import wait_until
from tests.process.collector import Collector
from tests.process.relay_process import Fact, RelayProcess, route, upstream

DOMAIN = "there.test"
HOST = f"mail.{DOMAIN}"
SENDER = "a@home.test"
CONTENT = b"Subject: to a mail host\r\nMessage-ID: <1@home.test>\r\n\r\n.one\r\n"
VERIFIED = r"^TLSv1\.3 TLS_\w+ verified$"


def key_digest(identity: Issued) -> str:
    key = identity.certificate.public_key()
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(octets).hexdigest()


class _MxCase(PostfixTlsCase):
    """A relay that sends `there.test` by MX to Postfix, and all else home."""

    def setUp(self) -> None:
        super().setUp()
        self.home = Collector()
        self.home.start()
        self.addCleanup(self.home.stop)
        self.authority = Authority()
        self.ca_file = str(self.authority.write(self.folder))

    def names(self, postfix: Postfix, *lines: str, is_signed: bool) -> NameServer:
        zone = "@ MX 10 mail\nmail A 127.0.0.1\n" + "".join(f"{line}\n" for line in lines)
        zone = zone.replace("PORT", str(postfix.port))
        names = NameServer({DOMAIN: zone}, frozenset({DOMAIN} if is_signed else ()))
        self.addCleanup(names.stop)
        names.start()
        return names

    def relay(
        self,
        postfix: Postfix,
        names: NameServer,
        listener: Mapping[str, object] = {},
        https_port: int = 0,
        **keys: object,
    ) -> RelayProcess:
        relay = RelayProcess(
            [
                {"name": "internet", "hosts": [f"mx::{postfix.port}"], **keys},
                upstream("home", self.home.port),
            ],
            [route("internet", f"*@{DOMAIN}"), route("home")],
            queue={"retry": ["1h"]},
            listener=listener,
            top={"dns": {"servers": [str(names.address)], "trusted": True}},
        )
        if https_port:
            relay.before = f"from relay.outbound.sts import fetch; fetch.HTTPS_PORT = {https_port}"
        self.addCleanup(relay.clean_up)
        relay.start()
        return relay

    def send(self, relay: RelayProcess, content: bytes = CONTENT) -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.sendmail(SENDER, [f"b@{DOMAIN}"], content)

    def assert_relayed(self, relay: RelayProcess, tls: str = VERIFIED) -> None:
        """Over TLS, as either side says."""
        self.send(relay)
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(without_received(kept.content, 2), CONTENT)
        self.assertIn(b"using TLSv1.3 with cipher", kept.content)
        (fact,) = relay.wait_for(1, "relayed")
        self.assertRegex(str(fact["upstream_tls"]), tls)
        self.assertTrue(str(fact["host"]).startswith(f"{HOST}[127.0.0.1]:"))

    def assert_waits(self, relay: RelayProcess, postfix: Postfix, why: str) -> Fact:
        """Nothing of the message was said to Postfix."""
        self.send(relay)
        fact = relay.wait_for(1, "delayed")[0]
        self.assertIn(why, fact["reply"])
        self.assertEqual(len(relay.queue()), 1)
        self.assertEqual(self.collector.kept, [])
        self.assertNotIn("client=", postfix.log)  # as it logs with each MAIL that it takes
        return fact


class DaneTests(_MxCase):
    SHOWN = self_signed("whoever.example")

    def test_key_of_the_host(self) -> None:
        for tls in ("auto", "dane"):
            postfix = self.postfix(self.SHOWN)
            tlsa = f"_PORT._tcp.mail TLSA 3 1 1 {key_digest(self.SHOWN)}"
            names = self.names(postfix, tlsa, is_signed=True)
            relay = self.relay(postfix, names, tls=tls)
            self.assert_relayed(relay)
            self.assertIn("TLS connection established from", postfix.log)
            self.collector.kept.clear()

    def test_authority(self) -> None:
        """Postfix shows the chain from the host's certificate up, as it stands in its file."""
        between = Authority("DANE authority", Authority("DANE root"))
        postfix = self.postfix(between.issue(HOST))
        octets = between.certificate.public_bytes(Encoding.DER)
        tlsa = f"_PORT._tcp.mail TLSA 2 0 1 {hashlib.sha256(octets).hexdigest()}"
        self.assert_relayed(self.relay(postfix, self.names(postfix, tlsa, is_signed=True)))

    def test_another_key(self) -> None:
        for tls in ("auto", "dane"):
            postfix = self.postfix(self.SHOWN)
            tlsa = f"_PORT._tcp.mail TLSA 3 1 1 {'ab' * 32}"
            relay = self.relay(postfix, self.names(postfix, tlsa, is_signed=True), tls=tls)
            self.assert_waits(relay, postfix, "451 4.7.5 certificate is none of those")

    def test_no_tls_there(self) -> None:
        postfix = self.postfix(self.SHOWN, {"smtpd_tls_security_level": "none"})
        tlsa = f"_PORT._tcp.mail TLSA 3 1 1 {key_digest(self.SHOWN)}"
        relay = self.relay(postfix, self.names(postfix, tlsa, is_signed=True))
        self.assert_waits(relay, postfix, f"451 4.7.4 TLS required, but {HOST} offers no STARTTLS")

    def test_a_look_without_mail(self) -> None:
        postfix = self.postfix(self.SHOWN)
        tlsa = f"_PORT._tcp.mail TLSA 3 1 1 {key_digest(self.SHOWN)}"
        relay = self.relay(postfix, self.names(postfix, tlsa, is_signed=True))
        shown = relay.relayctl("check", "--live", "--domain", DOMAIN)
        for line in (
            f"policy:       dane (usable TLSA records of {HOST}: 1)",
            "greeting:     220 postfix.example.net ESMTP",
            "verification: verified",
        ):
            self.assertIn(line, shown.stdout)
        self.assertNotIn("client=", postfix.log)


class MtaStsTests(_MxCase):
    def policy(self, mx: str = HOST, max_age: int = 86400) -> PolicyServer:
        text = f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: {max_age}\n"
        identity = self.authority.issue(f"mta-sts.{DOMAIN}")
        server = PolicyServer("127.0.0.1", text, identity, self.folder)
        self.addCleanup(server.stop)
        server.start()
        return server

    def by_policy(self, postfix: Postfix, server: PolicyServer) -> RelayProcess:
        lines = ("mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=1;"')
        names = self.names(postfix, *lines, is_signed=False)
        return self.relay(postfix, names, https_port=server.port, ca_file=self.ca_file)

    def test_certificate_of_the_host(self) -> None:
        postfix, server = self.postfix(self.authority.issue(HOST)), self.policy()
        relay = self.by_policy(postfix, server)
        self.assert_relayed(relay)
        self.assertEqual(server.asked, ["/.well-known/mta-sts.txt"])
        self.assertEqual(len(list(relay.spool.glob("mta-sts-*/*.json"))), 1)
        self.assertIn("TLS connection established from", postfix.log)

    def test_certificate_of_another_name(self) -> None:
        postfix = self.postfix(self.authority.issue("other.example"))
        relay = self.by_policy(postfix, self.policy())
        why = f"451 4.7.5 certificate is for other.example, not {HOST}"
        self.assert_waits(relay, postfix, why)

    def test_certificate_of_an_authority_that_is_not_trusted(self) -> None:
        postfix = self.postfix(Authority("Nobody").issue(HOST))
        relay = self.by_policy(postfix, self.policy())
        self.assert_waits(relay, postfix, "451 4.7.5 certificate is signed by Nobody")

    def test_host_that_the_policy_does_not_name(self) -> None:
        postfix = self.postfix(self.authority.issue(HOST))
        relay = self.by_policy(postfix, self.policy(mx="mail.elsewhere.test"))
        why = f"the MTA-STS policy of {DOMAIN} does not allow {HOST}"
        self.assert_waits(relay, postfix, why)
        self.assertNotIn("ehlo=", postfix.log)

    def test_kept_policy_is_fetched_anew_without_mail(self) -> None:
        postfix, server = self.postfix(self.authority.issue(HOST)), self.policy(max_age=4)
        relay = self.by_policy(postfix, server)
        self.assert_relayed(relay)
        relay.stop()
        relay.before += (
            "; from relay.outbound.sts import refresh"
            "; refresh.ROUND_EVERY = 0.5; refresh.STEP = 0.1"
        )
        relay.start()
        wait_until(lambda: len(server.asked) >= 4, "a policy that is kept fresh")
        relay.stop()


class RequireTlsTests(_MxCase):
    """Postfix 3.7 knows no REQUIRETLS, however well its certificate is vouched for (RFC 8689)."""

    def send_demanding(self, relay: RelayProcess) -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session._host = "localhost"  # type: ignore[attr-defined]
            session.starttls(context=ssl.create_default_context(cafile=self.ca_file))
            session.sendmail(SENDER, [f"b@{DOMAIN}"], CONTENT, ["REQUIRETLS"])

    def relay_with_tls(self, postfix: Postfix, tlsa: str) -> RelayProcess:
        pair = self.authority.issue("localhost").write(self.folder, "relay")
        certificates = [{"certificate": str(pair[0]), "key": str(pair[1])}]
        listener = {"tls": "starttls", "certificates": certificates}
        names = self.names(postfix, tlsa, is_signed=True)
        return self.relay(postfix, names, listener)

    def assert_returned(self, relay: RelayProcess, postfix: Postfix, status: str) -> None:
        self.send_demanding(relay)
        (report,) = self.home.wait_for(1)
        self.assertEqual((report.sender, report.recipients), ("", [SENDER]))
        self.assertIn(f"Status: {status}\r\n".encode(), report.content)
        self.assertIn(b"Subject: to a mail host\r\n", report.content)
        self.assertNotIn(b"one\r\n", report.content)  # the header alone
        (fact,) = relay.wait_for(1, "failed")
        self.assertEqual(fact["status"], status)
        relay.wait_until_empty()
        self.assertEqual(self.collector.kept, [])
        self.assertNotIn("client=", postfix.log)

    def test_not_offered(self) -> None:
        shown = self_signed("whoever.example")
        postfix = self.postfix(shown)
        tlsa = f"_PORT._tcp.mail TLSA 3 1 1 {key_digest(shown)}"
        self.assert_returned(self.relay_with_tls(postfix, tlsa), postfix, "5.7.30")

    def test_no_host_that_is_surely_meant(self) -> None:
        postfix = self.postfix(self_signed("whoever.example"))
        relay = self.relay_with_tls(postfix, "other A 127.0.0.1")
        self.assert_returned(relay, postfix, "5.7.10")
