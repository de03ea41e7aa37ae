"""The mechanisms on the server's side: vectors of the RFCs, bad input, nothing told of it."""

import base64

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.sasl.server import (
    MECHANISMS,
    Bad,
    Challenge,
    CheckPassword,
    Denied,
    FindKeys,
    Granted,
    Login,
    Plain,
    Scram,
)
from tests.properties import given
from tests.smtp.sasl.exchanges import (
    CLIENT_NONCE,
    KEYS,
    NAME,
    SERVER_NONCE,
    ScramClient,
    played,
)


class PlainTests(SynchronousTestCase):
    def test_examples_of_the_rfcs(self) -> None:
        for response, name, password in (
            (b"\0tim\0tanstaaftanstaaf", "tim", "tanstaaftanstaaf"),  # RFC 4616 4
            (b"test\0test\x001234", "test", "1234"),  # RFC 4954 4.1
            ("\0\u2168\0\u00aa".encode(), "IX", "a"),  # prepared
        ):
            self.assertEqual(played(Plain(""), response), CheckPassword(name, password))

    def test_without_initial_response(self) -> None:
        self.assertEqual(played(Plain(""), None), Challenge(b""))
        self.assertEqual(played(Plain(""), None, b"\0a\0b"), CheckPassword("a", "b"))

    def test_acting_as_another_user(self) -> None:
        self.assertRaises(Denied, played, Plain(""), b"Ursel\0Kurt\0xipj3plmq")  # RFC 4616 4

    def test_malformed(self) -> None:
        for response in (
            *(b"", b"\0", b"\0\0", b"a\0b", b"\0a\0", b"\0\0b", b"\0a\0b\0", b"\0a\0b\0c"),
            *(b"\0\xff\0b", b"\0a\0\xff", b"\0a\x07\0b", b"\0" + b"a" * 256 + b"\0b"),
            b"\0a\0" + b"b" * 1025,
        ):
            self.assertRaises(Bad, played, Plain(""), response)

    def test_as_long_as_they_may_be(self) -> None:
        name, password = "n" * 255, "p" * 1024
        step = played(Plain(""), f"\0{name}\0{password}".encode())
        self.assertEqual(step, CheckPassword(name, password))


class LoginTests(SynchronousTestCase):
    def test_two_prompts(self) -> None:
        self.assertEqual(played(Login(""), None), Challenge(b"Username:"))
        self.assertEqual(played(Login(""), None, b"tim"), Challenge(b"Password:"))
        self.assertEqual(played(Login(""), None, b"tim", b"x y"), CheckPassword("tim", "x y"))

    def test_the_name_as_initial_response(self) -> None:
        self.assertEqual(played(Login(""), b"tim", b"x"), CheckPassword("tim", "x"))

    def test_malformed(self) -> None:
        for responses in ((b"",), (None, b""), (b"a\0b",), (b"a", b""), (b"a", b"b\0"), (b"\xff",)):
            self.assertRaises(Bad, played, Login(""), *responses)


class ScramTests(SynchronousTestCase):
    def test_example_of_rfc_7677(self) -> None:
        scram = Scram(SERVER_NONCE)
        nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        self.assertEqual(scram.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), FindKeys("user"))
        self.assertEqual(
            scram.found(KEYS), Challenge(f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
        )
        proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        self.assertEqual(
            scram.step(f"c=biws,r={nonce},p={proof}".encode()),
            Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        )
        self.assertEqual(scram.step(b""), Granted("user"))

    def ends(self, client: ScramClient) -> object:
        scram = Scram(SERVER_NONCE)
        first = played(scram, None, client.first())
        final = scram.step(client.final(first.octets))
        self.assertEqual(final, Challenge(b"v=" + base64.b64encode(client.server_signature)))
        return scram.step(b"")

    def test_flags_and_authorization_as_oneself(self) -> None:
        for header in ("n,,", "y,,", "n,a=user,", "y,a=user,"):
            self.assertEqual(self.ends(ScramClient(header=header)), Granted(NAME))

    def test_wrong_password(self) -> None:
        self.assertRaises(Denied, self.ends, ScramClient(password="pen"))

    def test_names_are_unescaped_and_prepared(self) -> None:
        for written, name in (("a=2Cb=3Dc", "a,b=c"), ("\u2168", "IX"), ("=3D2C", "=2C")):
            step = Scram("s").step(f"n,,n={written},r=c".encode())
            self.assertEqual(step, FindKeys(name))

    def test_first_messages_that_are_denied(self) -> None:
        for text in (
            *("p=tls-unique,,n=user,r=c", "p=tls-exporter,,n=user,r=c", "n,a=other,n=user,r=c"),
            "n,,m=ext,n=user,r=c",
        ):
            self.assertRaises(Denied, Scram("s").step, text.encode())

    def test_first_messages_that_are_malformed(self) -> None:
        for text in (
            *("", "n", "n,", "n,,", "x,,n=user,r=c", ",,n=user,r=c", "n,,r=c,n=user", "n,,n=user"),
            *("n,,n=,r=c", "n,,n=user,r=", "n,,n=a=b,r=c", "n,,n=a=2cb,r=c", "n,b=x,n=user,r=c"),
            *(
                "n,,n=user,r=c\x00",
                "n,,n=user,r=\u00e9",
                "n,,n=user,r=" + "c" * 513,
                "n,,n=user,r c",
            ),
        ):
            self.assertRaises(Bad, Scram("s").step, text.encode())
        self.assertRaises(Bad, Scram("s").step, b"n,,n=\xff,r=c")

    def test_an_optional_extension_is_passed_over(self) -> None:
        self.assertEqual(Scram("s").step(b"n,,n=user,r=c,x=y"), FindKeys("user"))

    def final(self, text: str) -> None:
        scram = Scram(SERVER_NONCE)
        played(scram, ScramClient().first())
        scram.step(text.encode())

    def test_final_messages_that_are_denied(self) -> None:
        nonce = CLIENT_NONCE + SERVER_NONCE
        proof = base64.b64encode(b"x" * 32).decode()
        for text in (
            f"c=eSws,r={nonce},p={proof}",  # began with "n"
            f"c=biws,r={nonce}x,p={proof}",
            f"c=biws,r={CLIENT_NONCE},p={proof}",
            f"c=biws,r={nonce},p={proof}",
            f"c=biws,r={nonce},p=eHg=",
        ):
            self.assertRaises(Denied, self.final, text)

    def test_right_proofs_of_what_was_not_agreed(self) -> None:
        """The password alone is not enough: another nonce, another channel binding."""
        for changes in ({"header": "y,,"}, {"header": "n,a=user,"}, {"more": "x"}):
            scram, client = Scram(SERVER_NONCE), ScramClient()
            first = played(scram, client.first())
            fault = self.assertRaises(Denied, scram.step, client.final(first.octets, **changes))
            self.assertNotIn("password", str(fault))
        scram, client = Scram(SERVER_NONCE), ScramClient()
        final = client.final(played(scram, client.first()).octets, more=",x=y")
        self.assertIsInstance(scram.step(final), Challenge)  # an extension, covered by the proof

    def test_final_messages_that_are_malformed(self) -> None:
        nonce = CLIENT_NONCE + SERVER_NONCE
        for text in ("", "x", f"r={nonce},c=biws,p=eHg=", f"c=biws,r={nonce}", "c=biws,p=eHg="):
            self.assertRaises(Bad, self.final, text)
        self.assertRaises(Bad, self.final, f"c=biws,r={nonce},p=!")

    def test_out_of_turn(self) -> None:
        scram = Scram("s")
        scram.step(b"n,,n=user,r=c")
        self.assertRaises(Bad, scram.step, b"n,,n=user,r=c")
        self.assertRaises(Bad, self.after_final, b"more")

    def after_final(self, response: bytes) -> None:
        client, scram = ScramClient(), Scram(SERVER_NONCE)
        first = played(scram, client.first())
        played(scram, client.final(first.octets), response)


class SecrecyTests(SynchronousTestCase):
    def test_no_password_in_a_repr(self) -> None:
        self.assertNotIn("pencil", repr(CheckPassword("user", "pencil")))
        self.assertNotIn(repr(KEYS.stored_key), repr(KEYS))
        self.assertNotIn(repr(KEYS.server_key), repr(KEYS))

    @given(
        st.sampled_from(sorted(MECHANISMS)),
        st.lists(st.one_of(st.none(), st.binary(max_size=60)), min_size=1, max_size=4),
    )
    def test_whatever_comes_is_a_step_or_bad_or_denied(
        self, name: str, responses: list[bytes | None]
    ) -> None:
        """And nobody is granted anything without having proven it."""
        mechanism = MECHANISMS[name]("nonce")
        try:
            step = played(mechanism, *responses)
        except (Bad, Denied) as fault:
            for response in filter(None, responses):
                self.assertFalse(len(response) > 12 and response.decode("latin-1") in str(fault))
            return
        self.assertNotIsInstance(step, Granted)
