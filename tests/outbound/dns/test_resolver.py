"""The resolver's bounds: threads, the queue before them, answers by their TTL; and its end."""

import threading
from dataclasses import replace

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from relay.outbound.dns import resolver as module
from relay.outbound.dns.answer import Answer, Kind, Status, weight
from relay.outbound.dns.resolver import FAILURE_KEPT, NOTHING_KEPT_AT_MOST, Resolver


class ResolverTests(TestCase):
    def setUp(self):
        self.asked = []
        self.go = threading.Event()
        self.go.set()
        self.answer = Answer(Status.FOUND, "x.test", ("192.0.2.1",), ttl=60.0)
        self.clock = Clock()
        self.clock.callFromThread = reactor.callFromThread
        self.resolver = Resolver(self.question, self.clock)
        self.addCleanup(self.resolver.stop)
        self.addCleanup(self.go.set)

    def question(self, name, kind):
        self.asked.append((name, kind))
        self.go.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ask(self, name="x.test", kind=Kind.A):
        return await self.resolver.ask(name, kind)

    async def assert_kept_for(self, answer, seconds):
        self.answer = answer
        await self.ask()
        self.clock.advance(max(0.0, seconds - 0.5))
        if seconds:
            await self.ask()
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(1)
        await self.ask()
        self.assertEqual(len(self.asked), 2)

    async def test_kept_by_its_ttl(self):
        await self.assert_kept_for(self.answer, 60.0)

    async def test_ttl_of_nothing(self):
        await self.assert_kept_for(Answer(Status.FOUND, "x.test", ttl=0.0), 0)

    async def test_longest(self):
        found = Answer(Status.FOUND, "x.test", ttl=1e9)
        await self.assert_kept_for(found, module.KEPT_AT_MOST)

    async def test_that_there_is_nothing(self):
        for status in (Status.NO_DATA, Status.NO_NAME):
            self.asked.clear()
            self.resolver.forget()
            await self.assert_kept_for(Answer(status, "x.test", ttl=1e9), NOTHING_KEPT_AT_MOST)

    async def test_failures(self):
        await self.assert_kept_for(Answer(Status.FAILED, "x.test"), FAILURE_KEPT)

    async def test_by_name_and_kind(self):
        await self.ask()
        await self.ask(kind=Kind.AAAA)
        await self.ask("y.test")
        self.assertEqual(len(self.asked), 3)

    async def test_asked_once_by_many(self):
        self.go.clear()
        answers = [self.resolver.ask("x.test", Kind.MX) for _ in range(50)]
        self.go.set()
        for answer in answers:
            self.assertIs(await answer, self.answer)
        self.assertEqual(len(self.asked), 1)

    async def test_bounded_threads_and_queue(self):
        self.patch(module, "MAX_WAITING", 3)
        self.go.clear()
        most = module.MAX_THREADS + 3
        answers = [self.resolver.ask(f"{n}.test", Kind.A) for n in range(most)]
        more = self.successResultOf(self.resolver.ask("more.test", Kind.A))
        self.assertEqual(
            (more.status, more.why), (Status.FAILED, "too many questions wait for an answer")
        )
        await deferLater(reactor, 0.2)
        self.assertLessEqual(len(self.asked), module.MAX_THREADS)
        self.go.set()
        for answer in answers:
            await answer
        self.assertEqual(len(self.asked), most)
        self.assertIs(await self.ask("more.test"), self.answer)

    async def test_bounded_memory(self):
        self.patch(module, "MAX_KEPT", 2 * weight(self.answer))
        for name in ("a.test", "b.test", "a.test", "c.test", "a.test"):
            await self.ask(name)
        self.assertEqual([name for name, _ in self.asked], ["a.test", "b.test", "c.test"])
        await self.ask("b.test")
        self.assertEqual(len(self.asked), 4)

    async def test_whoever_answers_at_length_has_the_less_kept(self):
        self.patch(module, "MAX_KEPT", 1 << 20)
        self.answer = replace(self.answer, records=(b"x" * 60_000,) * 2)
        for number in range(20):
            await self.ask(f"{number}.test")
        self.assertLess(self.resolver._kept_octets, 1 << 20)
        self.assertEqual(8, len(self.resolver._kept))
        for _ in range(3):  # asked anew, it is counted once
            self.clock.advance(61)
            await self.ask("19.test")
        self.assertEqual(8, len(self.resolver._kept))
        self.resolver.forget()
        self.assertEqual((0, 0), (self.resolver._kept_octets, len(self.resolver._kept)))

    async def test_a_question_that_breaks(self):
        self.answer = RuntimeError("a defect")
        answer = await self.ask()
        self.assertEqual(answer.status, Status.FAILED)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_stop_answers_who_waits_and_waits_for_threads(self):
        self.go.clear()
        waiting = self.resolver.ask("x.test", Kind.A)
        stopped = self.resolver.stop()
        self.assertEqual(self.successResultOf(waiting).status, Status.FAILED)
        self.assertNoResult(stopped)
        self.assertEqual((await self.ask("y.test")).why, "the relay is stopping")
        self.go.set()
        await stopped
