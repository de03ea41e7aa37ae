"""Sockets under Twisted's reactor by way of our own epoll set: the rules are the reactor's."""

import socket
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from relay.net.readiness import Readiness, readiness_of


class Watched:
    """One end of a pair, and what is told of it."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.setblocking(False)
        self.told: list[str] = []
        self.lost: Deferred[BaseException] = Deferred()
        self.does: Any = None
        self.send_gathered: Any = None

    def fileno(self) -> int:
        return self.end.fileno()

    def doRead(self) -> object:
        self.told.append("read")
        return self.does()

    def doWrite(self) -> object:
        self.told.append("write")
        return self.does()

    def connectionLost(self, reason: Failure) -> None:
        self.end.close()
        self.lost.callback(reason.value)


@implementer(IHalfCloseableDescriptor)
class Breaking(Watched):
    """Has a defect where it hears that nothing more is coming."""

    def readConnectionLost(self, reason: Failure) -> None:
        self.lost.callback(reason.value)
        raise ZeroDivisionError

    def writeConnectionLost(self, reason: Failure) -> None:
        """Never asked for."""


class ReadinessTests(TestCase):
    def setUp(self) -> None:
        self.readiness: Any = readiness_of(reactor)
        ours, self.theirs = socket.socketpair()
        self.watched = Watched(ours)
        self.addCleanup(self.theirs.close)
        if not isinstance(self.readiness, Readiness):
            self.skipTest("another reactor than epoll's")

    async def test_octets_are_read_and_the_end_is_told(self) -> None:
        def read() -> object:
            return None if self.watched.end.recv(10) else ConnectionDone()

        self.watched.does = read
        self.readiness.addReader(self.watched)
        self.theirs.send(b"x")
        self.theirs.close()
        reason = await self.watched.lost
        self.assertIsInstance(reason, ConnectionDone)
        self.assertEqual(set(self.watched.told), {"read"})
        self.assertIn(" 0 sockets", repr(self.readiness))

    async def test_a_writer_is_served_until_it_is_removed(self) -> None:
        done: Deferred[None] = Deferred()

        def write() -> None:
            if len(self.watched.told) == 3:
                self.readiness.removeWriter(self.watched)
                self.watched.end.close()
                done.callback(None)

        self.watched.does = write
        self.readiness.addWriter(self.watched)
        await done
        self.assertEqual(self.watched.told, ["write"] * 3)

    async def test_a_defect_ends_that_socket_alone(self) -> None:
        def broken() -> None:
            raise ZeroDivisionError

        self.watched.does = broken
        self.readiness.addReader(self.watched)
        self.theirs.send(b"x")
        reason = await self.watched.lost
        self.assertIsInstance(reason, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_defect_in_sending_ends_that_socket_alone(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        broken, sent = Watched(ours), Watched(self.watched.end)
        broken.send_gathered = lambda: 1 // 0
        sent.send_gathered = partial(sent.told.append, "sent")

        def read() -> None:
            self.watched.end.recv(10)
            self.assertTrue(self.readiness.send_soon(broken))
            self.assertTrue(self.readiness.send_soon(sent))

        self.watched.does = read
        self.readiness.addReader(self.watched)
        self.readiness.addReader(broken)
        self.addCleanup(self.readiness.removeReader, self.watched)
        self.theirs.send(b"x")
        self.assertIsInstance(await broken.lost, ZeroDivisionError)
        await deferLater(reactor, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(sent.told, ["sent"])

    async def test_nobody_waits_while_none_are_served(self) -> None:
        await deferLater(reactor, 0)
        self.assertFalse(self.readiness.send_soon(self.watched))

    async def test_a_defect_at_its_end_ends_no_other(self) -> None:
        ours, theirs = socket.socketpair()
        breaking = Breaking(ours)
        breaking.does = lambda: CONNECTION_DONE
        heard: Deferred[None] = Deferred()

        def hear() -> None:
            self.readiness.removeReader(self.watched)
            heard.callback(None)

        self.watched.does = hear
        self.readiness.addReader(breaking)
        self.readiness.addReader(self.watched)
        theirs.close()
        await breaking.lost
        self.theirs.send(b"x")
        await heard
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.readiness.removeWriter(breaking)
        ours.close()

    async def test_another_thread_is_heard_at_any_time(self) -> None:
        self.watched.does = lambda: self.watched.end.recv(10) and None
        for is_watching in (False, True, False):
            if is_watching:
                self.readiness.addReader(self.watched)
            for _ in range(20):
                done: Deferred[None] = Deferred()
                act = partial(done.callback, None)
                Thread(target=self.readiness.from_thread, args=(act,)).start()
                if is_watching:
                    self.theirs.send(b"x")
                await done
            self.readiness.removeReader(self.watched)
        self.watched.end.close()

    async def test_what_another_thread_asks_is_done_though_the_last_socket_goes(self) -> None:
        done: Deferred[None] = Deferred()
        self.readiness.addReader(self.watched)
        self.readiness.from_thread(partial(done.callback, None))
        self.readiness.removeReader(self.watched)
        self.watched.end.close()
        await done

    async def test_a_peer_that_is_gone_while_nobody_reads_is_a_lost_connection(self) -> None:
        self.watched.does = lambda: None
        self.readiness.addWriter(self.watched)
        self.theirs.close()
        reason = await self.watched.lost
        self.assertIsInstance(reason, ConnectionLost)

    async def test_a_socket_closed_by_another_of_the_same_turn_is_not_served(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        other = Watched(ours)
        pair = (self.watched, other)

        def close_both() -> None:
            for each in pair:
                self.readiness.removeReader(each)
                each.end.close()
            done.callback(None)

        done: Deferred[None] = Deferred()
        for each in pair:
            each.does = close_both
            self.readiness.addReader(each)
        self.theirs.send(b"x")
        theirs.send(b"x")
        await done
        self.assertEqual(len(self.watched.told) + len(other.told), 1)

    def test_all_else_is_the_reactors(self) -> None:
        call = self.readiness.callLater(60, lambda: None)
        self.assertIn(call, reactor.getDelayedCalls())  # type: ignore[attr-defined]
        call.cancel()

    def test_another_reactor_is_left_alone(self) -> None:
        other = object()
        self.assertIs(readiness_of(other), other)
