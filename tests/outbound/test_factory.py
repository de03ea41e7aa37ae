"""The sessions of a host: reused, retired, opened within the window; and the end of it all."""

from relay.mail.outcome import Delayed, Relayed
from relay.outbound.delivery import Delivery
from relay.testing.upstream import OK, Act
from tests.outbound.case import DeliveryCase


class Counted:
    """Places enough for all, as of a supervisor."""

    used = 0

    def take(self, key, total, taken, recalled=None):
        self.used += 1
        taken(True)

    def give(self, key):
        self.used -= 1

    def is_recalled(self, key):
        return False


class SessionsTests(DeliveryCase):
    async def many(self, delivery, count):
        attempts = [self.deliver(delivery, f"{n}@x.test") for n in range(count)]
        return [await attempt for attempt in attempts]

    async def test_no_more_sessions_than_allowed(self):
        up = self.upstream()
        for attempt in await self.many(self.delivery(up, max_connections=3), 20):
            self.assert_kinds(attempt, Relayed)
        self.assertEqual(len(up.sessions), 3)
        self.assertEqual(len(up.accepted), 20)

    async def test_one_session_serves_what_comes_one_by_one(self):
        up = self.upstream()
        delivery = self.delivery(up)
        for _ in range(5):
            await self.deliver(delivery, "a@x.test")
        self.assertEqual(len(up.sessions), 1)

    async def test_retired_after_so_many(self):
        up = self.upstream()
        delivery = self.delivery(up, max_connections=1, max_messages_per_connection=2)
        await self.many(delivery, 5)
        self.assertEqual([t.session for t in up.accepted], [0, 0, 1, 1, 2])
        self.assertEqual(up.sessions[0].commands[-1], "QUIT")

    async def test_idle_session_says_quit(self):
        up = self.upstream()
        delivery = self.delivery(up, idle_timeout="0.2s")
        await self.deliver(delivery, "a@x.test")
        await up.when(lambda: not up.open_sessions)
        self.assertEqual(up.commands[-1], "QUIT")
        await self.until(lambda: not delivery.status()[0]["sessions"])

    async def test_quit_unanswered(self):
        up = self.upstream({"quit": Act.STALL})
        delivery = self.delivery(up, idle_timeout="0s", timeouts={"quit": "0.2s"})
        await self.deliver(delivery, "a@x.test")
        await up.when(lambda: not up.open_sessions)

    async def test_the_place_of_a_refused_session_is_free_once_that_is_gone(self):
        """Until then the host has it: another process would be one too many."""
        up = self.upstream({"connect": "554 5.7.1 not you", "quit": Act.STALL})
        places = Counted()
        settings = self.settings(up, timeouts={"quit": "0.3s"})
        delivery = Delivery({"up": settings}, "relay.test", self.reactor, places)
        self.addCleanup(delivery.stop, 0)
        await self.deliver(delivery, "a@x.test")
        self.assertEqual((1, 1), (len(up.open_sessions), places.used))
        await self.until(lambda: not places.used)
        self.assertFalse(up.open_sessions)
        dead = self.upstream()
        await dead.stop()
        delivery = Delivery({"up": self.settings(dead)}, "relay.test", self.reactor, places)
        self.addCleanup(delivery.stop, 0)
        await self.deliver(delivery, "a@x.test")
        self.assertEqual(0, places.used)

    async def test_closed_by_the_host_while_idle(self):
        up = self.upstream()
        delivery = self.delivery(up)
        await self.deliver(delivery, "a@x.test")
        up.sessions[0].transport.write(b"421 4.4.2 idle too long\r\n")
        up.sessions[0].transport.loseConnection()
        await self.until(lambda: not delivery.status()[0]["sessions"])
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)

    async def test_host_that_allows_only_two(self):
        """421 in the greeting beyond two sessions: all the mail goes over those two."""
        up = self.upstream()
        up.script["connect"] = ["220 hi", "220 hi", "421 4.7.0 too many connections"]
        delivery = self.delivery(up, max_connections=10)
        for attempt in await self.many(delivery, 30):
            self.assert_kinds(attempt, Relayed)
        self.assertEqual(delivery.status()[0]["window"], 2)

    async def test_all_that_wait_hear_of_a_dead_host(self):
        up = self.upstream({"connect": "554 5.3.2 no"})
        delivery = self.delivery(up, max_connections=2)
        for attempt in await self.many(delivery, 30):
            self.assertEqual(attempt.site.reply.code, 554)
        self.assertLessEqual(len(up.sessions), 2)
        self.assertEqual(delivery.status()[0]["window"], 1)

    async def test_more_waiting_than_sessions_allowed_for_a_dead_host(self):
        """Openings that fail make no room for further ones without end."""
        upstream = self.upstream()
        await upstream.stop()
        delivery = self.delivery(upstream, max_connections=4)
        attempts = [self.deliver(delivery, "one@x.test") for _ in range(50)]
        for attempt in attempts:
            attempt.addTimeout(10, self.reactor)
            self.assertIsNotNone((await attempt).site)

    async def test_slow_start_after_trouble(self):
        up = self.upstream({"connect": ["421 4.3.2 away", "220 back"]})
        delivery = self.delivery(up, max_connections=8)
        await self.deliver(delivery, "a@x.test")
        up.script["dot"] = Act.HOLD
        attempts = [self.deliver(delivery, f"{n}@x.test") for n in range(20)]
        self.assertEqual(delivery.status()[0]["window"], 1)
        await self.until(lambda: delivery.status()[0]["sessions"] == 8)
        up.script["dot"] = OK
        up.release()
        for attempt in attempts:
            self.assert_kinds(await attempt, Relayed)

    async def test_stale_sessions_all_at_once(self):
        """The upstream restarts under a full pool; every message still goes, uncharged."""
        up = self.upstream()
        delivery = self.delivery(up, max_connections=4)
        await self.many(delivery, 12)
        await up.stop()
        up.listen(self.reactor)
        for attempt in await self.many(delivery, 12):
            self.assert_kinds(attempt, Relayed)


class StopTests(DeliveryCase):
    async def test_idle(self):
        up = self.upstream()
        delivery = self.delivery(up)
        await self.deliver(delivery, "a@x.test")
        await delivery.stop(10)
        self.assertEqual(up.commands[-1], "QUIT")
        self.assertEqual(delivery.status()[0]["sessions"], 0)

    async def test_running_may_finish(self):
        up = self.upstream({"dot": Act.HOLD})
        delivery = self.delivery(up)
        attempt = self.deliver(delivery, "a@x.test")
        await up.when(lambda: up.transactions)
        stopped = delivery.stop(10)
        self.assertFalse(stopped.called)
        up.release()
        self.assert_kinds(await attempt, Relayed)
        await stopped

    async def test_what_takes_too_long_is_withdrawn(self):
        up = self.upstream({"mail": Act.STALL})
        delivery = self.delivery(up, max_connections=1)
        attempts = [self.deliver(delivery, f"{n}@x.test") for n in range(3)]
        await up.when(lambda: len(up.commands) > 1)
        await delivery.stop(0.1)
        for attempt in attempts:
            self.assertTrue((await attempt).is_withdrawn)
        late = await self.deliver(delivery, "a@x.test")
        self.assertTrue(late.is_withdrawn)

    async def test_after_the_final_dot_nobody_knows(self):
        up = self.upstream({"dot": Act.STALL})
        delivery = self.delivery(up)
        attempt = self.deliver(delivery, "a@x.test")
        await up.when(lambda: up.transactions)
        await delivery.stop(0.1)
        result = await attempt
        self.assert_kinds(result, Delayed)
        self.assertTrue(result.outcomes[1].is_unknown)

    async def test_while_connecting(self):
        up = self.upstream({"connect": Act.STALL})
        delivery = self.delivery(up)
        attempt = self.deliver(delivery, "a@x.test")
        await delivery.stop(0)
        self.assertTrue((await attempt).is_withdrawn)
