"""Who holds how many places of what: limits that are totals over all workers. Pure.

A place is the right to one session. The supervisor keeps the ledger; a worker takes places in
small batches, keeps some that it does not use for a while, and gives them back when recalled. Of
what may wait (sessions with upstreams) one place is recalled at a time, from whoever holds most.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

BATCHES = 8
"""A worker takes at most this part of its fair share at a time."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to tell a worker: `granted` so many places, `recall` unused ones, or that there is
    `none`."""

    worker: int
    name: str
    key: str
    count: int = 0


@dataclass(slots=True)
class _Account:
    total: int
    held: Counter[int] = field(default_factory=Counter)
    waiting: deque[tuple[int, bool]] = field(default_factory=deque)  # worker, may it wait
    recalled: set[int] = field(default_factory=set)  # have not answered yet
    asked: set[int] = field(default_factory=set)  # for the wish that is first

    @property
    def free(self) -> int:
        return self.total - self.held.total()


class Ledger:
    """Each method yields the orders that follow from it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._accounts: dict[str, _Account] = {}

    def want(self, worker: int, key: str, total: int, may_wait: bool) -> list[Order]:
        """A worker has no place left of `key`, of which there are `total`."""
        account = self._accounts.setdefault(key, _Account(total))
        account.total = total
        account.waiting.append((worker, may_wait))
        return self._serve(key, account)

    def give(self, worker: int, key: str, count: int) -> list[Order]:
        """A worker gives places back; 0 in answer to a recall: it has none to spare."""
        account = self._accounts.get(key)
        if account is None:
            return []
        account.held[worker] -= count
        account.recalled.discard(worker)
        return self._serve(key, account)

    def gone(self, worker: int) -> list[Order]:
        """A worker died: what it held is free."""
        orders = []
        for key, account in list(self._accounts.items()):
            account.held.pop(worker, None)
            account.recalled.discard(worker)
            account.waiting = deque(each for each in account.waiting if each[0] != worker)
            orders += self._serve(key, account)
        return orders

    def _serve(self, key: str, account: _Account) -> list[Order]:
        orders = []
        while account.waiting:
            worker, may_wait = account.waiting[0]
            if account.free > 0:
                orders.append(self._grant(worker, key, account))
            elif recalled := self._recall(worker, may_wait, key, account):
                return orders + recalled
            elif may_wait or account.recalled:
                return orders
            else:
                orders.append(Order(worker, "none", key))
            account.waiting.popleft()
            account.asked.clear()
        if not account.held.total():
            self._accounts.pop(key, None)
        return orders

    def _grant(self, worker: int, key: str, account: _Account) -> Order:
        batch = max(1, account.total // (BATCHES * self._workers))
        count = min(batch, account.free)
        account.held[worker] += count
        return Order(worker, "granted", key, count)

    def _recall(self, worker: int, may_wait: bool, key: str, account: _Account) -> list[Order]:
        """Ask the others for what they do not use; nobody is asked twice for one wish."""
        if may_wait and account.recalled:
            return []
        holders = [
            other
            for other, held in account.held.most_common()
            if other != worker and other not in account.asked and held > 0
        ]
        if may_wait:
            holders = [other for other in holders if account.held[other] > account.held[worker]][:1]
        account.asked.update(holders)
        account.recalled.update(holders)
        return [Order(other, "recall", key) for other in holders]

    def held(self, worker: int) -> dict[str, int]:
        """What a worker holds, for the status."""
        accounts = self._accounts.items()
        return {key: account.held[worker] for key, account in accounts if account.held[worker]}

    def __repr__(self) -> str:
        return f"<Ledger {self._workers} workers, {len(self._accounts)} keys>"
