"""Mail by MX, from DNS to the host, with a real resolver and hosts on real sockets."""

from relay.config import Listener, SocketAddress
from relay.mail.outcome import Failed, Relayed
from tests.outbound.mx_case import MxCase

ZONE = """\
@ MX 10 first
@ MX 20 second
first A 127.0.0.1
second A 127.0.0.2
implicit A 127.0.0.1
both MX 10 v6and4
v6and4 AAAA ::1
v6and4 A 127.0.0.1
null MX 0 .
nullandmore MX 0 .
nullandmore MX 10 first
alias CNAME plain.test.
aliasedhost MX 10 cname
cname CNAME first
dangling MX 10 nowhere
hostless TXT "here without a host"
mixed MX 10 nowhere
mixed MX 20 first
silent MX 10 host.silent.test.
halfsilent MX 10 host.silent.test.
halfsilent MX 20 first
onlyus MX 10 relay.test.
wearesecond MX 10 first
wearesecond MX 20 relay.test.
wearesecond MX 30 second
wearefirst MX 10 relay.test.
wearefirst MX 20 first
byaddress MX 10 third
byaddress MX 20 first
third A 127.0.0.3
*.wild MX 10 first
xn--bcher-kva MX 10 first
equal MX 10 first
equal MX 10 second
many MX 10 first
"""


class MxTests(MxCase):
    zones = {"plain.test": ZONE, "signed.test": "broken MX 10 nowhere\n"}
    signed = frozenset({"signed.test"})
    spoilt = frozenset({"broken.signed.test."})

    async def test_first_host_takes_it(self):
        first = self.there()
        attempt = await self.send(self.by_mx(), "plain.test")
        self.assert_kinds(attempt, Relayed)
        self.assertEqual(attempt.outcomes[1].host, f"first.plain.test[127.0.0.1]:{self.port}")
        self.assertEqual(first.accepted[0].forward_paths, ["a@plain.test"])

    async def assert_at_first(self, domain, **more):
        first = self.there()
        self.assert_kinds(await self.send(self.by_mx(**more), domain), Relayed)
        self.assertEqual(len(first.accepted), 1)

    async def assert_failed(self, domain, code, status, words="", **more):
        attempt = await self.send(self.by_mx(**more), domain)
        self.assert_kinds(attempt, Failed)
        reply = attempt.outcomes[1].reply
        self.assertEqual((reply.code, reply.status), (code, status), reply)
        self.assertIn(words, str(reply))

    async def assert_waits(self, domain, words):
        attempt = await self.send(self.by_mx(), domain)
        self.assertEqual(attempt.outcomes, {})
        reply = attempt.site.reply
        self.assertEqual((reply.code, reply.status), (451, "4.4.3"), reply)
        self.assertIn(words, str(reply))

    async def test_next_host_where_the_first_is_away(self):
        second = self.there("127.0.0.2")
        delivery = self.by_mx()
        self.assert_kinds(await self.send(delivery, "plain.test"), Relayed)
        self.assertEqual(len(second.accepted), 1)

    async def test_a_failed_host_is_skipped_by_all_its_domains(self):
        self.there("127.0.0.2")
        delivery = self.by_mx()
        await self.send(delivery, "plain.test")
        await self.until(lambda: not delivery.status())
        first = self.there()
        await self.send(delivery, "equal.plain.test")
        self.assertEqual(first.sessions, [])
        delivery.forget_trouble("up:plain.test")
        await self.send(delivery, "plain.test")
        self.assertEqual(len(first.accepted), 1)

    async def test_all_hosts_away_is_the_sites_trouble(self):
        attempt = await self.send(self.by_mx(), "plain.test")
        self.assertEqual(attempt.outcomes, {})
        self.assertEqual(attempt.site.reply.status, "4.4.1")

    async def test_hosts_that_serve(self):
        for domain in (
            "implicit.plain.test",
            "nullandmore.plain.test",
            "alias.plain.test",
            "aliasedhost.plain.test",
            "mixed.plain.test",
            "halfsilent.plain.test",
            "wearesecond.plain.test",
            "any.thing.wild.plain.test",
            "xn--bcher-kva.plain.test",
            "[127.0.0.1]",
        ):
            with self.subTest(domain):
                first = self.there()
                self.assert_kinds(await self.send(self.by_mx(), domain), Relayed)
                self.assertEqual(len(first.accepted), 1)
                await first.stop()

    async def test_failures_for_good(self):
        for domain, code, status in (
            ("null.plain.test", 556, "5.1.10"),
            ("nothing.plain.test", 550, "5.1.2"),
            ("hostless.plain.test", 550, "5.4.4"),
            ("dangling.plain.test", 550, "5.4.4"),
            ("onlyus.plain.test", 554, "5.4.6"),
            ("wearefirst.plain.test", 554, "5.4.6"),
            ("", 550, "5.1.2"),
            ("b\u00fccher..test", 550, "5.1.2"),
            (f"{'x' * 64}.test", 550, "5.1.2"),
        ):
            with self.subTest(domain):
                await self.assert_failed(domain, code, status)

    async def test_what_nobody_knows_now_waits(self):
        await self.assert_waits("broken.signed.test", "SERVFAIL")
        await self.assert_waits("silent.plain.test", "in time")

    async def test_both_families(self):
        six = self.there("::1")
        delivery = self.by_mx(idle_timeout="0s")
        self.assert_kinds(await self.send(delivery, "both.plain.test"), Relayed)
        self.assertEqual(len(six.accepted), 1)
        await six.stop()
        four = self.there("127.0.0.1")
        self.assert_kinds(await self.send(delivery, "both.plain.test"), Relayed)
        self.assertEqual(len(four.accepted), 1)

    async def test_our_listeners_address(self):
        """A domain whose best host is where we listen ourselves: it would come back."""
        listener = Listener(name="l", address=SocketAddress("127.0.0.3", self.port))
        await self.assert_failed("byaddress.plain.test", 554, "5.4.6", listeners=(listener,))
        everywhere = Listener(name="l", address=SocketAddress("0.0.0.0", self.port))
        await self.assert_failed("byaddress.plain.test", 554, "5.4.6", listeners=(everywhere,))
        await self.assert_failed("[127.0.0.3]", 554, "5.4.6", listeners=(listener,))
        elsewhere = Listener(name="l", address=SocketAddress("127.0.0.3", self.port - 1))
        await self.assert_at_first("byaddress.plain.test", listeners=(elsewhere,))

    async def test_equal_hosts_share_the_load(self):
        first, second = self.there(), self.there("127.0.0.2")
        delivery = self.by_mx()
        for _ in range(40):
            await self.send(delivery, "equal.plain.test")
        self.assertGreater(len(first.accepted), 2)
        self.assertGreater(len(second.accepted), 2)

    async def test_domains_of_one_host_share_its_sessions(self):
        first = self.there()
        delivery = self.by_mx()
        for domain in ("plain.test", "many.plain.test", "mixed.plain.test"):
            await self.send(delivery, domain)
        self.assertEqual(len(first.sessions), 1)
        self.assertEqual(len(delivery.status()), 1)

    async def test_hosts_are_forgotten_when_idle(self):
        self.there()
        delivery = self.by_mx(idle_timeout="0.1s")
        await self.send(delivery, "plain.test")
        await self.until(lambda: not delivery.status())

    async def test_sessions_over_all_hosts(self):
        """One at a time: the idle session of one host gives way to another host's."""
        first, second = self.there(), self.there("127.0.0.2")
        delivery = self.by_mx(max_connections_in_all=1, idle_timeout="1h")
        for _ in range(2):
            for domain in ("plain.test", "[127.0.0.2]"):
                self.assert_kinds(await self.send(delivery, domain), Relayed)
        self.assertEqual((len(first.sessions), len(second.sessions)), (2, 2))
        self.assertLessEqual(len(first.open_sessions) + len(second.open_sessions), 1)

    async def test_stop_while_dns_is_asked(self):
        delivery = self.by_mx()
        attempt = self.send(delivery, "silent.plain.test")
        await delivery.stop(0.1)
        self.assertTrue((await attempt).is_withdrawn)
