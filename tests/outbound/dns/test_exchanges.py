"""The limits on what a domain may make us look at, with answers that no real zone should have; and
what is not known for the moment only."""

from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.dns.answer import Answer, Kind, Status
from relay.outbound.dns.exchanges import MAX_ADDRESSES, MAX_HOSTS, Exchanges

HOSTS = 3 * MAX_HOSTS
ADDRESSES = 3 * MAX_ADDRESSES


class Crowd:
    """A domain of very many hosts, each with very many addresses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Kind]] = []

    def ask(self, name: str, kind: Kind) -> "Deferred[Answer]":
        self.asked.append((name, kind))
        records: dict[Kind, tuple[Any, ...]] = {
            Kind.MX: tuple((number, f"mx{number}.example") for number in range(HOSTS)),
            Kind.A: tuple(f"192.0.2.{number}" for number in range(ADDRESSES)),
            Kind.AAAA: tuple(f"2001:db8::{number}" for number in range(ADDRESSES)),
        }
        return succeed(Answer(Status.FOUND, name, records[kind]))


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.crowd = Crowd()
        exchanges = Exchanges(self.crowd, lambda name, address: False, Random(1))
        finding = Deferred.fromCoroutine(exchanges.find("crowd.example"))
        self.found: Any = self.successResultOf(finding)

    def test_hosts(self) -> None:
        """The best ones; the others are not even looked up."""
        names = [f"mx{number}.example" for number in range(MAX_HOSTS)]
        self.assertEqual(names, [each.name for each in self.found])
        self.assertEqual(1 + 2 * MAX_HOSTS, len(self.crowd.asked))

    def test_addresses(self) -> None:
        """Of each host, both families among them."""
        for each in self.found:
            self.assertEqual(MAX_ADDRESSES, len(each.addresses))
            self.assertEqual(MAX_ADDRESSES // 2, sum(":" in a for a in each.addresses))


class NobodyKnowsNowTests(SynchronousTestCase):
    """A domain with a host before this relay, and one behind it."""

    def status(self, first: Status, last: Status = Status.FAILED) -> str:
        """Of the reply, where neither has an address."""
        answers = {"first.example": first, "us.example": Status.NO_DATA, "last.example": last}

        class Names:
            def ask(self, name: str, kind: Kind) -> "Deferred[Answer]":
                if kind is Kind.MX:
                    named = enumerate(answers)
                    return succeed(Answer(Status.FOUND, name, tuple(named)))
                return succeed(Answer(answers[name], name, why="SERVFAIL"))

        exchanges = Exchanges(Names(), lambda name, address: name == "us.example", Random(1))
        found: Any = self.successResultOf(Deferred.fromCoroutine(exchanges.find("d.example")))
        return f"{found.code} {found.status}"

    def test_a_host_before_this_relay_may_be_there_later(self) -> None:
        self.assertEqual("451 4.4.3", self.status(Status.FAILED))

    def test_one_that_has_no_address_never_will(self) -> None:
        """Whatever the one behind this relay has, to which no mail may go."""
        self.assertEqual("554 5.4.6", self.status(Status.NO_NAME))
