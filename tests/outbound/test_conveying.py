"""What upstreams that trust us are told of a client, and whom a session belongs to then."""

from dataclasses import replace

from twisted.internet.defer import Deferred

from relay.mail.envelope import Envelope, Recipient
from relay.mail.outcome import Relayed
from relay.testing.upstream import KEYWORDS, Act
from tests.outbound.case import ORIGIN, DeliveryCase

XCLIENT = "XCLIENT NAME ADDR PORT PROTO HELO REVERSE_NAME"
TELLS = "XCLIENT PROTO=ESMTP HELO=mail.example NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]"
TELLS += " PORT=4711 ADDR=192.0.2.7"
XFORWARD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
ANOTHER = replace(ORIGIN, client="192.0.2.8:4712", session="S2")
ENVELOPE = Envelope("s@y.test", ())
RECIPIENT = Recipient(1, "r@x.test")


class XforwardTests(DeliveryCase):
    def trusting(self, script=None, keywords=(*KEYWORDS, XFORWARD)):
        return self.upstream({"xforward": "250 2.0.0 ok", **(script or {})}, keywords=keywords)

    async def test_before_each_message(self):
        up = self.trusting()
        delivery = self.delivery(up, xforward=True)
        for origin in (ORIGIN, ANOTHER):
            self.assert_kinds(await self.deliver(delivery, "a@x.test", origin=origin), Relayed)
        self.assertEqual(1, len(up.sessions))
        lines = [line for line in up.commands if line[:4] in ("XFOR", "MAIL")]
        self.assertEqual(
            "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=mail.example "
            "IDENT=Q1 SOURCE=REMOTE",
            lines[0],
        )
        self.assertIn("ADDR=192.0.2.8", lines[2])
        self.assertEqual(["MAIL", "MAIL"], [lines[1][:4], lines[3][:4]])

    async def test_refused_it_is_less_to_log_and_no_more(self):
        for keywords in (KEYWORDS, KEYWORDS[1:]):
            up = self.trusting({"xforward": "550 5.7.0 no"}, (*keywords, XFORWARD))
            attempt = await self.deliver(self.delivery(up, xforward=True), "a@x.test")
            self.assert_kinds(attempt, Relayed)

    async def test_not_offered_or_not_wanted(self):
        for keywords, settings in (
            ((*KEYWORDS, XFORWARD), {}),
            (KEYWORDS, {"xforward": True}),
            ((*KEYWORDS, XCLIENT), {"xclient": True}),  # that is for proxied mail
        ):
            up = self.trusting(keywords=keywords)
            self.assert_kinds(
                await self.deliver(self.delivery(up, **settings), "a@x.test"), Relayed
            )
            self.assertFalse([line for line in up.commands if line.startswith("X")])

    async def test_a_line_tells_it_with_each_mail(self):
        up = self.trusting()
        delivery = self.delivery(up, xforward=True)
        line = delivery.line("up")
        for _ in range(2):
            answer = await asked(lambda then: line.mail(ENVELOPE, 0, 5.0, ORIGIN, then))
            self.assertEqual(250, answer.code)
            line.rest()
        self.assertEqual(
            ["EHLO", "XFOR", "MAIL", "RSET", "XFOR", "MAIL"], [c[:4] for c in up.commands]
        )
        line.close()


def asked(request) -> Deferred:
    done: Deferred = Deferred()
    request(done.callback)
    return done


class XclientTests(DeliveryCase):
    def trusting(self, script=None, keywords=(*KEYWORDS, XCLIENT)):
        return self.upstream({"xclient": "220 up again", **(script or {})}, keywords=keywords)

    def trusted(self, *upstreams, **settings):
        return self.delivery(*upstreams, xclient=True, **settings)

    async def mail(self, line, origin=ORIGIN, wait=5.0):
        return await asked(lambda then: line.mail(ENVELOPE, 0, wait, origin, then))

    async def test_told_once_for_all_transactions_and_closed_at_the_end(self):
        up = self.trusting()
        delivery = self.trusted(up)
        line = delivery.line("up")
        for _ in range(2):
            self.assertEqual(250, (await self.mail(line)).code)
            self.assertEqual(250, (await asked(lambda then: line.rcpt(RECIPIENT, then))).code)
            line.rest()
        self.assertEqual(
            ["EHLO relay.test", TELLS, "EHLO mail.example", "MAIL FROM:<s@y.test>"],
            up.commands[:4],
        )
        self.assertEqual(1, len(up.sessions))
        self.assertEqual(1, sum(c.startswith("XCLIENT") for c in up.commands))
        line.close()
        await up.when(lambda: not up.open_sessions)
        self.assertEqual(0, delivery.status()[0]["idle"])

    async def test_never_given_to_anybody_else(self):
        """Neither to the queue's messages, nor to another client, nor to the same one renamed."""
        up = self.trusting()
        delivery = self.trusted(up)
        first, second = delivery.line("up"), delivery.line("up")
        await self.mail(first)
        await self.pause(0)
        first.close()
        await self.mail(second, ANOTHER)
        second.rest()
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        await self.mail(second, replace(ANOTHER, helo="other.example"))
        self.assertEqual(
            [1, 1, 0, 1],
            [sum(c.startswith("XCLIENT") for c in s.commands) for s in up.sessions],
        )
        self.assertIn("EHLO other.example", up.sessions[3].commands)
        second.close()

    async def test_recalled_while_unused_it_is_closed(self):
        up = self.trusting()
        delivery = self.trusted(up, max_connections=1)
        line = delivery.line("up")
        await self.mail(line)
        line.rest()
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(2, len(up.sessions))
        self.assertEqual("QUIT", up.sessions[0].commands[-1])
        self.assertFalse([c for c in up.sessions[1].commands if c.startswith("XCLIENT")])
        self.assertEqual(250, (await self.mail(line)).code)
        self.assertIn(TELLS, up.sessions[2].commands)
        line.close()

    async def test_one_is_recalled_for_one(self):
        """The longest unused; the others stay with their clients."""
        up = self.trusting()
        delivery = self.trusted(up, max_connections=3, idle_timeout="10m")
        lines = [delivery.line("up") for _ in range(4)]
        for number, line in enumerate(lines):
            origin = replace(ORIGIN, session=f"S{number}")
            self.assertEqual(250, (await self.mail(line, origin)).code)
            await self.pause(0)
            line.rest()
        self.assertEqual([False, True, True, True], [s.is_open for s in up.sessions])
        for line in lines:
            line.close()

    async def test_room_is_made_where_all_sessions_are_in_use(self):
        up = self.trusting({"dot": Act.HOLD})
        delivery = self.trusted(up, max_connections=1, idle_timeout="10m")
        attempt = self.deliver(delivery, "a@x.test")
        await up.when(lambda: len(up.transactions) == 1)
        line = delivery.line("up")
        answered = self.mail_later(line)
        up.release()
        self.assert_kinds(await attempt, Relayed)
        self.assertEqual(250, (await answered).code)
        line.close()

    def mail_later(self, line):
        return asked(lambda then: line.mail(ENVELOPE, 0, 10.0, ORIGIN, then))

    async def test_a_host_that_does_not_believe_us_gets_nothing(self):
        """It would judge this relay in the client's place."""
        for script, keywords in (
            ({}, KEYWORDS),
            ({}, (*KEYWORDS, "XCLIENT NAME HELO")),
            ({"xclient": "550 5.7.0 insufficient authorization"}, (*KEYWORDS, XCLIENT)),
            ({"xclient": "501 5.5.4 bad"}, (*KEYWORDS, XCLIENT)),
            ({"xclient": "451 4.3.0 later"}, (*KEYWORDS, XCLIENT)),
        ):
            up = self.trusting(script, keywords)
            line = self.trusted(up).line("up")
            answer = await self.mail(line)
            self.assertEqual((451, "4.7.0"), (answer.code, answer.status))
            self.assertTrue(line.trouble)
            self.assertFalse([c for c in up.commands if c.startswith("MAIL")])
            line.close()

    async def test_another_host_may(self):
        first, second = self.trusting(keywords=KEYWORDS), self.trusting()
        line = self.trusted(first, second).line("up")
        self.assertEqual(250, (await self.mail(line)).code)
        self.assertIn(TELLS, second.commands)
        line.close()

    async def test_the_client_is_not_wanted(self):
        up = self.trusting({"xclient": "554 5.7.1 blocked"})
        line = self.trusted(up).line("up")
        self.assertEqual("554 5.7.1 blocked", str(await self.mail(line)))
        line.close()

    async def test_one_clients_trouble_is_not_the_hosts(self):
        for answer in ("421 4.7.0 too many of yours", Act.DROP):
            up = self.trusting({"xclient": [answer, "220 up again"]})
            delivery = self.trusted(up)
            line = delivery.line("up")
            self.assertEqual(451, (await self.mail(line)).code)
            self.assertFalse(delivery.status()[0]["is_skipped"])
            self.assertEqual(250, (await self.mail(line, ANOTHER)).code)
            line.close()

    async def test_silence(self):
        up = self.trusting({"xclient": Act.STALL})
        line = self.trusted(up).line("up")
        self.assertEqual("451 4.4.5", str(await self.mail(line, wait=0.2))[:9])
        await up.when(lambda: not up.open_sessions)
        line.close()

    async def test_a_session_that_died_unused_is_replaced_and_told_again(self):
        up = self.trusting()
        line = self.trusted(up).line("up")
        await self.mail(line)
        line.rest()
        up.script["mail"] = [Act.DROP, "250 2.1.0 ok"]
        up.script["rset"] = "250 2.0.0 ok"
        self.assertEqual(250, (await self.mail(line)).code)
        self.assertIn(TELLS, up.sessions[1].commands)
        line.close()

    async def test_left_half_way(self):
        up = self.trusting({"xclient": Act.STALL})
        line = self.trusted(up).line("up")
        answers = []
        line.mail(ENVELOPE, 0, 5.0, ORIGIN, answers.append)
        await up.when(lambda: len(up.commands) == 2)
        line.close()
        await up.when(lambda: not up.open_sessions)
        self.assertEqual([], answers)
