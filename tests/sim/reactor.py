"""A reactor of the simulated world: its time, its connections, its one thread.

As much of Twisted's as the relay uses. One belongs to one process: when that dies, nothing that was
asked of its reactor happens any more. The wall clock may jump; the relay's own clock follows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from relay.steady_clock import SteadyClock
from tests.sim.network import Connector, Network, Port
from tests.sim.world import World

EPOCH = 1_700_000_000.0
"""Unix seconds at which every simulated world begins."""

TURN = 1e-5
"""Seconds of a turn of the reactor: what a call from a thread takes to get there."""


@implementer(IDelayedCall)
class DelayedCall:
    """One call of the reactor's; `at` in its own seconds."""

    __slots__ = ("_act", "_arguments", "_at", "_event", "_is_called", "_is_cancelled", "_reactor")

    def __init__(
        self,
        reactor: "SimulatedReactor",
        delay: float,
        act: Callable[..., object],
        arguments: tuple[Any, ...],
    ) -> None:
        self._reactor = reactor
        self._act = act
        self._arguments = arguments
        self._is_cancelled = self._is_called = False
        now = reactor.seconds()
        at = self._at = now + delay
        self._event = reactor.after(at - now if at > now else 0.0, self._due)

    def _arm(self, delay: float) -> None:
        """From now."""
        reactor = self._reactor
        now = reactor.seconds()
        at = self._at = now + delay
        self._event = reactor.after(at - now if at > now else 0.0, self._due)

    def _due(self) -> None:
        """Or nearly: a clock that follows another one may be slow."""
        reactor = self._reactor
        left = self._at - reactor.seconds()
        if left > 0:
            self._event = reactor.after(max(left, TURN), self._due)
            return
        self._is_called = True
        reactor.calls.pop(self, None)
        if reactor.is_alive:
            try:
                self._act(*self._arguments)
            except Exception as error:
                reactor.broke(error)

    def getTime(self) -> float:
        return self._at

    def cancel(self) -> None:
        self._check()
        self._is_cancelled = True
        self._reactor.calls.pop(self, None)
        self._event.cancel()

    def reset(self, secondsFromNow: float) -> None:
        self._check()
        self._event.cancel()
        self._arm(secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        self._check()
        self._event.cancel()
        self._arm(self._at + secondsLater - self._reactor.seconds())

    def active(self) -> bool:
        return not (self._is_cancelled or self._is_called)

    def _check(self) -> None:
        if self._is_cancelled:
            raise AlreadyCancelled
        if self._is_called:
            raise AlreadyCalled


@implementer(IReactorTime)
class SimulatedReactor:
    """`broke` hears of each exception that nobody caught: a real reactor would only log it."""

    def __init__(
        self,
        world: World,
        network: Network,
        address: str,
        broke: Callable[[Exception], object],
        clock_error: float = 0.0,
    ) -> None:
        self.world = world
        self.after = world.after
        self.network = network
        self.address = address
        self.is_alive = True
        self.calls: dict[DelayedCall, None] = {}
        self.clock_error = clock_error
        self.broke = broke
        self.seconds = SteadyClock(self._wall, lambda: world.now).seconds

    def run(self, act: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
        """In this process, if that still lives."""
        if self.is_alive:
            try:
                act(*arguments, **keywords)
            except Exception as error:
                self.broke(error)

    def die(self) -> None:
        """Nothing that was asked of it happens any more."""
        self.is_alive = False
        self.calls.clear()
        self.network.forget(self)

    # --- time ---------------------------------------------------------------------------------

    def _wall(self) -> float:
        return EPOCH + self.world.now + self.clock_error

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any
    ) -> DelayedCall:
        call = DelayedCall(self, delay, partial(callable, **kw) if kw else callable, args)
        self.calls[call] = None
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        return list(self.calls)

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kw: Any) -> None:
        self.callLater(0, callable, *args, **kw)

    def callFromThread(self, callable: Callable[..., object], *args: Any, **kw: Any) -> None:
        self.after(TURN, self.run, partial(callable, **kw) if kw else callable, *args)

    def stop(self) -> None:
        """The process ends by itself; whoever watches it sees that."""
        self.die()

    # --- connections --------------------------------------------------------------------------

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        return self.network.listen(self, interface or self.address, port, factory)

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> Connector:
        return self.network.connect(self, host, port, factory, timeout)
