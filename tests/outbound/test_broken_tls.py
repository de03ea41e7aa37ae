"""Hosts with broken TLS: remembered for a time, and not without bound."""

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.broken_tls import MAX_REMEMBERED, REMEMBERED_FOR, BrokenTls


class BrokenTlsTests(SynchronousTestCase):
    def test_for_a_time(self):
        broken = BrokenTls()
        broken.note("a", 100)
        self.assertTrue(broken.is_broken("a", 100 + REMEMBERED_FOR - 1))
        self.assertFalse(broken.is_broken("b", 100))
        self.assertFalse(broken.is_broken("a", 100 + REMEMBERED_FOR))
        self.assertEqual(repr(broken), "<BrokenTls 0 hosts>")

    def test_forgotten(self):
        broken = BrokenTls()
        broken.note("a", 0)
        broken.forget("a")
        broken.forget("b")
        self.assertFalse(broken.is_broken("a", 1))

    def test_the_oldest_goes_when_it_is_full(self):
        broken = BrokenTls()
        for number in range(MAX_REMEMBERED):
            broken.note(str(number), number)
        broken.note("0", MAX_REMEMBERED)
        broken.note("new", MAX_REMEMBERED)
        now = MAX_REMEMBERED
        self.assertTrue(broken.is_broken("0", now) and broken.is_broken("new", now))
        self.assertFalse(broken.is_broken("1", now))
        self.assertEqual(repr(broken), f"<BrokenTls {MAX_REMEMBERED} hosts>")
