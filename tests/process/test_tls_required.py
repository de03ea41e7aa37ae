"""TLS-Required: No (RFC 8689) through a whole relay, to a domain whose host cannot do its DANE."""

import smtplib
import ssl
from pathlib import Path

from tests.certificates import Authority
from tests.interop.nameserver import NameServer
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route
from tests.process.sending import SENDER
from tests.process.through_relay import ThroughRelay

ZONE = """\
one MX 10 mail
mail A 127.0.0.1
_{port}._tcp.mail TLSA 3 1 1 abababababababababababababababababababababababababababababababab
"""

LANE = "internet:one.mail.test"


def content(field: str = "") -> bytes:
    return f"Subject: one\r\n{field}\r\nhello\r\n".encode()


WAIVES = content("tls-required: NO\r\n")


class TlsRequiredTests(ThroughRelay):
    def setUp(self) -> None:
        self.there: Collector = self.collector()

    def by_dane(
        self, listener: dict[str, object] | None = None, *, delivery: str = "store", **keys: object
    ) -> RelayProcess:
        zone = ZONE.format(port=self.there.port)
        names = NameServer({"mail.test": zone}, frozenset({"mail.test"}))
        self.addCleanup(names.stop)
        names.start()
        hosts = [f"mx::{self.there.port}"]
        return self.relay(
            {"name": "internet", "hosts": hosts, **keys},
            routes=[route("internet", delivery=delivery)],
            queue={"retry": ["1h"]},
            listener=listener or {},
            top={"dns": {"servers": [str(names.address)], "trusted": True}},
        )

    def send(self, relay: RelayProcess, what: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.sendmail(SENDER, ["a@one.mail.test"], what)

    def assert_waits(self, relay: RelayProcess, what: bytes, count: int = 1) -> None:
        self.send(relay, what)
        last = relay.wait_for(count, "delayed")[-1]
        self.assertIn("451 4.7.4 TLS required", last["reply"])

    def test_goes_past_mail_that_waits(self) -> None:
        for delivery in ("store", "hybrid"):
            relay = self.by_dane(delivery=delivery)
            self.assert_waits(relay, content())
            self.send(relay, WAIVES)
            (fact,) = relay.wait_for(1, "relayed")
            self.assertNotIn("upstream_tls", fact)
            self.assertIn(b"tls-required: NO\r\n", self.there.wait_for(1)[-1].content)
            self.assertIn(f'"{LANE}"', relay.relayctl("lane", "list", "--json").stdout)
            relay.stop()

    def test_is_known_after_a_restart(self) -> None:
        relay = self.by_dane()
        self.there.stop()
        self.send(relay, WAIVES)
        relay.wait_for(1, "delayed")
        relay.kill()
        self.there.start()
        relay.start()
        relay.relayctl("lane", "release", f"{LANE}~tls-optional")
        relay.relayctl("queue", "retry", "--all")
        self.assertEqual(len(self.there.wait_for(1)), 1)

    def test_what_it_does_not_waive(self) -> None:
        relay = self.by_dane()
        for what in (
            content("TLS-Required: Yes\r\n"),
            content("TLS-Required: No\r\nTLS-Required: No\r\n"),
            content("X-TLS-Required: No\r\n"),
            content("\r\nTLS-Required: No\r\n"),
        ):
            self.send(relay, what)
        relay.wait_for(1, "delayed")
        listed = relay.relayctl("queue", "list", "--json").stdout
        self.assertEqual(listed.count(f'"{LANE}"'), 4)
        self.assertNotIn("~", listed)

    def test_ignored_where_the_config_says_so(self) -> None:
        self.assert_waits(self.by_dane(honour_tls_required_no=False), WAIVES)

    def test_not_against_the_configs_own_demand(self) -> None:
        for tls in ("required", "verified"):
            self.assert_waits(self.by_dane(tls=tls), WAIVES)

    def test_requiretls_wins(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        certificate, key = Authority().issue("relay.test").write(folder)
        pair = {"certificate": str(certificate), "key": str(key)}
        relay = self.by_dane({"tls": "starttls", "certificates": [pair]})
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.starttls(context=context)
            session.sendmail(SENDER, ["a@one.mail.test"], WAIVES, ["REQUIRETLS"])
        (fact,) = relay.wait_for(1, "delayed")
        self.assertIn("451 4.7.4 TLS required", fact["reply"])
