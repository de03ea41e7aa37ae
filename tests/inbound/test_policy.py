"""Who may send to whom: a truth table."""

from twisted.trial.unittest import SynchronousTestCase

from relay.config.listener import Listener
from relay.config.schema import Route
from relay.inbound.policy import NO_ROUTE, RELAYING_DENIED, SOURCE_ROUTED, Policy


def policy(postmaster: str | None = None, **keys: object) -> Policy:
    listener = Listener.model_validate({"name": "lan", "address": "127.0.0.1:0", **keys})
    route = Route(upstream="lane")
    return Policy(listener, lambda to, by, at: None if "nowhere" in to else route, postmaster)


class TrustTests(SynchronousTestCase):
    def test_loopback_alone_by_default(self) -> None:
        default = policy()
        trusted = {host: default.trusts(host) for host in ("127.0.0.1", "::1", "192.0.2.1")}
        self.assertEqual({"127.0.0.1": True, "::1": True, "192.0.2.1": False}, trusted)

    def test_a_mapped_address_counts_as_v4(self) -> None:
        lan = policy(relay_networks=("192.0.2.0/24",))
        self.assertTrue(lan.trusts("::ffff:192.0.2.9"))
        self.assertFalse(lan.trusts("::ffff:198.51.100.1"))
        self.assertFalse(policy(relay_networks=("::/0",)).trusts("::ffff:192.0.2.9"))

    def test_a_zone_is_no_matter(self) -> None:
        self.assertTrue(policy(relay_networks=("fe80::/10",)).trusts("fe80::1%eth0"))


class JudgeTests(SynchronousTestCase):
    def judge(self, asked: Policy, is_trusted: bool, path: str) -> object:
        refusal, _, route = asked.judge(is_trusted, "s@x.example", path)
        return refusal or (route and route.upstream)

    def test_the_trusted_may_send_wherever_a_route_leads(self) -> None:
        self.assertEqual("lane", self.judge(policy(), True, "a@anywhere.example"))
        self.assertEqual(NO_ROUTE, self.judge(policy(), True, "a@nowhere.example"))

    def test_strangers_may_not(self) -> None:
        self.assertEqual(RELAYING_DENIED, self.judge(policy(), False, "a@anywhere.example"))

    def test_but_to_a_gateways_own_domains(self) -> None:
        gateway = policy(accept_recipients=("*@example.net",))
        self.assertEqual("lane", self.judge(gateway, False, "a@EXAMPLE.net"))
        for path in ("a@example.net.evil.example", "a@evil.example", "example.net", "postmaster"):
            self.assertEqual(RELAYING_DENIED, self.judge(gateway, False, path), path)

    def test_no_way_around_by_the_local_part(self) -> None:
        gateway = policy(accept_recipients=("*@example.net",))
        for local in ("a%evil.example", "evil.example!a", '"a@evil.example"', '"a%b"'):
            path = f"{local}@example.net"
            self.assertEqual(SOURCE_ROUTED, self.judge(gateway, False, path), path)
            self.assertEqual("lane", self.judge(gateway, True, path), path)

    def test_postmaster_is_always_reached_where_there_is_one(self) -> None:
        refusal, path, route = policy("pm@example.net").judge(False, "", "postmaster")
        self.assertEqual((None, "pm@example.net", True), (refusal, path, route is not None))
