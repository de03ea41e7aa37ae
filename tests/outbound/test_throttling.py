"""Replies that mean too much mail: the lane's trouble, not the message's."""

from relay.mail.outcome import Delayed, Failed, Relayed
from tests.outbound.case import DeliveryCase

THROTTLED = "454 Throttling failure: Maximum sending rate exceeded."


class ThrottlingTests(DeliveryCase):
    def delivery(self, *upstreams, **settings):
        replies = {"throttle_replies": ("454 Throttling failure",)}
        return super().delivery(*upstreams, **replies, **settings)

    async def test_at_each_step(self):
        for step in ("mail", "rcpt", "data", "dot"):
            up = self.upstream({step: [THROTTLED, "250 ok" if step != "data" else "354 go on"]})
            delivery = self.delivery(up)
            attempt = await self.deliver(delivery, "a@x.test", "b@x.test")
            if step == "rcpt":  # the second one was taken, and mail for it goes
                self.assertIsInstance(attempt.outcomes[2], Relayed)
            else:
                self.assertEqual(attempt.outcomes, {}, step)
                self.assertEqual(str(attempt.site.reply), THROTTLED)
                self.assertFalse(attempt.site.is_refusal)

    async def test_other_replies_are_the_message_s(self):
        up = self.upstream({"dot": "454 4.7.0 other"})
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Delayed)
        up = self.upstream({"dot": "554 Throttling failure"})
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Failed)

    async def test_what_was_decided_stays_decided(self):
        up = self.upstream({"rcpt:a@*": "550 5.1.1 no", "dot": THROTTLED})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Failed, Delayed)
        self.assertIsNone(attempt.site)
