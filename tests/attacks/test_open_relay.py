"""The classic ways to make a relay send to strangers, against a gateway for one domain."""

from tests.attacks.dialogue import Rude
from tests.process.relay_process import route, upstream
from tests.process.through_relay import ThroughRelay

VICTIM = "victim@elsewhere.example"

RECIPIENTS = (
    f"<{VICTIM}>",
    VICTIM,
    f'"{VICTIM}"',
    f'<"{VICTIM}">',
    "<victim%elsewhere.example@example.org>",
    '<"victim%elsewhere.example"@example.org>',
    "<victim%elsewhere.example>",
    "<victim%elsewhere.example@[127.0.0.1]>",
    "<victim%elsewhere.example@relay.example.net>",
    "<victim%elsewhere.example@localhost>",
    f'<"{VICTIM}"@example.org>',
    f'<"{VICTIM}"@[127.0.0.1]>',
    f"<{VICTIM}@example.org>",
    f"<@example.org:{VICTIM}>",
    f"<@[127.0.0.1]:{VICTIM}>",
    f"<@relay.example.net,@example.org:{VICTIM}>",
    "<elsewhere.example!victim@example.org>",
    "<elsewhere.example!victim@[127.0.0.1]>",
    "<elsewhere.example!victim>",
    "<victim@[192.0.2.99]>",
    "<victim@[IPv6:2001:db8::99]>",
    "<victim@elsewhere.example.>",
    "<victim@elsewhere.example\u3002example.org>",
    "<victim@elsewhere.example,victim@example.org>",
    f"<someone@example.org> <{VICTIM}>",
    f"<someone@example.org>,<{VICTIM}>",
    f"<someone@example.org\\>{VICTIM}>",
    "<victim@example.org.elsewhere.example>",
    "<victim@elsewhereexample.org>",
    "<>",
    "<@example.org>",
    "<victim>",
)

SENDERS = (
    "<attacker@elsewhere.example>",
    "<someone@example.org>",
    "<someone@relay.example.net>",
    "<someone@[127.0.0.1]>",
    "<someone@localhost>",
    "<>",
)
"""None of them, a local one neither, is a reason to relay."""


class OpenRelayTests(ThroughRelay):
    def test_no_form_of_address_reaches_a_stranger(self) -> None:
        for delivery in ("store", "hybrid", "proxy"):
            with self.subTest(delivery):
                self.probe(delivery)

    def probe(self, delivery: str) -> None:
        collector = self.collector()
        relay = self.relay(
            upstream("main", collector.port),
            routes=[route("main", delivery=delivery)],  # it would lead anywhere
            listener={
                "relay_networks": ["192.0.2.0/24"],
                "accept_recipients": ["*@example.org"],
                "max_errors": 1000,
            },
        )
        with Rude(relay.port) as client:
            client.say("EHLO relay.example.net")
            for sender in SENDERS:
                self.assertRegex(client.say(f"MAIL FROM:{sender}"), "^250")
                for recipient in RECIPIENTS:
                    said = client.say(f"RCPT TO:{recipient}")
                    self.assertRegex(said, "^55[03] 5|^50[01] 5|^555 5", f"{sender} {recipient}")
                self.assertRegex(client.say("DATA"), "^5")
                client.say("RSET")
            client.say("MAIL FROM:<attacker@elsewhere.example>")
            self.assertRegex(client.say("RCPT TO:<someone@example.org>"), "^250")
        self.assertEqual(
            [],
            [
                line
                for line in collector.commands
                if "elsewhere.example>" in line and line.startswith("RCPT")
            ],
        )
        self.assertEqual([], collector.kept)
