"""Questions to a real resolver: each kind of answer, and whose word on DNSSEC is believed."""

import dns.flags
import dns.message
from twisted.trial.unittest import SynchronousTestCase

from relay.config import SocketAddress
from relay.outbound.dns.answer import Kind, Status
from relay.outbound.dns.question import Questions
from tests.interop.nameserver import TTL, NameServer
from tests.process.child import free_port

ZONE = """\
@ MX 10 Mail
@ MX 20 other.test.
@ TXT "one" " two"
mail A 127.0.0.1
mail AAAA ::1
null MX 0 .
alias CNAME mail
_25._tcp.mail TLSA 3 1 0 abab
"""


class QuestionTests(SynchronousTestCase):
    def setUp(self):
        self.names = NameServer(
            {"plain.test": ZONE, "signed.test": ZONE},
            frozenset({"signed.test"}),
            frozenset({"null.signed.test."}),
        )
        self.addCleanup(self.names.stop)
        self.names.start()
        self.questions = Questions((self.names.address,), 2.0, is_trusted=True)

    def test_kinds(self):
        for name, kind, records in (
            ("plain.test", Kind.MX, {(10, "mail.plain.test"), (20, "other.test")}),
            ("plain.test", Kind.TXT, {b"one two"}),
            ("null.plain.test", Kind.MX, {(0, "")}),
            ("mail.plain.test", Kind.A, {"127.0.0.1"}),
            ("mail.plain.test", Kind.AAAA, {"::1"}),
            ("_25._tcp.mail.plain.test", Kind.TLSA, {(3, 1, 0, b"\xab\xab")}),
        ):
            answer = self.questions.ask(name, kind)
            self.assertEqual((answer.status, set(answer.records)), (Status.FOUND, records))
            self.assertEqual((answer.name, answer.is_secure), (name, False))
            self.assertTrue(0 < answer.ttl <= TTL)

    def test_cname(self):
        answer = self.questions.ask("alias.plain.test", Kind.A)
        self.assertEqual((answer.name, answer.records), ("mail.plain.test", ("127.0.0.1",)))

    def test_secure(self):
        for name, kind, status in (
            ("signed.test", Kind.MX, Status.FOUND),
            ("alias.signed.test", Kind.A, Status.FOUND),
            ("mail.signed.test", Kind.TXT, Status.NO_DATA),
            ("nothing.signed.test", Kind.MX, Status.NO_NAME),
        ):
            answer = self.questions.ask(name, kind)
            self.assertEqual((answer.status, answer.is_secure), (status, True), name)
            self.assertTrue(0 < answer.ttl <= TTL)

    def test_bogus(self):
        answer = self.questions.ask("null.signed.test", Kind.MX)
        self.assertEqual(answer.status, Status.FAILED)
        self.assertEqual(answer.why, "the name servers answered SERVFAIL")

    def test_no_answer(self):
        for servers in ((self.names.address,), (SocketAddress("127.0.0.1", free_port()),)):
            answer = Questions(servers, 0.5, is_trusted=True).ask("a.silent.test", Kind.A)
            self.assertEqual(answer.status, Status.FAILED)
            self.assertTrue(answer.why)

    def test_next_server(self):
        servers = (SocketAddress("127.0.0.1", free_port()), self.names.address)
        answer = Questions(servers, 5.0, is_trusted=True).ask("mail.plain.test", Kind.A)
        self.assertEqual(answer.status, Status.FOUND)

    def test_impossible_names(self):
        for name in ("x" * 64, ".".join(["x" * 60] * 5), "a..b"):
            self.assertEqual(self.questions.ask(name, Kind.A).status, Status.NO_NAME)

    def test_word_of_a_resolver_that_is_not_trusted(self):
        """Whatever it says of itself."""
        response = dns.message.make_response(dns.message.make_query("signed.test", "MX"))
        response.flags |= dns.flags.AD
        for is_trusted in (True, False):
            questions = Questions((self.names.address,), 2.0, is_trusted=is_trusted)
            self.assertEqual(questions._is_secure(response), is_trusted)
        self.assertFalse(questions.ask("signed.test", Kind.MX).is_secure)
