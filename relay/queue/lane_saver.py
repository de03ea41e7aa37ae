"""Stores what lanes are like: who is held or paused, and when a failing one is tried again.

Nobody waits for it. What cannot be stored now is tried again until it is: mail of a lane whose
pause the store does not know of would expire there.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue.store import IStore, LaneState, StoreFailed

RETRY = 5.0
"""Seconds between two tries to store a lane."""

_log = Logger()


class LaneSaver:
    """`state_of`: what a lane is like by now; None: that is not known here."""

    def __init__(
        self, store: IStore, clock: IReactorTime, state_of: Callable[[str], LaneState | None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._state_of = state_of
        self._unsaved: dict[str, IDelayedCall] = {}
        self._is_stopping = False

    def save(self, state: LaneState) -> None:
        saved = self._store.save_lane(state)
        saved.addCallbacks(self._saved, self._not_saved, (state.name,), errbackArgs=(state.name,))

    def _saved(self, _: None, name: str) -> None:
        call = self._unsaved.pop(name, None)
        if call is not None and call.active():
            call.cancel()

    def _not_saved(self, reason: Failure, name: str) -> None:
        reason.trap(StoreFailed)
        if self._is_stopping:
            return
        call = self._unsaved.get(name)
        if call is None:
            _log.warn(
                "the state of lane {name} is not stored yet: {why}", name=name, why=reason.value
            )
        if call is None or not call.active():
            self._unsaved[name] = self._clock.callLater(RETRY, self._again, name)

    def _again(self, name: str) -> None:
        state = self._state_of(name)
        if state is None:
            del self._unsaved[name]
        else:
            self.save(state)

    def stop(self) -> None:
        """A backoff that is lost so means that a probe comes early after the next start."""
        self._is_stopping = True
        unsaved, self._unsaved = self._unsaved, {}
        for call in unsaved.values():
            if call.active():
                call.cancel()

    def __repr__(self) -> str:
        return f"<LaneSaver {len(self._unsaved)} to be saved>"
