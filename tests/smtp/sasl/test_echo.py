"""Replies to AUTH that repeat the credentials, and those that only look like it."""

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.reply import reply
from relay.smtp.sasl import base64
from relay.smtp.sasl.client import Login, choose
from relay.smtp.sasl.echo import LEFT_OUT, without_echo

TOKEN = "ya29.a0AfH6SMBx-long_enough_to_be_one"


class EchoTests(SynchronousTestCase):
    def test_whatever_mechanism_sent_it(self) -> None:
        for mechanism, login in (
            ("PLAIN", Login("tim", "tanstaaf")),
            ("XOAUTH2", Login("tim", TOKEN, is_token=True)),
            ("OAUTHBEARER", Login("tim", TOKEN, is_token=True)),
        ):
            exchange = choose(mechanism, login, "nonce")
            assert exchange is not None
            sent = base64.encode(exchange.begin() or b"")
            for said in (sent, sent.upper(), f'"AUTH {mechanism} {sent}"', f"{sent[:40]}..."):
                found = without_echo(reply(500, "5.5.1", "unknown:", said), login)
                self.assertEqual(found, reply(500, "5.5.1", LEFT_OUT), said)

    def test_as_it_is_and_as_login_sends_it(self) -> None:
        for secret, said in (
            ("tanstaaf", "dGFuc3RhYWY="),
            ("tanstaaf", "no tanstaaf here"),
            ("x1", "eDE="),  # however short
        ):
            found = without_echo(reply(535, "5.7.8", said), Login("tim", secret))
            self.assertEqual(found, reply(535, "5.7.8", LEFT_OUT))

    def test_other_words_stay(self) -> None:
        said = reply(535, "5.7.139", "Authentication unsuccessful for tim, AHRp [FR2P281CA0123]")
        for login in (Login("tim", "tanstaaf"), Login("tim", TOKEN, is_token=True), None):
            self.assertIs(without_echo(said, login), said)
