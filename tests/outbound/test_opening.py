"""A host by its name: the system's resolver, and one address after the other."""

from twisted.internet.address import IPv4Address, IPv6Address

from relay.config import Upstream
from relay.mail.content import InlineContent
from relay.mail.outcome import Relayed
from relay.outbound.delivery import Delivery
from relay.testing.upstream import KEYWORDS
from tests.outbound.case import DeliveryCase


class NamedHostTests(DeliveryCase):
    def named(self, name, port):
        upstream = Upstream.model_validate({"name": "up", "hosts": (f"smtp://{name}:{port}",)})
        delivery = Delivery({"up": upstream}, "relay.test", self.reactor)
        self.addCleanup(delivery.stop, 0)
        return delivery

    def resolve_to(self, *addresses):
        """Only the answers are made up: all else is the reactor."""

        class Answers:
            def resolveHostName(self, receiver, name, *args, **kwargs):
                receiver.resolutionBegan(None)
                for address in addresses:
                    kind = IPv6Address if ":" in address else IPv4Address
                    receiver.addressResolved(kind("TCP", address, 0))
                receiver.resolutionComplete()

        self.addCleanup(
            self.reactor.installNameResolver, self.reactor.installNameResolver(Answers())
        )

    async def test_localhost(self):
        """::1 first on most machines, where nobody listens: then 127.0.0.1."""
        up = self.upstream()
        attempt = await self.deliver(self.named("localhost", up.port), "a@x.test")
        self.assert_kinds(attempt, Relayed)
        self.assertEqual(attempt.outcomes[1].host, f"localhost[127.0.0.1]:{up.port}")

    async def test_next_address(self):
        up = self.upstream({"connect": ["554 5.3.2 not here", "220 hi"]})
        self.resolve_to("::1", "127.0.0.2", "127.0.0.1", "127.0.0.1")
        delivery = self.named("mx.test", up.port)
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertEqual(attempt.site.reply.code, 554)
        self.assertEqual(attempt.site.host, f"mx.test[127.0.0.1]:{up.port}")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assert_kinds(attempt, Relayed)

    async def test_no_address(self):
        self.resolve_to()
        attempt = await self.deliver(self.named("nowhere.test", 25), "a@x.test")
        self.assertEqual(attempt.site.reply.status, "4.4.3")
        self.assertIn("no address found for nowhere.test", str(attempt.site.reply))
        self.assertEqual(attempt.site.host, "nowhere.test:25")


class ChoiceTests(DeliveryCase):
    """What an upstream's keys say of how to connect and to greet."""

    async def test_bind(self):
        up = self.upstream()
        delivery = self.delivery(up, bind="127.0.0.9")
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(up.sessions[0].transport.getPeer().host, "127.0.0.9")

    async def test_bind_to_an_address_of_the_other_kind(self):
        delivery = self.delivery(self.upstream(), bind="::1")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIn("127.0.0.1 has no address that can be reached from ::1", str(attempt.site))

    async def test_bind_to_what_is_not_ours(self):
        delivery = self.delivery(self.upstream(), bind="192.0.2.1")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIn("cannot connect from 192.0.2.1: ", str(attempt.site))

    async def test_helo(self):
        up = self.upstream()
        await self.deliver(self.delivery(up, helo="mail.example.net"), "a@x.test")
        self.assertEqual(up.commands[0], "EHLO mail.example.net")

    async def test_ignored_extensions(self):
        up = self.upstream(keywords=(*KEYWORDS, "CHUNKING"))
        content = InlineContent(b"Subject: x\r\n\r\nno line end")
        delivery = self.delivery(up, ignore_extensions=("CHUNKING", "SIZE"))
        await self.deliver(delivery, "a@x.test", content=content)
        self.assertIn("MAIL FROM:<sender@y.test>", up.commands)
        self.assertFalse(up.accepted[0].is_chunked)
