"""The table of troubles, row by row, against real upstreams on real sockets."""

from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Recipient
from relay.mail.outcome import Delayed, Failed, Relayed
from relay.outbound import conversions
from relay.testing.upstream import KEYWORDS, OK, Act
from tests.outbound.case import CONTENT, DeliveryCase


class CommonCaseTests(DeliveryCase):
    async def test_relayed(self):
        up = self.upstream()
        delivery = self.delivery(up)
        attempt = await self.deliver(delivery, "a@x.test", "b@x.test")
        self.assertIsNone(attempt.site)
        outcome = attempt.outcomes[1]
        self.assertEqual(outcome, Relayed(outcome.reply, f"127.0.0.1[127.0.0.1]:{up.port}", True))
        self.assertEqual(str(outcome.reply), "250 2.0.0 accepted")
        self.assertEqual(attempt.outcomes[2], outcome)
        (seen,) = up.transactions
        self.assertEqual(seen.reverse_path, "sender@y.test")
        self.assertEqual(seen.forward_paths, ["a@x.test", "b@x.test"])
        self.assertEqual(seen.content, b"Subject: x\r\n\r\n.dot\r\n")

    async def test_session_is_reused_and_no_rset_between(self):
        up = self.upstream()
        delivery = self.delivery(up)
        for _ in range(3):
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(len(up.sessions), 1)
        verbs = [command.split()[0] for command in up.commands]
        self.assertEqual(verbs, ["EHLO", *["MAIL", "RCPT", "DATA"] * 3])

    async def test_host_without_dsn_does_not_report(self):
        up = self.upstream(keywords=("PIPELINING",))
        attempt = await self.deliver(self.delivery(up), "a@x.test")
        self.assertFalse(attempt.outcomes[1].reports_success)

    async def test_host_without_pipelining(self):
        up = self.upstream(keywords=())
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Relayed)

    async def test_host_without_ehlo(self):
        up = self.upstream({"ehlo": "502 5.5.1 what?"})
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Relayed)

    async def test_lmtp(self):
        up = self.upstream({"dot:b@*": "452 4.2.2 full", "dot:c@*": "550 5.2.1 no"}, is_lmtp=True)
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test", "c@x.test")
        self.assert_kinds(attempt, Relayed, Delayed, Failed)


class SiteTests(DeliveryCase):
    """connect, greeting, EHLO fails; lost, timeout or impossible before the final dot."""

    content = CONTENT

    async def assert_next_host(self, script, **settings):
        """The first host has this trouble: the second gets the mail, the first is then skipped."""
        bad, good = self.upstream(script), self.upstream()
        delivery = self.delivery(bad, good, **settings)
        attempt = await self.deliver(delivery, "a@x.test", "b@x.test", content=self.content)
        self.assertIsNone(attempt.site)
        self.assert_kinds(attempt, Relayed, Relayed)
        self.assertIn(str(good.port), attempt.outcomes[1].host)
        sessions = len(bad.sessions)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(len(bad.sessions), sessions)

    async def assert_site(self, script, code, text, **settings):
        """All hosts have it: nobody is decided, the lane is told."""
        bad = self.upstream(script)
        delivery = self.delivery(bad, bad, **settings)
        attempt = await self.deliver(delivery, "a@x.test", "b@x.test", content=self.content)
        self.assertEqual(attempt.outcomes, {})
        self.assertEqual(attempt.site.reply.code, code)
        self.assertIn(text, str(attempt.site.reply))
        self.assertEqual(attempt.site.host, f"127.0.0.1[127.0.0.1]:{bad.port}")

    async def check(self, script, code, text, **settings):
        await self.assert_next_host(script, **settings)
        await self.assert_site(script, code, text, **settings)

    async def test_connection_refused(self):
        down, good = self.upstream(), self.upstream()
        delivery = self.delivery(down, good)
        lonely = self.delivery(down)
        await down.stop()
        attempt = await self.deliver(delivery, "a@x.test")
        self.assert_kinds(attempt, Relayed)
        attempt = await self.deliver(lonely, "a@x.test")
        self.assertEqual(attempt.site.reply.status, "4.4.1")
        self.assertIn("refused", str(attempt.site.reply))

    def test_greeting_refused(self):
        return self.check({"connect": "554 5.3.2 go away"}, 554, "go away")

    def test_greeting_421(self):
        return self.check({"connect": "421 4.3.2 busy"}, 421, "busy")

    def test_greeting_drop(self):
        return self.check({"connect": Act.DROP}, 451, "closed by the host before its greeting")

    def test_greeting_stall(self):
        return self.check(
            {"connect": Act.STALL}, 451, "before its greeting", timeouts={"greeting": "0.2s"}
        )

    def test_greeting_nonsense(self):
        return self.check({"connect": b"SSH-2.0-x\r\n"}, 451, "broke the protocol")

    def test_ehlo_refused(self):
        return self.check({"ehlo": "421 4.3.2 busy"}, 421, "busy")

    def test_ehlo_and_helo_refused(self):
        refused = "550 5.7.1 who are you"
        return self.check({"ehlo": refused, "helo": refused}, 550, "who are you")

    def test_ehlo_reset(self):
        return self.check({"ehlo": Act.RESET}, 451, "by the host in answer to EHLO")

    def test_mail_drop(self):
        return self.check({"mail": Act.DROP}, 451, "closed by the host in answer to MAIL")

    def test_mail_421(self):
        return self.check({"mail": "421 4.3.2 shutting down"}, 421, "shutting down")

    def test_mail_impossible(self):
        return self.check({"mail": "354 what"}, 451, "impossible code")

    def test_rcpt_stall(self):
        return self.check({"rcpt": Act.STALL}, 451, "in answer to RCPT", timeouts={"rcpt": "0.2s"})

    def test_data_250(self):
        return self.check({"data": "250 2.0.0 fine"}, 451, "impossible code")

    def test_content_reset(self):
        self.content = InlineContent(b"x" * 4_000_000)
        return self.check({"content": Act.RESET}, 451, "lost by the host while the content")

    async def test_skipped_host_is_tried_where_the_others_are_away(self):
        first, second = self.upstream({"connect": ["421 4.3.2 busy", OK]}), self.upstream()
        first.script["connect"] = ["421 4.3.2 busy", "220 back"]
        delivery = self.delivery(first, second)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        await second.stop()
        attempt = await self.deliver(delivery, "a@x.test")
        self.assert_kinds(attempt, Relayed)
        self.assertIn(str(first.port), attempt.outcomes[1].host)

    async def test_forget_trouble(self):
        first, second = self.upstream({"connect": ["421 4.3.2 busy", "220 back"]}), self.upstream()
        delivery = self.delivery(first, second)
        await self.deliver(delivery, "a@x.test")
        delivery.forget_trouble("up")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIn(str(first.port), attempt.outcomes[1].host)

    async def test_unknown_lane(self):
        delivery = self.delivery(self.upstream())
        attempt = await self.deliver(delivery, "a@x.test", lane="nowhere")
        self.assertEqual(attempt.site.reply.status, "4.3.5")


class SessionTests(DeliveryCase):
    """421, EOF or reset on a reused session: once more on a fresh one, uncharged."""

    async def check(self, second, key="mail", usual=OK):
        up = self.upstream({key: [usual, second, usual]})
        delivery = self.delivery(up)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assert_kinds(await self.deliver(delivery, "b@x.test"), Relayed)
        self.assertEqual(len(up.sessions), 2)
        self.assertEqual(len(up.accepted), 2)

    def test_421(self):
        return self.check("421 4.4.2 too many messages in this session")

    def test_eof(self):
        return self.check(Act.DROP)

    def test_reset(self):
        return self.check(Act.RESET)

    def test_421_at_data(self):
        return self.check("421 4.4.2 enough", "data", "354 go on")

    async def test_reset_in_content(self):
        up = self.upstream()
        delivery = self.delivery(up)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        up.script["data"] = [Act.RESET, "354 go on"]
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)

    async def test_upstream_restarted_while_idle(self):
        up = self.upstream()
        delivery = self.delivery(up)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        await up.stop()
        up.listen(self.reactor)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)

    async def test_not_on_another_stale_session(self):
        """Two idle sessions: when one was stale, the other probably is too."""
        up = self.upstream({"mail": [OK, OK, "421 4.4.2 stale", OK]})
        delivery = self.delivery(up, max_connections=2)
        for attempt in [self.deliver(delivery, "a@x.test") for _ in range(2)]:
            self.assert_kinds(await attempt, Relayed)
        self.assertEqual(len(up.open_sessions), 2)
        self.assert_kinds(await self.deliver(delivery, "b@x.test"), Relayed)
        self.assertEqual(up.accepted[-1].session, 2)

    async def test_there_again_is_the_sites(self):
        up = self.upstream({"mail": [OK, "421 4.3.2 away"]})
        delivery = self.delivery(up)
        await self.deliver(delivery, "a@x.test")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertEqual(attempt.site.reply.code, 421)
        self.assertEqual(len(up.sessions), 2)

    async def test_timeout_on_a_reused_session_is_the_sites(self):
        up = self.upstream({"mail": [OK, Act.STALL]})
        delivery = self.delivery(up, timeouts={"mail": "0.2s"})
        await self.deliver(delivery, "a@x.test")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIn("no answer for 0.2 s in answer to MAIL", str(attempt.site.reply))


class RefusalTests(DeliveryCase):
    """MAIL, RCPT, DATA 4xx and 5xx."""

    async def check_transient(self, script):
        greylisting, good = self.upstream(script), self.upstream()
        attempt = await self.deliver(self.delivery(greylisting, good), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Relayed)
        self.assertIn(str(good.port), attempt.outcomes[1].host)
        attempt = await self.deliver(self.delivery(greylisting), "a@x.test", "b@x.test")
        self.assertIsNone(attempt.site)
        self.assert_kinds(attempt, Delayed, Delayed)
        self.assertEqual(str(attempt.outcomes[1].reply), "450 4.7.1 later")
        self.assertFalse(attempt.outcomes[1].is_unknown)

    async def check_permanent(self, script):
        refusing, good = self.upstream(script), self.upstream()
        attempt = await self.deliver(self.delivery(refusing, good), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Failed, Failed)
        self.assertEqual(str(attempt.outcomes[2].reply), "550 5.7.1 never")
        self.assertEqual(good.sessions, [])

    async def test_mail(self):
        await self.check_transient({"mail": "450 4.7.1 later"})
        await self.check_permanent({"mail": "550 5.7.1 never"})

    async def test_mail_refused_and_the_rest_accepted(self):
        """A broken pipelining server: what it says to RCPT and DATA is ignored."""
        script = {"mail": "550 5.7.1 never", "rcpt": b"250 ok\r\n", "data": "354 go on"}
        up = self.upstream(script)
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Failed, Failed)

    async def test_rcpt(self):
        await self.check_transient({"rcpt": "450 4.7.1 later"})
        await self.check_permanent({"rcpt": "550 5.7.1 never"})

    async def test_data(self):
        await self.check_transient({"data": "450 4.7.1 later"})
        await self.check_permanent({"data": "550 5.7.1 never"})

    async def test_in_lock_step(self):
        for step in ("mail", "rcpt", "data"):
            up = self.upstream({step: ["550 5.7.1 never", OK]}, keywords=())
            if step == "data":
                up.script[step] = ["550 5.7.1 never", "354 go on"]
            delivery = self.delivery(up)
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Failed)
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
            self.assertEqual(len(up.sessions), 1)

    async def test_one_recipient_of_three_refused(self):
        up = self.upstream({"rcpt:b@*": "550 5.1.1 no such user"})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test", "c@x.test")
        self.assert_kinds(attempt, Relayed, Failed, Relayed)
        self.assertEqual(up.accepted[0].forward_paths, ["a@x.test", "c@x.test"])

    async def test_one_recipient_of_three_is_for_the_next_host(self):
        first, second = self.upstream({"rcpt:b@*": "450 4.2.1 later"}), self.upstream()
        attempt = await self.deliver(
            self.delivery(first, second), "a@x.test", "b@x.test", "c@x.test"
        )
        self.assert_kinds(attempt, Relayed, Relayed, Relayed)
        self.assertEqual(second.accepted[0].forward_paths, ["b@x.test"])

    async def test_transient_then_the_next_host_is_away(self):
        """The host that answered has the last word: no site failure, for a host is up."""
        first, second = self.upstream({"rcpt": "450 4.2.1 later"}), self.upstream()
        delivery = self.delivery(first, second)
        await second.stop()
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIsNone(attempt.site)
        self.assertEqual(str(attempt.outcomes[1].reply), "450 4.2.1 later")

    async def test_lone_dot_where_none_was_accepted(self):
        up = self.upstream({"rcpt": ["550 5.1.1 no", OK], "data": "354 go on"})
        delivery = self.delivery(up)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Failed)
        self.assert_kinds(await self.deliver(delivery, "b@x.test"), Relayed)


class LimitTests(DeliveryCase):
    """Too many recipients for one transaction: the rest at once in a further one."""

    async def check(self, reply):
        up = self.upstream({"rcpt": [OK, OK, reply, reply, OK, OK]})
        paths = [f"{n}@x.test" for n in range(4)]
        attempt = await self.deliver(self.delivery(up), *paths)
        self.assert_kinds(attempt, Relayed, Relayed, Relayed, Relayed)
        self.assertEqual([t.forward_paths for t in up.accepted], [paths[:2], paths[2:]])
        self.assertEqual(len(up.sessions), 1)

    async def test_452(self):
        await self.check("452 4.5.3 too many recipients")

    async def test_552(self):
        await self.check("552 5.5.3 too many recipients")

    async def test_bare_452(self):
        await self.check("452 too many")

    async def test_other_452_is_the_recipients(self):
        up = self.upstream({"rcpt": [OK, "452 4.2.2 mailbox full"]})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Delayed)

    async def test_the_very_first_is_the_recipients(self):
        up = self.upstream({"rcpt": "452 4.5.3 too many recipients"})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Delayed, Delayed)
        self.assertEqual(len([c for c in up.commands if c.startswith("MAIL")]), 1)

    async def test_552_without_status_is_permanent(self):
        up = self.upstream({"rcpt": [OK, "552 mailbox full"]})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Failed)

    async def test_our_limit(self):
        up = self.upstream()
        paths = [f"{n}@x.test" for n in range(5)]
        attempt = await self.deliver(self.delivery(up, max_recipients=2), *paths)
        self.assert_kinds(attempt, *[Relayed] * 5)
        self.assertEqual([len(t.forward_paths) for t in up.accepted], [2, 2, 1])

    async def test_the_hosts_announced_limits(self):
        up = self.upstream(keywords=(*KEYWORDS, "LIMITS RCPTMAX=2 MAILMAX=2"))
        paths = [f"{n}@x.test" for n in range(5)]
        attempt = await self.deliver(self.delivery(up), *paths)
        self.assert_kinds(attempt, *[Relayed] * 5)
        self.assertEqual([len(t.forward_paths) for t in up.accepted], [2, 2, 1])
        self.assertEqual([t.session for t in up.accepted], [0, 0, 1])


class FinalDotTests(DeliveryCase):
    async def test_transient_does_not_go_to_the_next_host(self):
        for reply in ("451 4.3.0 later", "421 4.3.2 later"):
            up, other = self.upstream({"dot": reply}), self.upstream()
            attempt = await self.deliver(self.delivery(up, other), "a@x.test")
            self.assert_kinds(attempt, Delayed)
            self.assertEqual(str(attempt.outcomes[1].reply), reply)
            self.assertFalse(attempt.outcomes[1].is_unknown)
            self.assertEqual(other.sessions, [])

    async def test_permanent_for_the_accepted(self):
        up = self.upstream({"rcpt:a@*": "550 5.1.1 no", "dot": "554 5.6.0 spam"})
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Failed, Failed)
        self.assertEqual(attempt.outcomes[1].reply.status, "5.1.1")
        self.assertEqual(attempt.outcomes[2].reply.status, "5.6.0")

    async def check_unknown(self, answer, **settings):
        up, other = self.upstream({"dot": [OK, answer]}), self.upstream()
        delivery = self.delivery(up, other, **settings)
        await self.deliver(delivery, "a@x.test")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertIsNone(attempt.site)
        self.assert_kinds(attempt, Delayed)
        self.assertTrue(attempt.outcomes[1].is_unknown)
        self.assertIn(str(up.port), attempt.outcomes[1].host)
        self.assertEqual(other.sessions, [])

    def test_drop(self):
        return self.check_unknown(Act.DROP)

    def test_reset(self):
        return self.check_unknown(Act.RESET)

    def test_stall(self):
        return self.check_unknown(Act.STALL, timeouts={"final": "0.2s"})

    def test_nonsense(self):
        return self.check_unknown(b"hello?\r\n")

    async def test_lmtp_lost_between_two_replies(self):
        up = self.upstream({"dot:b@*": Act.DROP}, is_lmtp=True)
        attempt = await self.deliver(self.delivery(up), "a@x.test", "b@x.test", "c@x.test")
        self.assert_kinds(attempt, Relayed, Delayed, Delayed)
        self.assertTrue(attempt.outcomes[2].is_unknown)
        self.assertTrue(attempt.outcomes[3].is_unknown)


class AbilityTests(DeliveryCase):
    """What a host must offer for a message."""

    async def test_8bit_is_converted(self):
        up = self.upstream(keywords=("PIPELINING",))
        content = InlineContent(
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbcn\r\n"
        )
        attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
        self.assert_kinds(attempt, Relayed)
        self.assertTrue(up.accepted[0].content.isascii())

    SIGNED = InlineContent(b"DKIM-Signature: v=1\r\nSubject: x\r\n\r\ngr\xc3\xbcn\r\n")

    async def test_signed_8bit_tries_other_hosts(self):
        old, new = self.upstream(keywords=("PIPELINING",)), self.upstream()
        attempt = await self.deliver(self.delivery(old, new), "a@x.test", content=self.SIGNED)
        self.assert_kinds(attempt, Relayed)
        self.assertEqual(new.accepted[0].content, self.SIGNED.octets)

    async def test_copies_of_converted_mail_are_bounded(self):
        """Each needs memory for as long as its host likes."""
        self.patch(conversions, "MAX_CONVERTED", 1000)
        content = InlineContent(b"Subject: x\r\n\r\n" + b"\xfc" * 200 + b"\r\n")
        old = self.upstream({"dot": Act.HOLD}, keywords=("PIPELINING",))
        delivery = self.delivery(old, old)
        first = self.deliver(delivery, "a@x.test", "b@x.test", content=content)
        await self.until(lambda: "DATA" in old.commands)
        second = await self.deliver(delivery, "c@x.test", content=content)
        self.assert_kinds(second, Delayed)
        self.assertEqual("4.3.2", second.outcomes[1].reply.status)
        old.release()
        self.assert_kinds(await first, Relayed, Relayed)
        old.script["dot"] = OK
        self.assert_kinds(await self.deliver(delivery, "c@x.test", content=content), Relayed)
        self.assertEqual("<Conversions 0 octets>", repr(delivery._premises.conversions))

    async def test_an_attempt_has_one_copy_however_often_it_sends(self):
        """A transaction each for its recipients."""
        self.patch(conversions, "MAX_CONVERTED", 1000)
        content = InlineContent(b"Subject: x\r\n\r\n" + b"\xfc" * 200 + b"\r\n")
        old = self.upstream(keywords=("PIPELINING",))
        delivery = self.delivery(old, max_recipients=1)
        attempt = await self.deliver(delivery, "a@x.test", "b@x.test", "c@x.test", content=content)
        self.assert_kinds(attempt, Relayed, Relayed, Relayed)
        self.assertEqual("<Conversions 0 octets>", repr(delivery._premises.conversions))

    async def test_signed_8bit_fails_at_last(self):
        old = self.upstream(keywords=("PIPELINING",))
        attempt = await self.deliver(self.delivery(old, old), "a@x.test", content=self.SIGNED)
        self.assert_kinds(attempt, Failed)
        self.assertEqual(attempt.outcomes[1].reply.status, "5.6.3")
        self.assertEqual([c for c in old.commands if c.startswith("MAIL")], [])

    async def test_waits_for_a_better_host_that_is_away(self):
        old, new = self.upstream(keywords=("PIPELINING",)), self.upstream()
        delivery = self.delivery(old, new)
        await new.stop()
        attempt = await self.deliver(delivery, "a@x.test", content=self.SIGNED)
        self.assertIsNone(attempt.site)
        self.assert_kinds(attempt, Delayed)
        self.assertEqual(attempt.outcomes[1].reply.status, "4.6.3")

    async def test_smtputf8(self):
        old, new = self.upstream(keywords=("PIPELINING", "8BITMIME")), self.upstream()
        attempt = await self.deliver(self.delivery(old, new), "jürg@x.test", smtputf8=True)
        self.assert_kinds(attempt, Relayed)
        self.assertIn("SMTPUTF8", new.accepted[0].parameters)
        attempt = await self.deliver(
            self.delivery(old), "jürg@x.test", "plain@x.test", smtputf8=True
        )
        self.assert_kinds(attempt, Failed, Relayed)
        self.assertEqual(attempt.outcomes[1].reply.status, "5.6.7")

    async def test_an_orcpt_of_another_alphabet_goes_in_ascii(self):
        """RFC 3461 5.2.1: it goes on; RFC 6533 3 has a form for hosts without SMTPUTF8."""
        old = self.upstream(keywords=("PIPELINING", "8BITMIME", "DSN"))
        recipient = Recipient(1, "a@x.test", "FAILURE", "utf-8;bö\\x{20}@x.test")
        envelope = Envelope("s@y.test", (recipient,), smtputf8=True)
        attempt = await self.deliver_envelope(self.delivery(old), envelope)
        self.assert_kinds(attempt, Relayed)
        (rcpt,) = [command for command in old.commands if command.startswith("RCPT")]
        self.assertTrue(rcpt.endswith(" ORCPT=utf-8;b\\x{F6}\\x{20}@x.test"), rcpt)

    async def test_smtputf8_asked_for_but_not_needed(self):
        old = self.upstream(keywords=("PIPELINING", "8BITMIME"))
        attempt = await self.deliver(self.delivery(old), "a@x.test", smtputf8=True)
        self.assert_kinds(attempt, Relayed)

    async def test_size(self):
        small, large = self.upstream(keywords=("SIZE 10",)), self.upstream()
        attempt = await self.deliver(self.delivery(small, large), "a@x.test")
        self.assert_kinds(attempt, Relayed)
        attempt = await self.deliver(self.delivery(small), "a@x.test")
        self.assert_kinds(attempt, Failed)
        self.assertEqual(attempt.outcomes[1].reply.status, "5.3.4")

    async def test_content_without_last_line_end(self):
        content = InlineContent(b"Subject: x\r\n\r\nno line end")
        up, old = self.upstream(keywords=(*KEYWORDS, "CHUNKING")), self.upstream()
        await self.deliver(self.delivery(up), "a@x.test", content=content)
        self.assertEqual(up.accepted[0].content, content.octets)
        self.assertTrue(up.accepted[0].is_chunked)
        await self.deliver(self.delivery(old), "a@x.test", content=content)
        self.assertEqual(old.accepted[0].content, content.octets + b"\r\n")
        await self.deliver(self.delivery(up), "a@x.test")
        self.assertFalse(up.accepted[1].is_chunked)

    async def test_chunks_refused(self):
        content = InlineContent(b"Subject: x\r\n\r\n" + b"x" * 300_000)
        for keywords in (("CHUNKING",), ("CHUNKING", "PIPELINING")):
            up = self.upstream({"bdat": "552 5.3.4 too much"}, keywords=keywords)
            attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
            self.assert_kinds(attempt, Failed)
