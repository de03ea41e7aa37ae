"""Errors of an address: a table of times, then over real sessions."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config.listener import Listener
from relay.inbound import conduct as conduct_module
from relay.inbound.admission import TOO_MANY_ERRORS_OF_YOURS, Admission
from relay.inbound.conduct import Conduct
from relay.inbound.connection import IN_VAIN
from relay.notices import Disconnected, Rejected
from relay.places import OwnPlaces
from relay.queue.store import StoreFailed
from relay.users.failures import Limits
from tests.inbound.relay_front import Client, Front
from tests.inbound.test_auth import OPEN, plain


class ConductTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.conduct = Conduct()

    def erring(self, most: int, *times: float, key: str = "a") -> list[bool]:
        said = []
        for now in times:
            self.conduct.erred(key, now, 1, most)
            said.append(self.conduct.is_over(key, now, most))
        return said

    def test_as_many_at_once_as_in_a_minute(self) -> None:
        self.assertEqual([False, False, False, True], self.erring(3, 0, 0, 0, 0))
        self.assertFalse(self.conduct.is_over("b", 0, 3))

    def test_the_rate_itself_is_allowed_for_ever(self) -> None:
        self.assertNotIn(True, self.erring(60, *range(1000)))
        self.assertIn(True, self.erring(60, *(now * 0.9 for now in range(1000)), key="b"))

    def test_time_makes_up_for_it(self) -> None:
        """However many there were: what is refused anyhow makes nothing worse."""
        self.assertTrue(self.erring(60, *[0.0] * 1000)[-1])
        self.assertTrue(self.conduct.is_over("a", 0.9, 60))
        self.assertFalse(self.conduct.is_over("a", 1.0, 60))
        self.assertEqual([True], self.erring(60, 1.0), "but it begins where it left")

    def test_a_clock_that_goes_back_forgives_nothing_and_adds_nothing(self) -> None:
        self.assertEqual([False, False], self.erring(2, 1000.0, 0.0))
        self.assertFalse(self.conduct.is_over("a", 0.0, 2))

    def test_no_limit(self) -> None:
        self.assertNotIn(True, self.erring(0, *[0.0] * 1000))
        self.assertEqual(0, len(self.conduct))

    def test_the_table_is_bounded_and_who_erred_longest_ago_goes(self) -> None:
        self.patch(conduct_module, "MAX_KEYS", 3)
        for key in ("a", "b", "c", "a", "d"):
            self.conduct.erred(key, 0.0, 1, 1)
        self.assertEqual(3, len(self.conduct))
        self.assertTrue(self.conduct.is_over("a", 0.0, 1))
        self.assertEqual([False], self.erring(1, 0.0, key="b"))

    def test_what_others_counted_counts_here_and_is_not_told_again(self) -> None:
        told: list[object] = []
        self.conduct.report = lambda *error: told.append(error)
        self.conduct.learn("a", 0.0, 2, 3)
        self.assertEqual([False, True], self.erring(3, 0.0, 0.0))
        self.assertEqual([("a", 1, 3)] * 2, told)


class AdmissionTests(SynchronousTestCase):
    """Strangers are counted by /64, the operator's own by address."""

    def admitted(self, admission: Admission, *hosts: str) -> list[bool]:
        said: list[bool] = []
        for host in hosts:
            admission.ask(host, lambda refusal: said.append(refusal is None))
        return said

    def admission(self, *, is_trusted: bool = False, **keys: Any) -> Admission:
        config = Listener(name="lan", address="127.0.0.1:0", **keys)
        return Admission(config, OwnPlaces(), Conduct(), lambda host: is_trusted, Clock())

    def test_sessions(self) -> None:
        hosts = ("fd00::1", "fd00::2", "fd00:0:0:1::1")
        strange = self.admission(max_connections_per_client=1)
        self.assertEqual([True, False, True], self.admitted(strange, *hosts))
        own = self.admission(is_trusted=True, max_connections_per_client=1)
        self.assertEqual([True, True, True, False], self.admitted(own, *hosts, hosts[0]))

    def test_they_come_back(self) -> None:
        for is_trusted in (True, False):
            admission = self.admission(is_trusted=is_trusted, max_connections_per_client=1)
            for _ in range(3):
                self.assertEqual([True], self.admitted(admission, "fd00::1"))
                admission.leave("fd00::1")

    def test_errors(self) -> None:
        strange = self.admission(max_errors_per_client=1)
        own = self.admission(is_trusted=True, max_errors_per_client=1)
        for admission in (strange, own):
            admission.erred("fd00::1", 1)
            admission.erred("fd00::2", 1)
        self.assertEqual([False, True], self.admitted(strange, "fd00::3", "192.0.2.1"))
        self.assertEqual([True], self.admitted(own, "fd00::1"))

    def test_a_neighbour_of_ours(self) -> None:
        """In the same /64 as a stranger who errs."""
        config = Listener(name="lan", address="127.0.0.1:0", max_errors_per_client=1)
        admission = Admission(
            config, OwnPlaces(), Conduct(), lambda host: host == "fd00::5", Clock()
        )
        admission.erred("fd00::1", 5)
        self.assertEqual([False, True], self.admitted(admission, "fd00::2", "fd00::5"))

    def test_a_client_that_is_told_of_later(self) -> None:
        """By XCLIENT: both places are given back where he gets none."""
        admission = self.admission(max_errors_per_client=1, max_connections=1)
        admission.erred("192.0.2.7", 5)
        self.assertEqual([True], self.admitted(admission, "192.0.2.1"))
        said: list[object] = []
        admission.move("192.0.2.1", "192.0.2.7", said.append)
        self.assertEqual([TOO_MANY_ERRORS_OF_YOURS], said)
        self.assertEqual([True], self.admitted(admission, "192.0.2.2"))

    def test_an_address_at_one_listener_is_another_at_the_next(self) -> None:
        conduct = Conduct()
        for name, expected in (("lan", False), ("wan", True)):
            config = Listener(name=name, address="127.0.0.1:0", max_errors_per_client=1)
            admission = Admission(config, OwnPlaces(), conduct, lambda host: False, Clock())
            if name == "lan":
                admission.erred("192.0.2.7", 2)
            self.assertEqual([expected], self.admitted(admission, "192.0.2.7"))

    def test_nobody_knows_who(self) -> None:
        """XCLIENT ADDR=[UNAVAILABLE]."""
        admission = self.admission(max_errors_per_client=1, max_connections_per_client=1)
        self.assertEqual([True, False], self.admitted(admission, "unknown", "unknown"))
        admission.erred("unknown", 1)
        admission.erred("unknown", 1)
        self.assertTrue(admission.is_worn_out_by("unknown"))


class SessionTests(TestCase):
    timeout = 30

    async def begin(self, **keys: Any) -> Client:
        self.front = Front(**{"networks": ("192.0.2.0/24",), "max_errors_per_client": 3, **keys})
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        return await self.front.connect()

    def reasons(self) -> list[str]:
        return [n.reason for n in self.front.bench.notices if isinstance(n, Disconnected)]

    async def check_turned_away(self) -> None:
        client = await self.front.connect()
        self.assertEqual([str(TOO_MANY_ERRORS_OF_YOURS)], await client.heard(1))
        await client.gone

    async def test_over_several_sessions(self) -> None:
        client = await self.begin()
        client.say("NONSENSE", "NONSENSE")
        await client.heard(3)
        other = await self.front.connect()
        other.say("NONSENSE", "NONSENSE", "NOOP")
        await other.gone
        self.assertEqual(["220", "500", "421"], [line[:3] for line in other.lines()])
        self.assertEqual(["too many errors"], self.reasons())
        await self.check_turned_away()
        client.say("NOOP")
        self.assertEqual("250", (await client.heard(4))[-1][:3], "who errs no more may go on")

    async def test_refused_recipients(self) -> None:
        client = await self.begin()
        client.say("EHLO c", "MAIL FROM:<a@example.net>", *("RCPT TO:<b@example.org>",) * 5)
        await client.gone
        codes = [line[:3] for line in client.lines()]
        self.assertEqual(["550", "550", "550", "421"], codes[-4:])
        await self.check_turned_away()

    async def test_refused_authentication(self) -> None:
        """The session ends by that, too, and its last word is not held back."""
        client = await self.begin(**OPEN)
        guesses = [plain("user", f"guess{n}") for n in range(3)]
        client.say("HELO c", "EHLO c", *guesses)
        while len([n for n in self.front.bench.notices if isinstance(n, Rejected)]) < 3:
            await deferLater(reactor, 0.001, lambda: None)
        self.front.failures.limits = Limits(3600.0, 3600.0, 1000, 60.0)
        client.say(plain("user", "another guess"))
        await client.gone
        self.assertEqual(["535"] * 3 + ["421"], [line[:3] for line in client.lines()[-4:]])
        self.assertEqual(["too many errors"], self.reasons())
        await self.check_turned_away()

    async def test_octets_of_which_no_message_comes(self) -> None:
        """Each MiB counts, at the latest when the session is lost."""
        client = await self.begin()
        client.say("EHLO c", f"BDAT {10 * IN_VAIN}")
        client.transport.write(b"x" * (4 * IN_VAIN))
        while not self.octets() >= 4 * IN_VAIN:
            await deferLater(reactor, 0.001, lambda: None)
        client.transport.loseConnection()
        await client.gone
        while not self.reasons():
            await deferLater(reactor, 0.001, lambda: None)
        await self.check_turned_away()

    def octets(self) -> int:
        return sum(session._octets for session in self.front.factory._sessions)

    async def test_octets_of_a_message(self) -> None:
        client = await self.begin(networks=(), accept_recipients=("*@example.org",))
        client.say("HELO c")
        for round_ in range(1, 4):
            client.say("MAIL FROM:<a@b.example>", "RCPT TO:<r@example.org>", "DATA")
            client.say(*["x" * 100] * (2 * IN_VAIN // 102), ".")
            self.assertEqual("250", (await client.heard(2 + 4 * round_))[-1][:3])
        client.say("NONSENSE")
        self.assertEqual("500", (await client.heard(15))[-1][:3])

    async def test_octets_of_a_message_that_we_cannot_take_now(self) -> None:
        """They are not the client's fault."""
        client = await self.begin(networks=(), accept_recipients=("*@example.org",))
        self.front.bench.store.insert = lambda new: fail(StoreFailed("disk full"))
        client.say("HELO c")
        for round_ in range(1, 4):
            client.say("MAIL FROM:<a@b.example>", "RCPT TO:<r@example.org>", "DATA")
            client.say(*["x" * 100] * (2 * IN_VAIN // 102), ".")
            self.assertEqual("451", (await client.heard(2 + 4 * round_))[-1][:3])
        client.say("NONSENSE")
        self.assertEqual("500", (await client.heard(15))[-1][:3])

    async def test_one_last_word_where_the_relay_is_being_stopped_too(self) -> None:
        keys = {"networks": (), "accept_recipients": ("*@example.org",), "max_received": 30}
        client = await self.begin(**keys, max_errors_per_client=1)
        client.say("HELO c", "NONSENSE", "MAIL FROM:<a@b.example>", "RCPT TO:<r@example.org>")
        client.say("DATA")
        await client.heard(6)
        self.front.factory.leave()
        client.say(*["Received: from a by b; date"] * 31, "", "x", ".")
        await client.gone
        self.assertEqual([str(TOO_MANY_ERRORS_OF_YOURS)], client.lines()[6:])

    async def test_those_who_may_relay_are_not_counted(self) -> None:
        client = await self.begin(networks=("127.0.0.0/8",))
        client.say(*("NONSENSE",) * 6)
        self.assertEqual(["500"] * 6, [line[:3] for line in (await client.heard(7))[1:]])
        rejected = [n for n in self.front.bench.notices if isinstance(n, Rejected)]
        self.assertEqual(6, len(rejected))

    async def test_nor_those_who_have_authenticated(self) -> None:
        client = await self.begin(**OPEN)
        client.say("HELO c", "EHLO c", plain(), *("NONSENSE",) * 6, "QUIT")
        await client.gone
        self.assertEqual(["500"] * 6 + ["221"], [line[:3] for line in client.lines()[-7:]])
