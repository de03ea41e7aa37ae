"""MTA-STS with a real resolver and HTTPS server: what each policy, and each trouble, does."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from twisted.internet import reactor
from twisted.internet.defer import succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from relay.mail.outcome import Relayed
from relay.outbound.sts import fetch, policies, refresh
from relay.outbound.web.https import NotFetched
from relay.queue.lane_book import EASED
from relay.testing.upstream import Act
from tests.certificates import Authority, self_signed
from tests.outbound.mx_case import MxCase
from tests.outbound.sts.policy_host import PolicyHost, policy
from tests.outbound.test_tls import server_context

AUTHORITY = Authority("MTA-STS root")
HOST = AUTHORITY.issue("mail.sts.test")
UNTRUSTED = self_signed("mail.sts.test")
WEB = AUTHORITY.issue("mta-sts.sts.test")

ZONE = """\
@ MX 10 mail
mail A 127.0.0.1
mta-sts A 127.0.0.7
_mta-sts TXT "v=STSv1; id=1;"
unpublished MX 10 mail
"""

VERIFIED, UNVERIFIED, PLAIN = "verified", "unverified", "plain"
NOT_TRUSTED = "451 4.7.5 certificate is self-signed"
NOT_ALLOWED = "451 4.7.5 the MTA-STS policy of sts.test does not allow mail.sts.test"


class SilentTests(TestCase):
    timeout = 20

    async def test_one_timeout_is_for_all_addresses(self) -> None:
        self.patch(fetch, "WITHIN", 0.2)
        silent = Factory.forProtocol(Protocol)
        port = reactor.listenTCP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        fetcher = fetch.PolicyFetcher(
            lambda host: succeed(["127.0.0.1"] * 3), None, reactor, port.getHost().port
        )
        with self.assertRaises(NotFetched):
            await fetcher.fetch("sts.test")


class StsTests(MxCase):
    zones: ClassVar = {"sts.test": ZONE}

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.web = PolicyHost(self, WEB)

    async def way(self, identity=HOST, domain="sts.test", delivery=None, lane="", **settings):
        """How the mail got there; else what kept it."""
        up = self.there(tls=identity and server_context(identity))
        delivery = delivery or self.sts(**settings)
        attempt = await self.deliver(delivery, "a@x", lane=f"up:{domain}{lane}")
        await up.stop()
        await self.until(lambda: not delivery.status())
        delivery.forget_trouble("up")
        if attempt.site is not None:
            self.assertEqual(attempt.outcomes, {})
            return str(attempt.site.reply)
        self.assert_kinds(attempt, Relayed)
        tls = attempt.outcomes[1].tls
        return VERIFIED if "verified" in tls else UNVERIFIED if tls else PLAIN

    def sts(self, **settings):
        ca = AUTHORITY.write(self.folder)
        more = {"folder": self.folder / "mta-sts", "https_port": self.web.port, **settings}
        return self.by_mx(ca_file=ca, **more)

    async def assert_way(self, wanted, *args, **more):
        found = await self.way(*args, **more)
        self.assertTrue(found.startswith(wanted), found)

    async def test_a_stop_does_not_wait_for_a_policy(self) -> None:
        self.web.is_silent = True
        delivery = self.sts()
        self.there()
        attempt = self.send(delivery, "sts.test")
        await self.until(lambda: self.web.asked)
        await delivery.stop(0.1)
        self.assertTrue((await attempt).is_withdrawn)

    # --- policies -----------------------------------------------------------------------------

    async def test_enforce(self):
        await self.assert_way(VERIFIED)
        self.assertEqual(self.web.asked, ["mta-sts.sts.test/.well-known/mta-sts.txt"])
        await self.assert_way(NOT_TRUSTED, UNTRUSTED)
        await self.assert_way("451 4.7.4 TLS required", None)
        wrong = AUTHORITY.issue("other.sts.test")
        await self.assert_way("451 4.7.5 certificate is for other.sts.test", wrong)

    async def test_host_that_is_not_allowed(self):
        self.web.text = policy(mx="other.sts.test")
        await self.assert_way(NOT_ALLOWED)

    async def test_wildcard(self):
        self.web.text = policy(mx="*.sts.test")
        await self.assert_way(VERIFIED)

    async def test_testing_holds_nothing_up(self):
        self.web.text = policy("testing", "other.sts.test")
        await self.assert_way(UNVERIFIED, UNTRUSTED)
        await self.assert_way(PLAIN, None)

    async def test_none(self):
        self.web.text = policy("none")
        await self.assert_way(PLAIN, None)

    async def test_not_published(self):
        await self.assert_way(PLAIN, None, "unpublished.sts.test")
        self.assertEqual(self.web.asked, [])

    async def test_demanded(self):
        await self.assert_way(VERIFIED, tls="mta-sts")
        await self.assert_way(
            "451 4.7.5 MTA-STS is demanded, and unpublished.sts.test publishes no policy",
            domain="unpublished.sts.test",
            tls="mta-sts",
        )

    async def test_waived_by_the_mail(self):
        """It says TLS-Required: No (RFC 8689)."""
        for tls in ("auto", "mta-sts"):
            await self.assert_way(UNVERIFIED, UNTRUSTED, tls=tls, lane=EASED)
            await self.assert_way(PLAIN, None, tls=tls, lane=EASED)
        await self.assert_way(NOT_TRUSTED, UNTRUSTED, honour_tls_required_no=False, lane=EASED)
        self.web.text = policy(mx="other.sts.test")
        await self.assert_way(PLAIN, None, lane=EASED)

    async def test_demanded_while_it_is_tested(self):
        self.web.text = policy("testing")
        await self.assert_way(NOT_TRUSTED, UNTRUSTED, tls="mta-sts")

    # --- trouble with the fetch ---------------------------------------------------------------

    async def test_troubles_that_are_no_policy(self):
        """Without a policy from before, mail goes as if there were none (RFC 8461 5.1)."""
        self.patch(fetch, "WITHIN", 1.0)
        for trouble in (
            {"code": 404},
            {"code": 500},
            {"code": 301, "location": "https://mta-sts.sts.test/other"},
            {"text": "<html>"},
            {"text": policy() + "x" * (64 << 10)},
            {"kind": "text/html"},
            {"is_silent": True},
        ):
            with self.subTest(trouble):
                self.web = PolicyHost(self, WEB)
                self.web.__dict__.update(trouble)
                await self.assert_way(UNVERIFIED, UNTRUSTED)
                self.assertEqual(len(self.web.asked), 1)
                waits = "451 4.7.5 MTA-STS is demanded"
                await self.assert_way(waits, UNTRUSTED, tls="mta-sts")

    async def test_policy_host_that_is_not_verified(self):
        expired = AUTHORITY.issue("mta-sts.sts.test", valid_until=-timedelta(hours=1))
        for identity in (self_signed("mta-sts.sts.test"), AUTHORITY.issue("sts.test"), expired):
            self.web.serve(identity)
            await self.assert_way(UNVERIFIED, UNTRUSTED)
            self.assertEqual(self.web.asked, [])

    async def test_kept_when_it_cannot_be_fetched_any_more(self):
        await self.assert_way(VERIFIED)
        self.web.code = 404
        self.patch(policies, "REFRESH_AFTER", -1.0)
        delivery = self.sts()
        for _ in range(2):
            await self.assert_way(NOT_TRUSTED, UNTRUSTED, delivery=delivery)
        await self.pause(0.3)
        self.assertEqual(len(self.web.asked), 2)  # the failed one is not repeated at once

    async def test_refreshed_in_time(self):
        await self.assert_way(VERIFIED)
        self.web.text = policy("none")
        self.patch(policies, "REFRESH_AFTER", -1.0)
        delivery = self.sts()
        await self.assert_way(NOT_TRUSTED, UNTRUSTED, delivery=delivery)
        await self.until(lambda: len(self.web.asked) == 2)
        ways = [await self.way(UNTRUSTED, delivery=delivery)]
        while ways[-1].startswith(NOT_TRUSTED):  # until its answer has been read
            ways.append(await self.way(UNTRUSTED, delivery=delivery))
        self.assertEqual(UNVERIFIED, ways[-1])

    async def test_refreshed_without_mail(self):
        """Also where the announcement is hidden: it is not asked for."""
        self.patch(refresh, "ROUND_EVERY", 0.1)
        self.patch(refresh, "STEP", 0.01)
        await self.assert_way(VERIFIED)
        self.patch(policies, "REFRESH_AFTER", 0.5)
        self.web.text = policy("none", max_age=3600)
        delivery = self.sts()
        delivery.directory.begin_refreshing()
        await self.until(lambda: len(self.web.asked) == 2)
        await self.until(lambda: '"mode": "none"' in self.kept_text())
        await self.pause(0.7)
        self.assertEqual(len(self.web.asked), 2)  # such a policy is let run out
        await self.assert_way(UNVERIFIED, UNTRUSTED)

    async def test_no_refresh_is_left_behind_at_the_end(self):
        self.patch(refresh, "ROUND_EVERY", 0.1)
        await self.assert_way(VERIFIED)
        self.patch(policies, "REFRESH_AFTER", -1.0)
        self.web.is_silent = True
        delivery = self.sts()
        delivery.directory.begin_refreshing()
        await self.until(lambda: len(self.web.asked) == 2)
        await delivery.stop(10)
        self.assertIn('"mode": "enforce"', self.kept_text())

    async def test_a_reload_goes_on_with_what_is_being_refreshed(self):
        """Where renewed certificates reload the relay each hour, a round would never end."""
        self.patch(refresh, "ROUND_EVERY", 0.1)
        await self.assert_way(VERIFIED)
        self.patch(policies, "REFRESH_AFTER", -1.0)
        self.web.is_silent = True
        delivery = self.sts()
        delivery.directory.begin_refreshing()
        await self.until(lambda: len(self.web.asked) == 2)
        ways = {"up": delivery._every_hop["up"].upstream}
        (refresher,) = delivery.directory._refreshers
        delivery.take(delivery.prepare(ways, "relay.test", delivery.directory))
        self.assertIn("1 under way", repr(refresher))
        up = self.there(script={"rcpt": Act.STALL}, tls=server_context(HOST))
        attempt = self.send(delivery, "sts.test")
        await self.until(lambda: up.sessions)
        delivery.take(delivery.prepare({}, "relay.test", None))
        self.assertIn("stopped", repr(refresher), "also where an attempt uses the directory yet")
        await delivery.stop(0)
        await attempt

    def kept_text(self) -> str:
        (file,) = self.folder.glob("mta-sts*/*.json")
        return file.read_text()

    async def test_expired(self):
        self.web.text = policy(max_age=0)
        await self.assert_way(UNVERIFIED, UNTRUSTED)

    async def test_asked_once_for_many_messages(self):
        up = self.there(tls=server_context(HOST))
        delivery = self.sts()
        attempts = [self.send(delivery, "sts.test") for _ in range(10)]
        for attempt in attempts:
            self.assert_kinds(await attempt, Relayed)
        self.assertEqual(len(self.web.asked), 1)
        self.assertEqual(len(up.accepted), 10)

    async def test_too_many_fetches(self):
        self.patch(policies, "MAX_FETCHES", 0)
        await self.assert_way("451 4.7.5 the MTA-STS policy of sts.test is not fetched yet")

    async def test_too_many_fetches_of_one_owner(self):
        """Those of others go on."""
        self.patch(policies, "MAX_OF_ONE_OWNER", 1)
        self.web.is_silent = True
        delivery = self.sts()
        self.there(tls=server_context(HOST))
        waiting = self.send(delivery, "sts.test")
        await self.until(lambda: self.web.asked)
        kept = delivery.directory._refreshers[0]._policies
        self.assertTrue(kept._is_full("other.sts.test"))
        self.assertFalse(kept._is_full("sts.example"))
        await delivery.stop(0.1)
        self.assertTrue((await waiting).is_withdrawn)

    def test_owners(self):
        for domain, owner in {
            "example.org": "example.org",
            "a.b.example.org": "example.org",
            "a.example.co.uk": "example.co.uk",
            "example.co.uk": "example.co.uk",
            "ibm.de": "ibm.de",
            "test": "test",
        }.items():
            self.assertEqual(owner, policies.owner_of(domain), domain)

    async def test_a_new_id(self):
        await self.assert_way(VERIFIED)
        self.web.text = policy("none")
        (file,) = self.folder.glob("mta-sts*/*.json")
        file.write_text(file.read_text().replace('"id": "1"', '"id": "0"'))
        await self.assert_way(UNVERIFIED, UNTRUSTED)
