"""Deliveries to upstreams that want a login, each thing that they may answer, and who is told."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from relay.mail.envelope import Envelope
from relay.mail.outcome import Failed, Relayed
from relay.notices import Alarm, AlarmOver
from relay.outbound.delivery import Delivery
from relay.outbound.identity import account
from relay.testing.upstream import KEYWORDS, Act
from tests.outbound.case import ORIGIN, DeliveryCase
from tests.outbound.identity.token_server import (
    AUTHORITY,
    TokenServer,
    good,
    refusal,
    serve,
    write_private,
)
from tests.outbound.test_tls import AUTHORITY as HOSTS
from tests.outbound.test_tls import GOOD, server_context

IN = "235 2.7.0 in"
WRONG = "535 5.7.8 wrong"
MODERN_AUTH = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled"


class LoginCase(DeliveryCase):
    host = "localhost"

    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.notices = []
        self.changed = []

    def there(self, script=None, offered="AUTH PLAIN", tls=True, **more):
        """An upstream; it offers AUTH only to whom the script lets in."""
        keywords = (*KEYWORDS, offered) if offered else KEYWORDS
        context = server_context(GOOD) if tls else None
        return self.upstream({"auth": IN, **(script or {})}, keywords=keywords, tls=context, **more)

    def password(self, text="pa ss"):
        return write_private(self.folder, "password", f"{text}\n")

    def delivery(self, *upstreams, **settings):
        ca = str(HOSTS.write(self.folder))
        given = {"user": "me", "ca_file": ca, "tls": "verified", **settings}
        if not {"oauth", "password_file"} & given.keys() and given["user"]:
            given["password_file"] = self.password()
        upstream = self.settings(*upstreams, **{k: v for k, v in given.items() if v is not None})
        delivery = Delivery(
            {"up": upstream},
            "relay.test",
            self.reactor,
            observe=self.notices.append,
            login_changed=self.changed.append,
        )
        self.addCleanup(delivery.stop, 0)
        return delivery

    def auth_lines(self, up):
        return [line for line in up.commands if line.startswith("AUTH")]

    def assert_kept_back(self, attempt, up, why, *, is_refusal):
        self.assertEqual((attempt.outcomes, up.transactions), ({}, []))
        self.assertFalse([line for line in up.commands if line.startswith("MAIL")])
        self.assertIn(why, str(attempt.site.reply))
        self.assertEqual(attempt.site.is_refusal, is_refusal)
        self.assertEqual(bool(self.notices), is_refusal, self.notices)


class PasswordTests(LoginCase):
    async def test_let_in_once_for_all_of_a_session(self):
        up = self.there()
        delivery = self.delivery(up)
        for _ in range(3):
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(self.auth_lines(up), ["AUTH PLAIN AG1lAHBhIHNz"])
        self.assertEqual(delivery.status()[0]["auth"], "PLAIN")
        self.assertEqual(self.notices, [])

    async def test_implicit_tls(self):
        up = self.there(is_implicit=True)
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Relayed)
        self.assertEqual(len(self.auth_lines(up)), 1)

    async def test_lmtp(self):
        up = self.there(is_lmtp=True)
        self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Relayed)
        self.assertEqual(len(self.auth_lines(up)), 1)

    async def test_refused(self):
        for reply in (WRONG, MODERN_AUTH, "550 5.7.30 Basic authentication is not supported"):
            up = self.there({"auth": reply})
            delivery = self.delivery(up)
            attempt = await self.deliver(delivery, "a@x.test")
            self.assert_kept_back(attempt, up, reply, is_refusal=True)
            (alarm,) = self.notices
            self.assertIsInstance(alarm, Alarm)
            self.assertEqual(alarm.what, "login at up")
            self.assertIn(f"localhost[127.0.0.1]:{up.port}: {reply}", alarm.why)
            self.assertEqual(delivery.status()[0]["auth"], "refused")
            await self.until(lambda up=up: up.commands[-1] == "QUIT")
            self.notices.clear()

    async def test_what_repeats_the_password_is_told_nowhere(self):
        """As hosts do with a line that they do not know; AG1lAHBhIHNz is what PLAIN sends."""
        for offered, answers in (
            ("AUTH PLAIN", {"auth": '500 5.5.1 Command unrecognized: "AUTH PLAIN AG1lAHBhIHNz"'}),
            ("AUTH PLAIN", {"auth": "535 5.7.8 no, AG1lAHBhIH..."}),
            ("AUTH PLAIN", {"auth": "454 4.7.0 AG1LAHBHIHNZ is too much now"}),
            ("AUTH PLAIN", {"auth": "535 5.7.8 pa ss is wrong"}),
            ("AUTH PLAIN", {"auth": b"what is AUTH PLAIN AG1lAHBhIHNz?\r\n"}),
            (
                "AUTH LOGIN",
                {"auth": "334 VXNl", "bwu=": "334 UGFz", "cgegc3m=": "500 cGEgc3M= what?"},
            ),
            ("AUTH PLAIN", {"mail": "550 5.7.1 AG1lAHBhIHNz said so"}),
            ("AUTH PLAIN", {"rcpt": "451 4.7.1 pa ss said so"}),
            ("AUTH PLAIN", {"dot": "421 4.3.2 AG1lAHBhIHNz may come again"}),
        ):
            up = self.there(answers, offered)
            delivery = self.delivery(up)
            attempt = await self.deliver(delivery, "a@x.test")
            told = repr((attempt, self.notices, delivery.status())).lower()
            for secret in ("pa ss", "ag1lahbhih", "cgegc3m"):
                self.assertNotIn(secret, told)
            self.assertIn("the host's words are left out", told)
            self.notices.clear()

    async def test_refused_for_now(self):
        """Nobody's fault: the site's trouble."""
        for reply in ("454 4.7.0 later", "432 4.7.12 later", "421 4.3.2 bye"):
            up = self.there({"auth": reply})
            attempt = await self.deliver(self.delivery(up), "a@x.test")
            self.assert_kept_back(attempt, up, reply, is_refusal=False)

    async def test_said_once_and_over_when_it_is_mended(self):
        up = self.there({"auth": [WRONG, WRONG, IN]})
        delivery = self.delivery(up)
        for _ in range(2):
            self.assertTrue((await self.deliver(delivery, "a@x.test")).site.is_refusal)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual([type(each) for each in self.notices], [Alarm, AlarmOver])

    async def test_a_wrong_password_is_shown_once_at_a_time(self):
        up = self.there({"auth": WRONG})
        delivery = self.delivery(up)
        waiting = [self.deliver(delivery, f"{n}@x.test") for n in range(10)]
        for attempt in waiting:
            self.assertTrue((await attempt).site.is_refusal)
        self.assertEqual(len(self.auth_lines(up)), 1)

    async def test_another_host_may_take_it(self):
        bad, up = self.there({"auth": WRONG}), self.there()
        self.assert_kinds(await self.deliver(self.delivery(bad, up), "a@x.test"), Relayed)

    async def test_no_mechanism(self):
        for offered, why in (
            ("AUTH CRAM-MD5 XOAUTH2", "localhost offers AUTH CRAM-MD5 XOAUTH2; it would have"),
            ("", "localhost offers no AUTH; it would have to be SCRAM-SHA-256 or PLAIN or LOGIN"),
        ):
            up = self.there(offered=offered)
            attempt = await self.deliver(self.delivery(up), "a@x.test")
            self.assert_kept_back(attempt, up, why, is_refusal=True)
            self.notices.clear()

    async def test_changed_file(self):
        up = self.there({"auth": [WRONG, IN]})
        delivery = self.delivery(up)
        await self.deliver(delivery, "a@x.test")
        self.password("right")
        await self.until(lambda: self.changed == ["up"])
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual(self.auth_lines(up)[1], "AUTH PLAIN AG1lAHJpZ2h0")

    async def test_file_that_others_can_read(self):
        up = self.there()
        delivery = self.delivery(up)
        (self.folder / "password").chmod(0o644)
        attempt = await self.deliver(delivery, "a@x.test")
        self.assertEqual(up.commands, [])
        self.assertIn("can be read by others; run: chmod 600", str(attempt.site.reply))
        self.assertTrue(attempt.site.is_refusal)

    async def test_mail_refused_without_a_login_fails(self):
        """As ever: that was not about a login of ours."""
        up = self.there({"mail": "530 5.7.0 Authentication required"})
        attempt = await self.deliver(self.delivery(up, user=None), "a@x.test")
        self.assert_kinds(attempt, Failed)


class LineTests(LoginCase):
    """Proxy delivery: nothing is kept, so nothing is probed."""

    async def mail(self, line):
        answer = Deferred()
        line.mail(Envelope("s@y.test", ()), 0, 5, ORIGIN, answer.callback)
        return await answer

    async def test_clients_do_not_repeat_a_refused_login(self):
        up = self.there({"auth": [WRONG, IN]})
        delivery = self.delivery(up)
        for _ in range(3):
            line = delivery.line("up")
            self.assertEqual(str(await self.mail(line))[:9], "451 4.4.1")
            self.assertIn(WRONG, line.trouble)
            line.close()
        self.assertEqual(len(self.auth_lines(up)), 1)
        delivery.forget_trouble("up")  # as an operator may
        line = delivery.line("up")
        self.addCleanup(line.close)
        self.assertEqual((await self.mail(line)).code, 250)


class PlainTextTests(LoginCase):
    """Credentials never go out unencrypted unless the config says so."""

    async def test_never(self):
        for tls in ("auto", "opportunistic", "required", "verified"):
            up = self.there(tls=False)
            attempt = await self.deliver(self.delivery(up, tls=tls), "a@x.test")
            self.assert_kept_back(attempt, up, "TLS required, but localhost", is_refusal=False)
            self.assertEqual(self.auth_lines(up), [])

    async def test_not_even_after_a_broken_handshake(self):
        for script in ({"handshake": b"what?\r\n"}, {"starttls": "454 4.7.0 not now"}):
            up = self.there(script)
            delivery = self.delivery(up, tls="opportunistic")
            for _ in range(2):
                self.assertIsNotNone((await self.deliver(delivery, "a@x.test")).site)
            self.assertEqual((self.auth_lines(up), up.transactions), ([], []))

    async def test_a_host_that_breaks_off_at_auth_does_not_get_it_in_plain(self):
        """Not even where plain text is allowed, for TLS is not to blame."""
        for answer in (Act.DROP, Act.RESET, Act.STALL):
            up = self.there({"auth": answer})
            more = {"tls": "opportunistic", "timeouts": {"auth": "0.3s"}}
            delivery = self.delivery(up, auth_without_tls=True, **more)
            self.assertIsNotNone((await self.deliver(delivery, "a@x.test")).site)
            self.assertEqual((len(up.sessions), self.notices), (1, []))
            self.assertTrue(up.sessions[0].is_tls)

    async def test_not_even_where_the_policy_would_let_it(self):
        """The session itself looks, whatever led to it."""
        up = self.there(tls=False)
        delivery = self.delivery(up, tls="none")
        attempt = await self.deliver(delivery, "a@x.test")
        self.assert_kept_back(attempt, up, "451 4.7.4 AUTH needs TLS", is_refusal=False)
        self.assertEqual(self.auth_lines(up), [])

    async def test_where_it_is_allowed(self):
        for tls in ("none", "auto"):
            up = self.there(tls=False)
            delivery = self.delivery(up, tls=tls, auth_without_tls=True)
            self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
            self.assertEqual(len(self.auth_lines(up)), 1)


class TokenTests(LoginCase):
    def setUp(self):
        super().setUp()
        self.web = TokenServer()
        self.url = serve(self, self.web)

    def delivery(self, *upstreams, **settings):
        oauth = {
            "grant": "refresh-token",
            "token_url": self.url,
            "client_id": "client",
            "refresh_token_file": write_private(self.folder, "refresh", "refresh-1"),
            "ca_file": str(AUTHORITY.write(self.folder, "token-ca")),
        }
        return super().delivery(*upstreams, oauth=oauth, **settings)

    async def test_mechanisms(self):
        for offered, line in (
            ("AUTH LOGIN XOAUTH2", "AUTH XOAUTH2 dXNlcj1tZQFhdXRoPUJlYXJlciB0b2tlbi0xAQE="),
            (
                "AUTH OAUTHBEARER XOAUTH2",
                "AUTH OAUTHBEARER bixhPW1lLAFhdXRoPUJlYXJlciB0b2tlbi0xAQE=",
            ),
        ):
            up = self.there(offered=offered)
            self.assert_kinds(await self.deliver(self.delivery(up), "a@x.test"), Relayed)
            self.assertEqual(self.auth_lines(up), [line])

    async def test_expired_token_is_had_anew(self):
        """Refused by a challenge first, as XOAUTH2 does it; nobody hears of it."""
        self.web.answers = [good("old"), good("new")]
        refused = "334 eyJzdGF0dXMiOiI0MDEifQ=="
        up = self.there({"auth": [refused, IN], "": WRONG}, offered="AUTH XOAUTH2")
        delivery = self.delivery(up)
        self.assert_kinds(await self.deliver(delivery, "a@x.test"), Relayed)
        self.assertEqual((len(self.web.asked), len(self.auth_lines(up))), (2, 2))
        self.assertEqual(self.notices, [])
        self.assertFalse(delivery._hops["up"].account._credentials._is_doubted)

    async def test_refused_with_a_new_token_too(self):
        up = self.there({"auth": WRONG}, offered="AUTH XOAUTH2")
        attempt = await self.deliver(self.delivery(up), "a@x.test")
        self.assert_kept_back(attempt, up, WRONG, is_refusal=True)
        self.assertEqual((len(self.web.asked), len(self.auth_lines(up))), (2, 2))

    async def test_a_rotated_refresh_token_is_no_reason_to_try_again(self):
        """The file has changed, but by the relay itself."""
        self.patch(account, "LOOK", 0.1)
        self.web.answers = [good(refresh_token=f"refresh-{number}") for number in range(2, 9)]
        up = self.there({"auth": WRONG}, offered="AUTH XOAUTH2")
        await self.deliver(self.delivery(up), "a@x.test")
        await deferLater(self.reactor, 0.5)
        self.assertEqual(self.changed, [])
        write_private(self.folder, "refresh", "refresh-of-an-operator")
        await self.until(lambda: self.changed)

    async def test_revoked_grant(self):
        self.web.answers = [refusal("invalid_grant", "revoked")]
        up = self.there(offered="AUTH XOAUTH2")
        attempt = await self.deliver(self.delivery(up), "a@x.test")
        self.assert_kept_back(attempt, up, "400 invalid_grant: revoked", is_refusal=True)
        self.assertEqual(up.sessions, [])

    async def test_endpoint_away(self):
        self.web.answers = [(503, b"")]
        up = self.there(offered="AUTH XOAUTH2")
        attempt = await self.deliver(self.delivery(up), "a@x.test")
        self.assert_kept_back(attempt, up, "no access token from localhost", is_refusal=False)

    async def test_a_password_mechanism_is_none_for_a_token(self):
        up = self.there(offered="AUTH PLAIN LOGIN")
        attempt = await self.deliver(self.delivery(up), "a@x.test")
        why = "offers AUTH PLAIN LOGIN; it would have to be OAUTHBEARER or XOAUTH2"
        self.assert_kept_back(attempt, up, why, is_refusal=True)


class IdentityTests(LoginCase):
    async def test_sessions_are_never_shared(self):
        up = self.there()
        identity = {"name": "other", "user": "other", "password_file": self.password("x")}
        delivery = self.delivery(up, identity=(identity,), password_file=self.password("x"))
        for lane in ("up", "up:other", "up", "up:other"):
            self.assert_kinds(await self.deliver(delivery, "a@x.test", lane=lane), Relayed)
        self.assertEqual([each.session for each in up.accepted], [0, 1, 0, 1])
        self.assertEqual(
            [line for session in up.sessions for line in session.commands if "AUTH" in line],
            ["AUTH PLAIN AG1lAHg=", "AUTH PLAIN AG90aGVyAHg="],
        )
        self.assertEqual([row["upstream"] for row in delivery.status()], ["up", "up:other"])
