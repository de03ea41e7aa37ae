"""The client's side of AUTH: the standards' examples, and servers that are not to be believed."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.sasl import base64, scram, server
from relay.smtp.sasl.client import (
    MAX_ITERATIONS,
    Distrusted,
    Exchange,
    Login,
    choose,
)
from tests.properties import given

NONCE = "rOprNGfwEbeRWgbNEkqO"
EVERY = "LOGIN PLAIN XOAUTH2 SCRAM-SHA-256 OAUTHBEARER CRAM-MD5"
PASSWORD, TOKEN = Login("user", "pencil"), Login("user", "pencil", is_token=True)


def exchange(name: str, login: Login = PASSWORD) -> Exchange:
    found = choose(name, login, NONCE)
    assert found is not None
    return found


class ChoiceTests(SynchronousTestCase):
    def name(self, offered: str, login: Login) -> str:
        found = choose(offered, login, NONCE)
        return "" if found is None else found.name

    def test_the_strongest_that_fits(self) -> None:
        self.assertEqual(self.name(EVERY, PASSWORD), "SCRAM-SHA-256")
        self.assertEqual(self.name("login plain", PASSWORD), "PLAIN")
        self.assertEqual(self.name(EVERY, TOKEN), "OAUTHBEARER")
        self.assertEqual(self.name("PLAIN XOAUTH2", TOKEN), "XOAUTH2")

    def test_restricted(self) -> None:
        login = Login("u", "p", mechanisms=("LOGIN", "XOAUTH2"))
        self.assertEqual(self.name(EVERY, login), "LOGIN")
        self.assertEqual(self.name("PLAIN SCRAM-SHA-256 XOAUTH2", login), "")

    def test_none(self) -> None:
        for offered in ("", "CRAM-MD5", "SCRAM-SHA-256-PLUS", "PLAINER"):
            self.assertEqual(self.name(offered, PASSWORD), "")
        self.assertEqual(self.name("PLAIN LOGIN", TOKEN), "")


class OneStepTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """RFC 4616 4."""
        login = Login("tim", "tanstaaftanstaaf")
        self.assertEqual(exchange("PLAIN", login).begin(), b"\0tim\0tanstaaftanstaaf")

    def test_xoauth2(self) -> None:
        """The example that Google and Microsoft document."""
        login = Login("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", True)
        initial = exchange("XOAUTH2", login).begin() or b""
        self.assertEqual(
            base64.encode(initial),
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNr"
            "QmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==",
        )

    def test_oauthbearer(self) -> None:
        """RFC 7628 3.1 and 3.2.3; a name with a comma is escaped."""
        asked = exchange(
            "OAUTHBEARER", Login("a,b@example.com", "vF9dft4qmTc2Nvb3RlckBhdHRh", True)
        )
        wanted = b"n,a=a=2Cb@example.com,\1auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRh\1\1"
        self.assertEqual(asked.begin(), wanted)
        self.assertEqual(asked.respond(b'{"status":"invalid_token"}'), b"\1")
        self.assertRaises(Distrusted, asked.respond, b"more")

    def test_login(self) -> None:
        asked = exchange("LOGIN")
        self.assertIsNone(asked.begin())
        self.assertEqual([asked.respond(b"?"), asked.respond(b"")], [b"user", b"pencil"])
        self.assertRaises(Distrusted, asked.respond, b"PIN:")

    def test_secrets_are_not_shown(self) -> None:
        for login in (PASSWORD, TOKEN):
            self.assertNotIn("pencil", repr(login))
            for name in EVERY.split():
                if choose(name, login, NONCE) is not None:
                    self.assertNotIn("pencil", repr(exchange(name, login)))


class ScramTests(SynchronousTestCase):
    """RFC 7677 3."""

    first = (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

    def begun(self) -> Exchange:
        asked = exchange("SCRAM-SHA-256")
        self.assertEqual(asked.begin(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        return asked

    def test_the_example(self) -> None:
        asked = self.begun()
        self.assertEqual(
            asked.respond(self.first),
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        self.assertFalse(asked.is_settled)
        self.assertEqual(asked.respond(self.last), b"")
        self.assertTrue(asked.is_settled)

    def test_not_to_be_believed(self) -> None:
        nonce = b"r=rOprNGfwEbeRWgbNEkqO1,"
        for first in (
            b"",
            b"\xff",
            b"e=other-error",
            b"m=x," + self.first,
            self.first.replace(b"r=rO", b"r=xO"),
            b"r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",  # nothing of its own
            nonce + b"s=W22,i=4096",
            nonce + b"s=W22Z,i=x",
            nonce + b"s=W22Z,i=0",
            nonce + b"s=W22Z,i=%d" % (MAX_ITERATIONS + 1),
            nonce + b"s=W22Z",
        ):
            self.assertRaises(Distrusted, self.begun().respond, first)
        for last in (b"", b"v=", b"v=AAAA", b"e=invalid-proof", self.last[:-4] + b"AAA="):
            asked = self.begun()
            asked.respond(self.first)
            self.assertRaises(Distrusted, asked.respond, last)
            self.assertFalse(asked.is_settled)

    @given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
    def test_our_own_server_agrees(self, name: str, password: str) -> None:
        """Whatever can be prepared, and holds no NUL."""
        try:
            keys = scram.derive_keys(server.prepare(password), b"salt", 1)
            server.prepare(name)
        except ValueError:
            return
        there = server.Scram("theirs")
        asked = exchange("SCRAM-SHA-256", Login(name, password))
        there.step(asked.begin())
        first = there.found(keys)
        assert isinstance(first, server.Challenge)
        last = there.step(asked.respond(first.octets))
        assert isinstance(last, server.Challenge)
        self.assertEqual(there.step(asked.respond(last.octets)), server.Granted(there.name))
