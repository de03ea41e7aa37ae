"""Which calls go to the committing thread together, and that all of them come back."""

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from relay.queue.group_commit import PATIENCE, Call, GroupCommit


class Noting:
    """A ledger that keeps the names of each group."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    def open(self) -> str:
        return "open"

    def commit(self, calls: Sequence[Call]) -> Sequence[Any]:
        self.groups.append([call.name for call in calls])
        return [call.arguments for call in calls]

    def read(self, call: Call) -> Any:
        return call.name

    def close(self) -> None:
        pass


class Stepped(Clock):
    """Its time is the test's; what comes from the thread comes to the real reactor."""

    def callFromThread(self, function: Any, /, *arguments: Any, **keywords: Any) -> object:
        return reactor.callFromThread(function, *arguments, **keywords)


class PatienceTests(TestCase):
    async def setUp(self) -> None:
        self.ledger = Noting()
        self.calls = GroupCommit(reactor, self.ledger)
        await self.calls.open()

    async def test_a_patient_call_goes_with_the_next_one(self) -> None:
        patient = self.calls.write_patiently("settle", 1).deferred()
        await gatherResults([self.calls.write("insert", 2).deferred(), patient])
        await self.calls.close()
        self.assertEqual(self.ledger.groups, [["settle", "insert"]])

    async def test_a_patient_call_needs_no_other(self) -> None:
        calls = [self.calls.write_patiently("settle", number).deferred() for number in (1, 2)]
        self.assertEqual(await gatherResults(calls), [(1,), (2,)])
        self.assertEqual(await self.calls.write_patiently("settle", 3), (3,))
        await self.calls.close()
        self.assertEqual(self.ledger.groups, [["settle", "settle"], ["settle"]])

    async def test_a_read_sees_what_was_written_patiently_before_it(self) -> None:
        done: list[str] = []
        self.calls.write_patiently("settle").addCallbacks(
            lambda _: done.append("settle"), self.fail
        )
        await self.calls.read("claim").addCallback(done.append)
        await self.calls.close()
        self.assertEqual(done, ["settle", "claim"])

    async def test_the_end_does_not_wait_for_patience(self) -> None:
        patient = self.calls.write_patiently("settle", 1).deferred()
        await self.calls.close()
        self.assertEqual(self.successResultOf(patient), (1,))


class LatePatienceTests(TestCase):
    """The first settlement has gone with an insertion; its time runs on."""

    async def setUp(self) -> None:
        self.ledger, self.clock = Noting(), Stepped()
        self.calls = GroupCommit(self.clock, self.ledger)
        await self.calls.open()
        self.calls.write_patiently("first")
        insertion = self.calls.write("insert").deferred()
        self.clock.advance(PATIENCE / 2)
        await insertion

    async def test_each_settlement_has_its_own_time_for_company(self) -> None:
        self.calls.write_patiently("settle")
        self.clock.advance(PATIENCE / 2)
        self.calls.write("insert")
        self.clock.advance(0)
        await self.calls.close()
        self.assertEqual(self.ledger.groups, [["first", "insert"], ["settle", "insert"]])

    async def test_it_goes_alone_when_nobody_comes(self) -> None:
        settled = self.calls.write_patiently("settle").deferred()
        for _ in range(3):
            self.clock.advance(PATIENCE / 2)
        await settled
        await self.calls.close()
        self.assertEqual(self.ledger.groups, [["first", "insert"], ["settle"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])
