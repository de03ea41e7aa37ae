"""Whether a mail host is this relay."""

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Listener, SocketAddress
from relay.outbound.dns.ourselves import Ourselves


class OurselvesTests(SynchronousTestCase):
    def test_table(self):
        for listens, address, is_us in (
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "127.0.0.2", False),
            ("0.0.0.0", "127.0.0.2", True),
            ("0.0.0.0", "192.0.2.1", False),
            ("0.0.0.0", "::1", False),
            ("::", "::1", True),
            ("::", "127.0.0.1", True),
            ("::", "2001:db8::1", False),
            ("127.0.0.1", "::ffff:127.0.0.1", True),
            ("127.0.0.1", "::ffff:192.0.2.1", False),
        ):
            listener = Listener(name="l", address=SocketAddress(listens, 25))
            ourselves = Ourselves("Relay.test", (listener,), 25)
            self.assertEqual(ourselves.is_us("", address), is_us, (listens, address))
            elsewhere = Ourselves("Relay.test", (listener,), 26)
            self.assertFalse(elsewhere.is_us("", address))
            self.assertTrue(elsewhere.is_us("relay.test", ""))
            self.assertFalse(elsewhere.is_us("mail.relay.test", ""))

    def test_an_address_of_no_host_leads_to_this_machine(self):
        ourselves = Ourselves("relay.test", (), 25)
        for address in ("0.0.0.0", "::", "::ffff:0.0.0.0"):
            self.assertTrue(ourselves.is_us("", address), address)
