"""AUTH's argument and the lines of an exchange."""

from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.grammar import Malformed
from relay.smtp.sasl.commands import challenge, parse_auth, read_response
from relay.smtp.wire import reply_octets

OFFERED = ("PLAIN", "LOGIN")

BAD_BASE64 = (
    b"!",
    b"YQ",
    b"YQ=",
    b"YQ===",
    b"YWFh=",
    b"YWFh====",
    b"Y Q==",
    b"YQ==YQ==",
    b"=",
    b"====",
    b"Y\0==",
    b"\xff\xfe",
)


class AuthTests(SynchronousTestCase):
    def test_good(self) -> None:
        for argument, parsed in (
            ("PLAIN", ("PLAIN", None)),
            ("plain", ("PLAIN", None)),
            ("PLAIN =", ("PLAIN", b"")),
            ("Login  dGlt", ("LOGIN", b"tim")),
        ):
            self.assertEqual(parse_auth(argument, OFFERED), parsed)

    def refusal(self, argument: str) -> str:
        return str(self.assertRaises(Malformed, parse_auth, argument, OFFERED))

    def test_bad(self) -> None:
        for argument, said in (
            ("", "501 5.5.4"),
            ("PLAIN a b", "501 5.5.4"),
            ("CRAM-MD5", "504 5.5.4"),
            ("SCRAM-SHA-256-PLUS =", "504 5.5.4"),
            ("PLAIN \u00e9", "501 5.5.2"),
            ("PLAIN *", "501 5.5.2"),
        ):
            self.assertEqual(self.refusal(argument)[:9], said, argument)

    def test_bad_base64(self) -> None:
        for octets in BAD_BASE64:
            fault = self.assertRaises(Malformed, read_response, octets)
            self.assertEqual(str(fault), "501 5.5.2 Not Base64")

    def test_cancelled(self) -> None:
        fault = self.assertRaises(Malformed, read_response, b"*")
        self.assertEqual(str(fault)[:9], "501 5.0.0")

    def test_an_empty_response(self) -> None:
        self.assertEqual(read_response(b""), b"")


class ChallengeTests(SynchronousTestCase):
    def test_empty(self) -> None:
        self.assertEqual(reply_octets(challenge(b"")), b"334 \r\n")

    def test_whole_whatever_its_length(self) -> None:
        self.assertEqual(len(reply_octets(challenge(b"x" * 3000))), 4 + 4000 + 2)
