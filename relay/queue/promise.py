"""What a call on the store comes to: told once, to one who asks.

A Deferred can do more, and costs several thousand instructions for each message where the rest of
its way is compiled. `deferred` makes one.
"""

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_log = Logger()

Told = Callable[..., object]


class Promise:
    """`keep` or `break_` it, once."""

    __slots__ = ("_arguments", "_is_over", "_on_failure", "_on_result", "_what")

    def __init__(self) -> None:
        self._is_over = False
        self._what: Any = None  # it came to, till somebody asks
        self._on_result: Told | None = None
        self._on_failure: Told | None = None
        self._arguments: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())

    def addCallbacks(
        self,
        callback: Told,
        errback: Told,
        *,
        callbackArgs: tuple[Any, ...] = (),
        errbackArgs: tuple[Any, ...] = (),
    ) -> None:
        """Who is told, with these arguments behind the result or the Failure; as a Deferred has it.
        A defect in them is told to nobody but the log."""
        self._on_result, self._on_failure = callback, errback
        self._arguments = callbackArgs, errbackArgs
        if self._is_over:
            self._tell()

    def keep(self, result: Any) -> None:
        self._end(result)

    def break_(self, reason: Failure | Exception) -> None:
        self._end(reason if isinstance(reason, Failure) else Failure(reason))

    def _end(self, what: Any) -> None:
        self._is_over = True
        self._what = what
        if self._on_result is not None:
            self._tell()

    def _tell(self) -> None:
        what, on_result, on_failure = self._what, self._on_result, self._on_failure
        of_result, of_failure = self._arguments
        self._what = self._on_result = self._on_failure = None
        self._arguments = ((), ())
        try:
            if isinstance(what, Failure):
                if on_failure is not None:
                    on_failure(what, *of_failure)
            elif on_result is not None:
                on_result(what, *of_result)
        except Exception:  # noqa: BLE001 - the others of its commit are to be told, too
            _log.failure("a defect where the store's answer was told")

    def deferred(self) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.addCallbacks(deferred.callback, deferred.errback)
        return deferred

    def __await__(self) -> Generator[Deferred[Any], None, Any]:
        return self.deferred().__await__()
