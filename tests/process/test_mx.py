"""A whole relay that delivers by MX, with a real resolver: from RCPT to the domain's own host."""

import json
import smtplib

from tests.interop.nameserver import NameServer
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, send
from tests.process.through_relay import ThroughRelay

ZONE = """\
one MX 10 mail
two MX 10 mail
xn--bcher-kva MX 10 mail
null MX 0 .
away MX 10 elsewhere
mail A 127.0.0.1
elsewhere A 127.0.0.9
"""


class MxTests(ThroughRelay):
    def setUp(self) -> None:
        self.collector_there = self.collector()
        self.home = self.collector()

    def by_mx(self, **queue: object) -> RelayProcess:
        names = NameServer({"mail.test": ZONE})
        self.addCleanup(names.stop)
        names.start()
        return self.relay(
            upstream("home", self.home.port),
            {"name": "internet", "hosts": [f"mx::{self.collector_there.port}"]},
            routes=[route("home", SENDER), route("internet")],
            queue=queue,
            top={"dns": {"servers": [str(names.address)]}},
        )

    def there(self) -> Collector:
        return self.collector_there

    def test_each_domain_gets_its_mail(self) -> None:
        relay = self.by_mx()
        send(relay.port, ["a@one.mail.test", "b@TWO.mail.test", "c@one.mail.test"])
        kept = self.there().wait_for(2)
        self.assertEqual(
            sorted(sorted(each.recipients) for each in kept),
            [["a@one.mail.test", "c@one.mail.test"], ["b@TWO.mail.test"]],
        )
        relay.wait_until_empty()
        (fact, *_) = relay.facts("relayed", recipient="b@TWO.mail.test")
        self.assertEqual(fact["upstream"], "internet")
        self.assertEqual(fact["host"], f"mail.mail.test[127.0.0.1]:{self.there().port}")

    def test_international_domain(self) -> None:
        relay = self.by_mx()
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as session:
            session.sendmail(SENDER, ["a@b\u00fccher.mail.test"], b"\r\nhello\r\n", ["SMTPUTF8"])
        self.assertEqual(self.there().wait_for(1)[0].recipients, ["a@b\u00fccher.mail.test"])

    def test_null_mx_is_returned_to_the_sender(self) -> None:
        relay = self.by_mx()
        send(relay.port, ["a@null.mail.test", "b@one.mail.test"])
        (report,) = self.home.wait_for(1)
        self.assertIn(b"Final-Recipient: rfc822; a@null.mail.test\r\n", report.content)
        self.assertIn(b"Status: 5.1.10\r\n", report.content)
        self.there().wait_for(1)
        relay.wait_until_empty()

    def test_a_domain_that_is_away_has_a_lane_of_its_own(self) -> None:
        relay = self.by_mx(retry=["1h"])
        send(relay.port, ["a@away.mail.test"])
        relay.wait_for(1, "delayed", recipient="a@away.mail.test")
        send(relay.port, ["a@one.mail.test"])
        self.there().wait_for(1)
        shown = relay.relayctl("lane", "list", "--json").stdout
        self.assertIn('"internet:away.mail.test"', shown)
        self.assertNotIn('"internet:one.mail.test"', shown)
        relay.restart()
        self.assertIn('"internet:away.mail.test"', relay.relayctl("lane", "list", "--json").stdout)
        self.assertEqual(relay.relayctl("queue", "remove", "--all", "--yes").returncode, 0)
        relay.restart()
        shown = relay.relayctl("lane", "list", "--json").stdout
        self.assertNotIn("away.mail.test", shown)

    def test_check_looks_at_the_hosts_of_a_domain(self) -> None:
        relay = self.by_mx()
        shown = relay.relayctl("check", "--live")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("none was tried; name a domain: --domain example.org", shown.stdout)
        shown = relay.relayctl("check", "--live", "--domain", "ONE.mail.test.")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("    MX:           preference 10\n", shown.stdout)
        self.assertIn("    policy:       opportunistic (DNSSEC does not vouch", shown.stdout)
        self.assertIn("    greeting:     220 ", shown.stdout)
        domains = ("one.mail.test", "b\u00fccher.mail.test", "null.mail.test")
        options = [word for domain in domains for word in ("--domain", domain)]
        told = relay.relayctl("check", "--live", "--json", *options)
        self.assertEqual(told.returncode, 1)  # no mail can go to the last
        found = [json.loads(line) for line in told.stdout.splitlines()]
        found = [each for each in found if each.get("domain")]
        self.assertEqual(found[1]["domain"], "xn--bcher-kva.mail.test")
        self.assertEqual(found[0]["host"], f"mail.mail.test[127.0.0.1]:{self.there().port}")
        self.assertIn("556 5.1.10", found[2]["trouble"])
        self.assertEqual(self.there().kept, [])

    def test_check_of_a_domain_is_for_mx_and_live(self) -> None:
        relay = self.relay(upstream("home", self.home.port))
        for words in (("--domain", "one.test"), ("--live", "--domain", "one.test")):
            refused = relay.relayctl("check", *words)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("--domain is for ", refused.stderr)
