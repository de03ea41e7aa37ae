"""Replies that mean too much mail: the lane's trouble, not the message's."""

from relay.config.profiles import PROFILES
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


class ProfileTests(DeliveryCase):
    """What providers say, to whom it applies."""

    def delivery(self, up, profile):
        return super().delivery(up, throttle_replies=PROFILES[profile]["throttle_replies"])

    async def test_a_spent_day_fails_nothing(self):
        for profile, step, said in (
            ("gmail", "mail", "550 5.4.5 Daily user sending limit exceeded. gsmtp"),
            ("gmail-relay", "rcpt", "550 5.4.5 Daily SMTP relay limit exceeded for user. gsmtp"),
            ("gmail-relay", "dot", "550 5.7.1 Daily SMTP relay limit exceeded for customer."),
            ("gmail-relay", "rcpt", "450 4.2.1 Peak SMTP relay limit exceeded for customer."),
            (
                "m365",
                "dot",
                "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed",
            ),
            ("ses", "dot", "454 Throttling failure: Daily message quota exceeded."),
        ):
            up = self.upstream({step: said})
            attempt = await self.deliver(self.delivery(up, profile), "a@x.test")
            self.assertEqual(attempt.outcomes, {}, said)
            self.assertEqual(str(attempt.site.reply), said)

    async def test_what_is_about_one_message_still_is(self):
        for profile, said in (
            ("gmail", "550 5.7.1 This message violates example.com email policy"),
            ("gmail-relay", "550 5.7.1 Invalid credentials for relay"),
            ("m365", "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceeded"),
        ):
            up = self.upstream({"dot": said})
            self.assert_kinds(await self.deliver(self.delivery(up, profile), "a@x.test"), Failed)

    async def test_a_busy_recipient_delays_nobody_else(self):
        said = "450 4.2.1 The user you are trying to contact is receiving mail too quickly."
        up = self.upstream({"rcpt:busy@*": said})
        delivery = self.delivery(up, "gmail-relay")
        for others in ((), ("idle@x.test",)):
            attempt = await self.deliver(delivery, "busy@x.test", *others)
            self.assert_kinds(attempt, Delayed, *(Relayed for _ in others))
            self.assertIsNone(attempt.site)
