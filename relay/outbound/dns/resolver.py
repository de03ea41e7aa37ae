"""The relay's resolver: asks in a bounded pool of threads, keeps answers as long as they may be.

Never fails and never waits without end: overload and trouble are answers of their own. Who asks for
what is being asked already shares its answer.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from relay.outbound.dns.answer import Answer, Kind, Status, weight

MAX_THREADS = 16
"""Questions under way at a time; each blocks a thread, for some milliseconds as a rule."""

MAX_WAITING = 2000
"""Questions that wait for a thread; further ones are answered as failed, which delays the mail."""

MAX_KEPT = 20 << 20
"""Octets of answers kept, as `weight` counts them: some 20,000 of the usual kind. Beyond it those
unused for longest are forgotten."""

KEPT_AT_MOST = 86400.0
"""Seconds an answer is kept, whatever its TTL (RFC 8767 4: days are the most that is sensible)."""

NOTHING_KEPT_AT_MOST = 900.0
"""The same for "there is nothing" (RFC 2308 5): a new domain is found within these minutes."""

FAILURE_KEPT = 5.0
"""Seconds for which a failure answers the same question (RFC 9520 3.2), so that a dead server is
not asked for each message of a burst."""

_Key = tuple[str, Kind]
_log = Logger()


class Resolver:
    """Ask with `ask`; end with `stop`. `question` blocks, and is called in the pool's threads."""

    def __init__(self, question: Callable[[str, Kind], Answer], reactor: Any) -> None:
        self._question = question
        self._reactor = reactor
        self._kept: OrderedDict[_Key, tuple[Answer, float]] = OrderedDict()
        self._kept_octets = 0
        self._asked: dict[_Key, list[Deferred[Answer]]] = {}
        self._pool: ThreadPool | None = None
        self._is_stopping = False
        self._stopped: Deferred[None] | None = None
        self._running = 0

    def ask(self, name: str, kind: Kind) -> Deferred[Answer]:
        """Never fails. `name`: ASCII, lower case, without a final dot."""
        key = (name, kind)
        kept = self._kept.get(key)
        if kept is not None and self._reactor.seconds() < kept[1]:
            self._kept.move_to_end(key)
            return succeed(kept[0])
        if self._is_stopping:
            return succeed(Answer(Status.FAILED, name, why="the relay is stopping"))
        asked: Deferred[Answer] = Deferred()
        waiting = self._asked.get(key)
        if waiting is not None:
            waiting.append(asked)
            return asked
        if len(self._asked) >= MAX_THREADS + MAX_WAITING:
            return succeed(Answer(Status.FAILED, name, why="too many questions wait for an answer"))
        self._asked[key] = [asked]
        self._begin(key)
        return asked

    def _begin(self, key: _Key) -> None:
        if self._pool is None:  # not before there is something to ask: twistd may fork until then
            self._pool = ThreadPool(0, MAX_THREADS, "dns")
            self._pool.start()
        self._running += 1
        done = deferToThreadPool(self._reactor, self._pool, self._ask_now, key)
        done.addErrback(self._broke, key).addCallback(self._answered, key)

    def _ask_now(self, key: _Key) -> Answer:
        """In a thread."""
        if self._is_stopping:
            return Answer(Status.FAILED, key[0], why="the relay is stopping")
        return self._question(*key)

    def _broke(self, reason: Failure, key: _Key) -> Answer:
        _log.failure("the question for {name} broke", reason, name=key[0])
        return Answer(Status.FAILED, key[0], why="the question broke")

    def _answered(self, answer: Answer, key: _Key) -> None:
        self._running -= 1
        self._keep(answer, key)
        self._tell(answer, key)
        self._check_stopped()

    def _keep(self, answer: Answer, key: _Key) -> None:
        if answer.status is Status.FAILED:
            ttl = FAILURE_KEPT
        elif answer.status is Status.FOUND:
            ttl = min(answer.ttl, KEPT_AT_MOST)
        else:
            ttl = min(answer.ttl, NOTHING_KEPT_AT_MOST)
        former = self._kept.pop(key, None)
        if former is not None:
            self._kept_octets -= weight(former[0])
        if ttl <= 0:
            return
        self._kept[key] = (answer, self._reactor.seconds() + ttl)
        self._kept_octets += weight(answer)
        while self._kept_octets > MAX_KEPT:
            _, (oldest, _) = self._kept.popitem(last=False)
            self._kept_octets -= weight(oldest)

    def _tell(self, answer: Answer, key: _Key) -> None:
        for asked in self._asked.pop(key, ()):
            asked.callback(answer)

    def forget(self) -> None:
        """An operator wants everything asked anew."""
        self._kept.clear()
        self._kept_octets = 0

    def give_up(self) -> None:
        """Answer all that wait at once; nothing more is asked."""
        self._is_stopping = True
        for key in list(self._asked):
            self._tell(Answer(Status.FAILED, key[0], why="the relay is stopping"), key)

    def stop(self) -> Deferred[None]:
        """Fires when every thread has ended: after one question's timeout at the latest."""
        self.give_up()
        stopped = self._stopped = Deferred()
        self._check_stopped()
        return stopped

    def _check_stopped(self) -> None:
        if self._stopped is None or self._running:
            return
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
        stopped, self._stopped = self._stopped, None
        stopped.callback(None)

    def __repr__(self) -> str:
        return f"<Resolver {len(self._kept)} answers kept, {len(self._asked)} questions>"
