"""Tokens from a real HTTPS endpoint: each grant, and each thing that may go wrong."""

import json
import os
from base64 import urlsafe_b64decode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.config import Upstream
from relay.outbound.identity.account import NoLogin
from relay.outbound.identity.fetching import Fetcher
from relay.outbound.identity.grant_secrets import problems
from relay.outbound.identity.grants import MAX_LIFE, USUAL_LIFE, _life
from relay.outbound.identity.shared_token import SharedToken
from relay.outbound.identity.tokens import Tokens
from tests.certificates import self_signed
from tests.outbound.identity.token_server import (
    AUTHORITY,
    TokenServer,
    good,
    refusal,
    serve,
    write_private,
)

KEY = rsa.generate_private_key(65537, 2048)


def pem(key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class TokenCase(TestCase):
    reactor = reactor

    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.notices = []
        self.web = TokenServer()
        self.url = serve(self, self.web)

    def private(self, name, text):
        return write_private(self.folder, name, text)

    def oauth(self, grant, **more):
        given = {"grant": grant, "token_url": self.url, "client_id": "client", "timeout": "5s"}
        return {**given, "ca_file": str(AUTHORITY.write(self.folder)), **more}

    def refreshing(self, **more):
        given = {"refresh_token_file": self.private("refresh", "refresh-1\n"), **more}
        return self.tokens(self.oauth("refresh-token", **given))

    def tokens(self, oauth):
        upstream = Upstream.model_validate(
            {"name": "up", "hosts": ("smtp://localhost",), "user": "me@x.test", "oauth": oauth}
        )
        oauth = upstream.oauth
        fetcher = Fetcher("me@x.test", oauth, self.notices.append, reactor)
        self.shared = SharedToken(oauth, fetcher, reactor)
        self.addCleanup(self.shared.settle, 0)
        return Tokens(upstream, oauth, self.shared, reactor, may_go_plain=False)

    def pass_by(self, seconds):
        """As if the token had been fetched so long ago."""
        held = self.shared._held
        self.shared._held = replace(held, fetched_at=held.fetched_at - seconds)

    async def refused(self, tokens):
        """The trouble, and whether it is for good."""
        try:
            login = await tokens.login()
        except NoLogin as error:
            self.assertEqual((error.trouble.code, error.trouble.status), (451, "4.7.0"))
            return str(error.trouble), error.is_refusal
        raise self.failureException(f"it got {login}")


class GrantTests(TokenCase):
    async def test_refresh_token(self):
        secret = self.private("secret", "hush\r\n")
        login = await self.refreshing(client_secret_file=secret, scope="mail offline").login()
        self.assertEqual((login.user, login.secret, login.is_token), ("me@x.test", "token-1", True))
        wanted = {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-1",
            "client_id": "client",
            "client_secret": "hush",
            "scope": "mail offline",
        }
        self.assertEqual(self.web.asked, [wanted])

    async def test_client_credentials(self):
        secret = self.private("secret", "hush")
        tokens = self.tokens(self.oauth("client-credentials", client_secret_file=secret, scope="s"))
        self.assertEqual((await tokens.login()).secret, "token-1")
        wanted = {"client_id": "client", "client_secret": "hush", "scope": "s"}
        self.assertEqual(self.web.asked, [{"grant_type": "client_credentials", **wanted}])

    async def test_secret_from_the_environment(self):
        self.patch(os, "environ", {**os.environ, "RELAY_TEST_SECRET": "from there"})
        oauth = self.oauth("client-credentials", client_secret_env="RELAY_TEST_SECRET")
        await self.tokens(oauth).login()
        self.assertEqual(self.web.asked[0]["client_secret"], "from there")

    async def check_service_account(self, text, issuer, **more):
        key_file = self.private("key", text)
        oauth = self.oauth("service-account", key_file=key_file, scope="mail", **more)
        self.assertEqual((await self.tokens(oauth).login()).secret, "token-1")
        form = self.web.asked.pop()
        self.assertEqual(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer")
        signed, _, signature = form["assertion"].rpartition(".")
        KEY.public_key().verify(
            _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        self.assertEqual(header["alg"], "RS256")
        self.assertEqual(claims["exp"], claims["iat"] + 3600)
        self.assertLess(abs(claims["iat"] - reactor.seconds()), 60)
        told = {name: claims[name] for name in ("iss", "sub", "aud", "scope")}
        wanted = {"iss": issuer, "sub": "me@x.test", "aud": self.url, "scope": "mail"}
        self.assertEqual(told, wanted)
        return header

    async def test_service_account(self):
        await self.check_service_account(pem(KEY), "client")
        file = {"client_email": "it@x.test", "private_key": pem(KEY), "private_key_id": "7"}
        header = await self.check_service_account(json.dumps(file), "it@x.test", client_id=None)
        self.assertEqual(header["kid"], "7")

    def test_key_files_that_are_none(self):
        for text, why in (
            ("{", "is no JSON"),
            ("{}", "holds no private key"),
            ("x", "holds no private key"),
            (pem(ec.generate_private_key(ec.SECP256R1())), "of another kind than RSA"),
        ):
            oauth = self.oauth("service-account", key_file=self.private("key", text))
            (problem,) = problems(self.tokens(oauth)._oauth)
            self.assertIn(why, problem)


class LifeTests(TokenCase):
    async def test_one_fetch_for_all_who_wait_and_none_while_it_is_good(self):
        tokens = self.refreshing()
        logins = await gatherResults([tokens.login() for _ in range(5)])
        logins.append(await tokens.login())
        self.assertEqual({login.secret for login in logins}, {"token-1"})
        self.assertEqual(len(self.web.asked), 1)

    async def test_a_life_that_is_no_number_is_the_usual_one(self):
        for told in (10**400, "x", -1, [], float("nan")):
            self.assertEqual(USUAL_LIFE, _life(told))
        self.assertEqual(MAX_LIFE, _life(float("inf")))

    async def test_renewed_before_it_expires(self):
        self.web.answers = [good("short", expires_in=1), good("long")]
        tokens = self.refreshing()
        self.assertEqual((await tokens.login()).secret, "short")
        await deferLater(reactor, 0.6)
        self.assertEqual((await tokens.login()).secret, "long")

    async def test_the_old_one_serves_while_the_endpoint_is_away(self):
        self.web.answers = [good("old", expires_in=600), (503, b"busy")]
        tokens = self.refreshing()
        await tokens.login()
        self.pass_by(400)
        self.assertEqual((await tokens.login()).secret, "old")
        await self.shared.settle(5)
        self.assertEqual((await tokens.login()).secret, "old")
        self.assertEqual(len(self.web.asked), 2)

    async def test_another_one_after_535_and_only_one(self):
        self.web.answers = [good("a"), good("b")]
        tokens = self.refreshing()
        login = await tokens.login()
        self.assertTrue(tokens.again(login))
        login = await tokens.login()
        self.assertEqual(login.secret, "b")
        self.assertFalse(tokens.again(login))

    async def test_an_endpoint_that_gives_the_same_again(self):
        self.web.answers = [good("a")]
        tokens = self.refreshing()
        self.assertTrue(tokens.again(await tokens.login()))
        for _ in range(3):
            self.assertEqual((await tokens.login()).secret, "a")
        self.assertEqual(len(self.web.asked), 2)

    async def test_doubts_end_with_a_login_that_goes_well(self):
        self.web.answers = [good("a"), good("b"), good("c")]
        tokens = self.refreshing()
        self.assertTrue(tokens.again(await tokens.login()))
        login = await tokens.login()
        tokens.accepted()
        self.assertTrue(tokens.again(login))
        login = await tokens.login()
        self.assertEqual((login.secret, tokens.again(login)), ("c", False))
        self.assertFalse(tokens.again(login))  # still in doubt

    async def test_a_rotated_refresh_token_is_written_back(self):
        self.web.answers = [good(expires_in=1, refresh_token="refresh-2"), good("token-2")]
        tokens = self.refreshing()
        await tokens.login()
        path = self.folder / "refresh"
        self.assertEqual((path.read_text(), path.stat().st_mode & 0o777), ("refresh-2\n", 0o600))
        self.pass_by(1)
        await tokens.login()
        self.assertEqual(self.web.asked[1]["refresh_token"], "refresh-2")
        self.assertEqual([each.name for each in self.folder.glob(".*")], [])

    async def test_a_rotated_refresh_token_is_no_change_of_the_file(self):
        """Else a refused login would be tried again at once, for ever."""
        self.web.answers = [good(refresh_token="refresh-2")]
        tokens = self.refreshing()
        await tokens.login()
        self.assertEqual(tokens.made_of, tokens.version())
        self.private("refresh", "refresh-3")
        self.assertNotEqual(tokens.made_of, tokens.version())

    async def test_what_an_operator_wrote_meanwhile_is_not_overwritten(self):
        self.web.answers = [good(expires_in=1, refresh_token="refresh-2")]
        tokens = self.refreshing()
        self.web.before = lambda: self.private("refresh", "refresh-9")
        await tokens.login()
        self.assertEqual((self.folder / "refresh").read_text(), "refresh-9")
        self.web.before = None
        self.pass_by(1)
        await tokens.login()
        self.assertEqual(self.web.asked[1]["refresh_token"], "refresh-9")

    async def test_a_late_answer_is_kept(self):
        """Its waiters have given up; the old refresh token is worth nothing to the endpoint."""
        self.web.answers = [good("late", refresh_token="refresh-2")]
        self.web.delay = 0.6
        tokens = self.refreshing(timeout="0.2s")
        trouble, is_refusal = await self.refused(tokens)
        self.assertIn("no answer in time", trouble)
        self.assertFalse(is_refusal)
        await self.shared.settle(5)
        self.assertEqual((self.folder / "refresh").read_text(), "refresh-2\n")
        self.assertEqual((await tokens.login()).secret, "late")
        self.assertEqual(len(self.web.asked), 1)

    async def test_a_rotated_refresh_token_that_cannot_be_written(self):
        """It goes on in memory, and somebody is told."""
        self.web.answers = [good(expires_in=1, refresh_token="refresh-2"), good("token-2")]
        tokens = self.refreshing()
        self.web.before = (self.folder / "refresh").unlink
        await tokens.login()
        (alarm,) = self.notices
        self.assertEqual(alarm.what, "refresh token of me@x.test")
        self.assertNotIn("refresh-2", alarm.why)
        self.pass_by(1)
        self.web.before = None
        await tokens.login()
        self.assertEqual(self.web.asked[1]["refresh_token"], "refresh-2")


class TroubleTests(TokenCase):
    async def test_refused_for_good(self):
        about = "AADSTS70043: The refresh token has expired"
        self.web.answers = [refusal("invalid_grant", about)]
        trouble, is_refusal = await self.refused(self.refreshing())
        self.assertIn("localhost: it answered 400 invalid_grant: AADSTS70043", trouble)
        self.assertTrue(is_refusal)

    async def test_a_changed_file_is_tried_at_once(self):
        self.web.answers = [refusal("invalid_grant"), good()]
        tokens = self.refreshing()
        await self.refused(tokens)
        await self.refused(tokens)
        self.assertEqual(len(self.web.asked), 1)  # it is not asked again within a while
        self.private("refresh", "refresh-3")
        self.assertEqual((await tokens.login()).secret, "token-1")

    async def test_delays(self):
        """What may be over by itself."""
        for answer, why in (
            ((500, b"oops"), "it answered 500 with something else than JSON"),
            (refusal("server_error", code=500), "it answered 500 server_error"),
            (refusal("slow_down"), "it answered 400 slow_down"),
            ((302, {}), "it answered 302"),
            ((200, b"<html>"), "it answered 200 with something else than JSON"),
            ((200, {"access_token": 5}), "without a usable access_token"),
            ((200, {"access_token": "a\r\nQUIT"}), "without a usable access_token"),
            ((200, b"[" * 70000), "the answer is larger than 65536 octets"),
        ):
            self.web.answers = [answer]
            trouble, is_refusal = await self.refused(self.refreshing())
            self.assertIn(why, trouble)
            self.assertFalse(is_refusal, answer)

    async def test_slow(self):
        self.web.answers = [None]
        trouble, is_refusal = await self.refused(self.refreshing(timeout="0.3s"))
        self.assertIn("no answer in time", trouble)
        self.assertFalse(is_refusal)

    async def test_away(self):
        self.url = "https://localhost:1/token"
        trouble, is_refusal = await self.refused(self.refreshing())
        self.assertIn("refused", trouble)
        self.assertFalse(is_refusal)

    async def test_whoever_poses_as_it_is_told_nothing(self):
        expired = AUTHORITY.issue("localhost", valid_until=-timedelta(hours=1))
        for identity in (self_signed("localhost"), expired, AUTHORITY.issue("other.example")):
            self.url = serve(self, self.web, identity)
            trouble, is_refusal = await self.refused(self.refreshing())
            self.assertRegex(trouble, "TLS handshake failed|its certificate is for another name")
            self.assertEqual((is_refusal, self.web.asked), (False, []))

    async def test_secrets_are_not_told(self):
        self.web.answers = [refusal("invalid_grant", "what is refresh-1 to me?")]
        tokens = self.refreshing()
        trouble, _ = await self.refused(tokens)
        self.assertNotIn("refresh-1", trouble)
        self.assertNotIn("refresh-1", repr(tokens) + repr(self.shared._source._secrets))

    async def test_a_file_that_others_can_read(self):
        tokens = self.refreshing()
        (self.folder / "refresh").chmod(0o640)
        trouble, is_refusal = await self.refused(tokens)
        self.assertIn("can be read by others; run: chmod 600", trouble)
        self.assertTrue(is_refusal)
        self.assertEqual(self.web.asked, [])


def _decoded(text) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
