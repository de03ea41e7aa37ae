"""Names to addresses: literals at once, both families, bounded in number and time."""

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.addresses import KEPT_FOR, LOOKUP_TIMEOUT, MAX_ADDRESSES, Addresses


class Resolver:
    """Answers when told."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver, host, addressTypes):
        self.asked.append(host)
        self.receiver = receiver
        receiver.resolutionBegan(None)

    def answer(self, *addresses):
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            self.receiver.addressResolved(kind("TCP", address, 0))
        self.receiver.resolutionComplete()


class AddressesTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = Clock()
        self.resolver = self.reactor.nameResolver = Resolver()

    def test_literals(self):
        for literal in ("192.0.2.1", "2001:db8::1"):
            found = self.successResultOf(Addresses(literal, self.reactor).find())
            self.assertEqual(list(found), [literal])
        self.assertEqual(self.resolver.asked, [])

    def test_both_families_in_the_resolvers_order(self):
        found = Addresses("mx.test", self.reactor).find()
        self.resolver.answer("2001:db8::1", "192.0.2.1", "192.0.2.1")
        self.assertEqual(list(self.successResultOf(found)), ["2001:db8::1", "192.0.2.1"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_bounded(self):
        found = Addresses("mx.test", self.reactor).find()
        self.resolver.answer(*[f"192.0.2.{n}" for n in range(100)])
        self.assertEqual(len(self.successResultOf(found)), MAX_ADDRESSES)

    def test_one_question_at_a_time(self):
        addresses = Addresses("mx.test", self.reactor)
        both = [addresses.find(), addresses.find()]
        self.resolver.answer("192.0.2.1")
        for found in both:
            self.assertEqual(list(self.successResultOf(found)), ["192.0.2.1"])
        self.assertEqual(self.resolver.asked, ["mx.test"])

    def test_kept_for_a_little_while(self):
        addresses = Addresses("mx.test", self.reactor)
        addresses.find()
        self.resolver.answer("192.0.2.1")
        self.reactor.advance(KEPT_FOR - 1)
        self.successResultOf(addresses.find())
        self.reactor.advance(1)
        self.assertNoResult(addresses.find())
        self.assertEqual(len(self.resolver.asked), 2)

    def test_not_found_is_asked_again(self):
        addresses = Addresses("mx.test", self.reactor)
        found = addresses.find()
        self.resolver.answer()
        self.assertEqual(list(self.successResultOf(found)), [])
        self.assertNoResult(addresses.find())

    def test_timeout(self):
        """The answer that comes too late is not taken for that of the next question."""
        addresses = Addresses("mx.test", self.reactor)
        found = addresses.find()
        late = self.resolver.receiver
        self.reactor.advance(LOOKUP_TIMEOUT)
        self.assertEqual(list(self.successResultOf(found)), [])
        second = addresses.find()
        late.resolutionComplete()
        self.assertNoResult(second)
        self.resolver.answer("192.0.2.1")
        self.assertEqual(list(self.successResultOf(second)), ["192.0.2.1"])
