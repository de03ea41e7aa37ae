"""Fetches kept MTA-STS policies anew before they run out, also those of domains that get no mail.

Whoever can keep a policy from being fetched for a moment must not win by waiting for the moment
when it has run out (RFC 8461 3.3, 10.2). Round after round, slowly, by one worker at a time; what
no mail has gone by for long is let run out, and what has run out is forgotten.
"""

import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from relay.outbound.sts.policies import StsPolicies
from relay.outbound.sts.store import Kept, StsStore

ROUND_EVERY = 3600.0
"""Seconds between rounds, a quarter more or less, so that relays do not go in step."""

STEP = 1.0
"""Seconds between looks at some of the policies."""

FILES_A_STEP = 20
"""Policies looked at in one step: a millisecond or so. As many as may be kept are gone through in
three quarters of an hour."""

AT_ONCE = 4
"""Fetches under way: half of what mail may have for the domains of one owner."""

USED_WITHIN = 30 * 86400.0
"""Seconds for which a policy is kept fresh after mail went by it."""

_log = Logger()


class Refresher:
    """Of the policies in one store. Between `start` and `stop`."""

    def __init__(
        self, policies: StsPolicies, store: StsStore, clock: IReactorTime, random: Random
    ) -> None:
        self._policies = policies
        self._store = store
        self._clock = clock
        self._random = random
        self._lock = RoundLock(store.folder)
        self._left: Iterator[tuple[str, Kept]] = iter(())
        self._under_way: set[str] = set()
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Harmless where it is at work. The first round begins at any moment of the hour."""
        if self._call is None:
            self._call = self._clock.callLater(
                self._random.uniform(0, ROUND_EVERY), self._begin_round
            )

    def stop(self) -> None:
        """Nothing more is fetched for its own sake."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        for domain in tuple(self._under_way):
            self._policies.abandon(domain)
        self._lock.give()

    def _begin_round(self) -> None:
        if self._lock.take():
            self._left = self._store.every()
            self._step()
        else:
            self._wait_for_round()

    def _wait_for_round(self) -> None:
        seconds = ROUND_EVERY * self._random.uniform(0.75, 1.25)
        self._call = self._clock.callLater(seconds, self._begin_round)

    def _step(self) -> None:
        """Look at some, as long as not too many are being fetched."""
        self._call = self._clock.callLater(STEP, self._step)
        for _ in range(FILES_A_STEP):
            if len(self._under_way) >= AT_ONCE:
                return
            found = next(self._left, None)
            if found is None:
                self._end_round()
                return
            self._look_at(*found)

    def _end_round(self) -> None:
        """Once the last fetch is over: another worker would take it for one that is due."""
        if self._under_way or self._call is None:
            return
        self._call.cancel()
        self._lock.give()
        self._wait_for_round()

    def _look_at(self, domain: str, kept: Kept) -> None:
        now = self._clock.seconds()
        if not kept.is_good(now):
            self._store.forget(domain)
        elif self._is_wanted(kept, now) and self._policies.is_to_refresh(kept):
            self._under_way.add(domain)
            self._policies.refresh(domain).addCallback(partial(self._refreshed, domain))

    def _is_wanted(self, kept: Kept, now: float) -> bool:
        """A policy of mode none protects nothing, and its host may be gone (RFC 8461 8.3)."""
        return kept.policy.mode != "none" and now - kept.used_at < USED_WITHIN

    def _refreshed(self, domain: str, _: None) -> None:
        self._under_way.discard(domain)

    def __repr__(self) -> str:
        state = "stopped" if self._call is None else f"{len(self._under_way)} under way"
        return f"<Refresher {self._store!r} {state}>"


class RoundLock:
    """Held by the one of several processes that goes round a folder; it ends with its process.
    Without a folder nobody else is there."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: int | None = None

    def take(self) -> bool:
        """False where another one has it, or where there is no folder yet."""
        if self._folder is None:
            return True
        try:
            held = os.open(
                self._folder / "refreshing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warn("MTA-STS policies are not refreshed: {why}", why=error)
            return False
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            return False
        self._held = held
        return True

    def give(self) -> None:
        """Harmless where it is not held."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)
