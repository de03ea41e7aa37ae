"""Whom an IP address is counted as."""

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.ip_address import key_of


class KeyTests(SynchronousTestCase):
    def test_whom_an_address_is_counted_as(self) -> None:
        for address, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ):
            self.assertEqual(key_of(ip_address(address)), key)
