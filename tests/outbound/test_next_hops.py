"""The names of lanes: an upstream's, or one for each domain."""

from twisted.trial.unittest import SynchronousTestCase

from relay.config import Route, Upstream
from relay.outbound.next_hops import NextHops, split_lane


class NextHopsTests(SynchronousTestCase):
    hops = NextHops(
        Upstream.model_validate({"name": name, "hosts": (host,)})
        for name, host in (("smarthost", "smtp://a"), ("internet", "mx:"))
    )

    def test_kinds(self):
        self.assertEqual(self.hops.fixed, ("smarthost",))
        self.assertEqual(self.hops.by_domain, {"internet"})

    def test_one_for_all(self):
        route = Route(upstream="smarthost")
        self.assertEqual(self.hops.lane_of(route, "a@example.org"), "smarthost")

    def test_of_mail_that_waives_tls(self):
        """Its lane stands beside that of the domain, where the config lets it."""
        self.assertEqual(self.hops.eased("smarthost"), "smarthost")
        lane = self.hops.eased("internet:example.org")
        self.assertEqual(lane, "internet:example.org~tls-optional")
        self.assertEqual(split_lane(lane), ("internet", "example.org"))
        keys = {"name": "internet", "hosts": ("mx:",), "honour_tls_required_no": False}
        deaf = NextHops([Upstream.model_validate(keys)])
        self.assertEqual(deaf.eased("internet:example.org"), "internet:example.org")

    def test_one_for_each_domain(self):
        route = Route(upstream="internet")
        for path, domain in (
            ("a@example.org", "example.org"),
            ("a@EXAMPLE.org", "example.org"),
            ('"a@b"@example.org', "example.org"),
            ("a@b\u00fccher.example", "xn--bcher-kva.example"),
            ("a@B\u00dcCHER.example", "xn--bcher-kva.example"),
            ("a@b\u00fccher\u3002example", "xn--bcher-kva.example"),
            ("a@[192.0.2.1]", "[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
            ("postmaster", ""),
            ("a@\u2028", "\u2028"),
        ):
            lane = self.hops.lane_of(route, path)
            self.assertEqual(lane, f"internet:{domain}", path)
            self.assertEqual(split_lane(lane), ("internet", domain))
