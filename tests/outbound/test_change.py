"""Another config of upstreams: those that changed get new sessions, attempts end where they run."""

from pathlib import Path

from twisted.internet.defer import gatherResults

from relay.mail.outcome import Attempt, Relayed
from relay.testing.upstream import Act
from tests.certificates import Authority
from tests.outbound.case import DeliveryCase
from tests.outbound.identity.token_server import write_private


class ChangeTests(DeliveryCase):
    def change(self, delivery, *upstreams, hostname="relay.test") -> frozenset[str]:
        renewal = delivery.prepare({each.name: each for each in upstreams}, hostname, None)
        delivery.take(renewal)
        return renewal.changed

    async def test_what_is_as_before_keeps_its_sessions(self) -> None:
        upstream = self.upstream()
        delivery = self.delivery(upstream)
        await self.deliver(delivery, "one@x.test")
        self.assertEqual(frozenset(), self.change(delivery, self.settings(upstream)))
        await self.deliver(delivery, "two@x.test")
        self.assertEqual(1, len(upstream.sessions))

    async def test_what_has_changed_gets_new_ones(self) -> None:
        upstream, other = self.upstream(), self.upstream()
        delivery = self.delivery(upstream)
        await self.deliver(delivery, "one@x.test")
        self.assertEqual({"up"}, self.change(delivery, self.settings(other)))
        self.assert_kinds(await self.deliver(delivery, "two@x.test"), Relayed)
        self.assertEqual((1, 1), (len(upstream.sessions), len(other.sessions)))
        await self.until(lambda: not delivery._retired)

    async def test_a_new_hostname_is_said(self) -> None:
        upstream = self.upstream()
        delivery = self.delivery(upstream)
        changed = self.change(delivery, self.settings(upstream), hostname="new.test")
        self.assertEqual({"up"}, changed)
        named = self.settings(upstream, helo="its.own.test")
        self.change(delivery, named, hostname="new.test")
        self.assertEqual(frozenset(), self.change(delivery, named, hostname="other.test"))

    async def test_files_of_authorities_may_hold_something_else_by_now(self) -> None:
        upstream = self.upstream()
        folder = Path(self.mktemp())
        folder.mkdir()
        file = str(Authority().write(folder))
        oauth = {
            "grant": "refresh-token",
            "token_url": "https://127.0.0.1:1/",
            "client_id": "client",
            "refresh_token_file": write_private(folder, "refresh", "refresh-1"),
        }
        login = {"user": "me", "oauth": oauth}
        trusting = {"user": "me", "oauth": {**oauth, "ca_file": file}}
        identity = {"name": "i", "senders": ("a@x",), **trusting}
        for settings, changed in (
            (login, set()),
            (trusting, {"up"}),
            ({**login, "ca_file": file}, {"up"}),
            ({**login, "identity": (identity,)}, {"up"}),
        ):
            settings = {"tls": "required", **settings}
            delivery = self.delivery(upstream, **settings)
            self.assertEqual(changed, self.change(delivery, self.settings(upstream, **settings)))

    async def test_an_attempt_ends_where_it_runs(self) -> None:
        upstream, other = self.upstream(), self.upstream()
        delivery = self.delivery(upstream)
        attempts = [self.deliver(delivery, f"{n}@x.test") for n in range(5)]
        self.change(delivery, self.settings(other))
        for attempt in await gatherResults(attempts):
            self.assert_kinds(attempt, Relayed)
        self.assertEqual(0, len(other.sessions))
        await self.until(lambda: not delivery._retired)

    async def test_what_waits_for_its_turn_goes_back_untried(self) -> None:
        upstream = self.upstream()
        delivery = self.delivery(upstream, max_rate="1/h")
        await self.deliver(delivery, "one@x.test")
        waits = self.deliver(delivery, "two@x.test")
        self.change(delivery, self.settings(upstream))
        self.assertEqual(Attempt(is_withdrawn=True), await waits)

    async def test_the_stop_ends_attempts_on_former_ones(self) -> None:
        stalling, other = self.upstream({"rcpt": Act.STALL}), self.upstream()
        delivery = self.delivery(stalling)
        attempt = self.deliver(delivery, "one@x.test")
        await self.until(lambda: stalling.sessions)
        self.change(delivery, self.settings(other))
        await delivery.stop(0.05)
        self.assertTrue(self.successResultOf(attempt).is_withdrawn)
