"""Which of our sockets can be read or written: one epoll set of theirs within Twisted's reactor.

Twisted hands each event on through a logging context, which costs more than most of what we do with
it. Here the reactor sees one descriptor, the set's own, and an event is one call of the socket's
`doRead` or `doWrite`, in the order of the kernel and with Twisted's rules for lost connections.
"""

import os
import select
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_DISCONNECTED: Final = select.EPOLLHUP | select.EPOLLERR

MAX_EVENTS: Final = 256
"""Sockets served before the reactor looks at its other business."""

MAX_ROUNDS: Final = 4
"""Times the kernel is asked again before the reactor gets its turn, which costs as much as a dozen
events; in a round of ..."""

WORTH_ANOTHER: Final = 4
"""... so many events others have come meanwhile."""

MAX_UNSENT: Final = 16
"""Streams that may wait for the end of the round with what they have to send."""

_log = Logger()

_DONE, _LOST = Failure(CONNECTION_DONE), Failure(CONNECTION_LOST)


class Readiness:
    """In the place of the reactor for our transports: timers and all else are the reactor's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: Any = select.epoll()
        self._masks: dict[int, int] = {}
        self._sockets: dict[int, Any] = {}
        self._unsent: list[Any] = []
        self._closing: list[Any] = []
        self._acts: list[Callable[[], None]] = []
        self._is_serving = False
        self._posted: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, _IN | select.EPOLLET)  # an edge needs no reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def send_soon(self, stream: Any) -> bool:
        """Call its `send_gathered` once all are served. False: none are being served now, so it
        will not be called."""
        if self._is_serving:
            self._unsent.append(stream)
        return self._is_serving

    def close_soon(self, socket: Any) -> bool:
        """Close it once all are served. False: none are being served now, so it is not done."""
        if self._is_serving:
            self._closing.append(socket)
        return self._is_serving

    def at_end_of_turn(self, act: Callable[[], None]) -> None:
        """Do it once all are served and closed, or soon."""
        if self._is_serving:
            self._acts.append(act)
        else:
            self._reactor.callLater(0, act)

    def from_thread(self, act: Callable[[], None]) -> None:
        """Do it in the reactor's thread, between two sockets: for another thread.

        It costs Twisted's own way of waking only where that alone would wake it.
        """
        self._posted.append(act)
        if self._is_serving:
            return  # before that ends, what is posted is looked at
        if self._sockets:
            os.eventfd_write(self._bell, 1)
        else:
            self._reactor.callFromThread(self._take_posted)

    def _take_posted(self) -> None:
        posted = self._posted
        while posted:
            self._do(posted.popleft())

    # --- as IReactorFDSet ---------------------------------------------------------------------

    def addReader(self, socket: Any) -> None:
        self._add(socket, _IN)

    def addWriter(self, socket: Any) -> None:
        self._add(socket, _OUT)

    def removeReader(self, socket: Any) -> None:
        self._remove(socket, _IN)

    def removeWriter(self, socket: Any) -> None:
        self._remove(socket, _OUT)

    def _add(self, socket: Any, bit: int) -> None:
        descriptor = socket.fileno()
        mask = self._masks.get(descriptor, 0)
        if mask & bit:
            return
        if mask:
            self._epoll.modify(descriptor, mask | bit)
        else:
            self._reactor.addReader(self)  # costs nothing where it stands there already
            self._epoll.register(descriptor, bit)
            self._sockets[descriptor] = socket
        self._masks[descriptor] = mask | bit

    def _remove(self, socket: Any, bit: int) -> None:
        descriptor = socket.fileno()
        if descriptor == -1:
            descriptor = self._descriptor_of(socket)
        mask = self._masks.get(descriptor, 0)
        if not mask & bit:
            return
        mask &= ~bit
        if mask:
            self._masks[descriptor] = mask
            self._epoll.modify(descriptor, mask)
        else:
            del self._masks[descriptor], self._sockets[descriptor]
            self._epoll.unregister(descriptor)
            if not self._sockets:
                self._reactor.removeReader(self)
                if self._posted:  # nobody hears the bell any more
                    self._reactor.callLater(0, self._take_posted)

    def _descriptor_of(self, closed: Any) -> int:
        for descriptor, socket in self._sockets.items():
            if socket is closed:
                return descriptor
        return -1

    # --- as IReadDescriptor -------------------------------------------------------------------

    def fileno(self) -> int:
        return int(self._epoll.fileno())

    def logPrefix(self) -> str:
        return "relay"

    def doRead(self) -> None:
        sockets, posted = self._sockets, self._posted
        self._is_serving = True
        for _ in range(MAX_ROUNDS):
            events = self._epoll.poll(0, MAX_EVENTS)
            for descriptor, event in events:
                socket = sockets.get(descriptor)
                if socket is not None:  # else it was closed by one that came before
                    self._serve(socket, descriptor, event)
                if posted:
                    self._take_posted()
                if len(self._unsent) >= MAX_UNSENT:
                    self._send_all()
            self._send_all()
            if len(events) < WORTH_ANOTHER:
                break
        self._is_serving = False
        if posted:
            self._take_posted()
        if self._closing:
            closing, self._closing = self._closing, []
            for socket in closing:
                self._finish(socket.connectionLost, _DONE)
        if self._acts:
            acts, self._acts = self._acts, []
            for act in acts:
                self._do(act)

    def _send_all(self) -> None:
        while self._unsent:
            unsent, self._unsent = self._unsent, []
            for stream in unsent:
                try:
                    stream.send_gathered()
                except Exception as error:  # noqa: BLE001 - a defect of ours ends that one session
                    _log.failure("a session broke in sending")
                    self._drop(stream, error, is_read=False)

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception:  # noqa: BLE001 - as in a timer: a defect of ours, told
            _log.failure("{act!r} broke at the end of a turn", act=act)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends: so do the sockets."""
        for socket in list(self._sockets.values()):
            self._drop(socket, CONNECTION_LOST, is_read=False)

    def _serve(self, socket: Any, descriptor: int, event: int) -> None:
        """As Twisted's own poll reactors do."""
        if event & _DISCONNECTED and not event & _IN:
            is_read = bool(self._masks[descriptor] & _IN)
            self._drop(socket, CONNECTION_DONE if is_read else CONNECTION_LOST, is_read=is_read)
            return
        is_read = False
        try:
            why = None
            if event & _IN:
                why = socket.doRead()
                is_read = True
            if not why and event & _OUT and self._masks.get(descriptor, 0) & _OUT:
                why = socket.doWrite()
                is_read = False
        except Exception as error:  # noqa: BLE001 - a defect of ours ends that one session
            _log.failure("a session broke")
            why = error
        if why:
            self._drop(socket, why, is_read=is_read)

    def _finish(self, end: Callable[[Failure], None], reason: Failure) -> None:
        try:
            end(reason)
        except Exception:  # noqa: BLE001 - a defect of ours
            _log.failure("a session broke in closing")

    def _drop(self, socket: Any, why: Exception, *, is_read: bool) -> None:
        self.removeReader(socket)
        is_half = is_read and why is CONNECTION_DONE
        if is_half and IHalfCloseableDescriptor.providedBy(socket):
            self._finish(socket.readConnectionLost, _DONE)
            return
        self.removeWriter(socket)
        if why is CONNECTION_DONE:
            self._finish(socket.connectionLost, _DONE)
        else:
            self._finish(socket.connectionLost, _LOST if why is CONNECTION_LOST else Failure(why))

    def __repr__(self) -> str:
        return f"<Readiness of {len(self._sockets)} sockets>"


classImplements(Readiness, IReadDescriptor)

_of_reactors: "WeakKeyDictionary[Any, Readiness]" = WeakKeyDictionary()


def readiness_of(reactor: Any) -> Any:
    """What our transports take for their reactor: `reactor` itself where that is not epoll's."""
    if not isinstance(reactor, EPollReactor):
        return reactor
    if reactor not in _of_reactors:
        _of_reactors[reactor] = Readiness(reactor)
    return _of_reactors[reactor]


def end_of_turn(reactor: Any) -> Callable[[Callable[[], None]], object]:
    """For what gathers work while sockets are served: it is called with what is to be done then,
    and costs no timer."""
    readiness = readiness_of(reactor)
    if isinstance(readiness, Readiness):
        return readiness.at_end_of_turn
    return lambda act: reactor.callLater(0, act)


def from_thread(reactor: Any) -> Callable[[Callable[[], None]], object]:
    """For another thread: it is called with what the reactor's is to do soon."""
    readiness = readiness_of(reactor)
    if isinstance(readiness, Readiness):
        return readiness.from_thread
    return cast(Callable[[Callable[[], None]], object], reactor.callFromThread)
