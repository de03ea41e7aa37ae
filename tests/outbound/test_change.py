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

    async def test_together_they_have_no_more_sessions_than_the_later_may(self) -> None:
        upstream = self.upstream({"dot": [Act.HOLD] * 3 + ["250 2.0.0 ok"]})
        delivery = self.delivery(upstream, max_connections=3)
        attempts = [self.deliver(delivery, f"{n}@x.test") for n in range(9)]
        await self.until(lambda: len(upstream.open_sessions) == 3)
        for seconds in ("7s", "8s"):
            changed = self.settings(upstream, max_connections=3, idle_timeout=seconds)
            self.assertEqual({"up"}, self.change(delivery, changed))
            attempts += [self.deliver(delivery, f"{seconds}{n}@x.test") for n in range(9)]
        await self.pause(0.3)
        self.assertEqual(3, len(upstream.sessions))
        most = 0

        def count() -> bool:
            nonlocal most
            most = max(most, len(upstream.open_sessions))
            return all(attempt.called for attempt in attempts)

        upstream.release()
        await self.until(count)
        for attempt in attempts:
            self.assert_kinds(self.successResultOf(attempt), Relayed)
        self.assertLessEqual(most, 3)
        await self.until(lambda: not delivery._retired)

    async def test_the_later_one_has_its_turn_when_the_former_cannot_open_any(self) -> None:
        upstream = self.upstream({"connect": [Act.STALL] * 3 + ["220 upstream.test ESMTP"]})
        settings = {"max_connections": 3, "timeouts": {"greeting": "0.3s"}}
        delivery = self.delivery(upstream, **settings)
        former = [self.deliver(delivery, f"{n}@x.test") for n in range(3)]
        self.change(delivery, self.settings(upstream, **settings, idle_timeout="7s"))
        later = self.deliver(delivery, "later@x.test")
        for attempt in await gatherResults(former):
            self.assertIsNotNone(attempt.site)
        self.assert_kinds(await later, Relayed)
        self.assertEqual(4, len(upstream.sessions))

    async def test_one_between_them_had_nothing_to_do(self) -> None:
        upstream = self.upstream({"dot": [Act.HOLD, "250 2.0.0 ok"]})
        delivery = self.delivery(upstream, max_connections=1)
        held = self.deliver(delivery, "one@x.test")
        await self.until(lambda: upstream.sessions)
        for seconds in ("7s", "8s"):
            changed = self.settings(upstream, max_connections=1, idle_timeout=seconds)
            self.change(delivery, changed)
        later = self.deliver(delivery, "two@x.test")
        await self.pause(0.1)
        self.assertEqual(1, len(upstream.sessions))
        upstream.release()
        for attempt in (held, later):
            self.assert_kinds(await attempt, Relayed)

    async def test_what_the_former_s_attempts_still_need_is_one_session(self) -> None:
        """They come to a host where the later one has all sessions that it may have."""
        first = self.upstream({"mail": Act.HOLD, "rcpt": "450 4.2.0 busy"})
        second = self.upstream({"dot": Act.HOLD})
        delivery = self.delivery(first, second, max_connections=2)
        former = [self.deliver(delivery, f"{n}@x.test") for n in range(2)]
        await self.until(lambda: len(first.open_sessions) == 2)
        self.change(delivery, self.settings(second, first, max_connections=2))
        later = [self.deliver(delivery, f"later{n}@x.test") for n in range(2)]
        await self.until(lambda: len(second.open_sessions) == 2)
        first.release()
        await self.until(lambda: len(second.open_sessions) > 2)
        await self.pause(0.1)
        self.assertEqual(3, len(second.open_sessions))
        second.script["dot"] = "250 2.0.0 ok"
        second.release()
        for attempt in await gatherResults([*former, *later]):
            self.assert_kinds(attempt, Relayed)

    async def test_at_another_host_it_need_not_wait(self) -> None:
        upstream, other = self.upstream({"dot": Act.HOLD}), self.upstream()
        delivery = self.delivery(upstream, max_connections=1)
        held = self.deliver(delivery, "one@x.test")
        await self.until(lambda: upstream.sessions)
        self.change(delivery, self.settings(other, max_connections=1))
        self.assert_kinds(await self.deliver(delivery, "two@x.test"), Relayed)
        upstream.release()
        self.assert_kinds(await held, Relayed)

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
