"""Who holds how many places of what: limits that are totals over all workers. Pure.

A place is the right to one session. The supervisor keeps the ledger; a worker takes places in
small batches, keeps some that it does not use for a while, and gives them back when recalled. Of
what may wait (sessions with upstreams) one place is recalled at a time, from whoever holds most.
Whoever holds fewest is served first: a wish for more than a fair share is in nobody's way.
"""

from collections import Counter
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
    may_wait: bool
    held: Counter[int] = field(default_factory=Counter)
    wishes: dict[int, int] = field(default_factory=dict)  # by worker; who waits longest is first
    recalled: set[int] = field(default_factory=set)  # have not answered yet
    asked: set[int] = field(default_factory=set)  # since a wish was served last

    @property
    def free(self) -> int:
        return self.total - self.held.total()

    def next_worker(self) -> int:
        return min(self.wishes, key=self.held.__getitem__)

    def served(self, worker: int) -> None:
        """One wish of it; its others stand behind everybody's."""
        left = self.wishes.pop(worker) - 1
        if left:
            self.wishes[worker] = left
        self.asked.clear()


class Ledger:
    """Each method yields the orders that follow from it."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._accounts: dict[str, _Account] = {}

    def want(self, worker: int, key: str, total: int, may_wait: bool) -> list[Order]:
        """A worker has no place left of `key`, of which there are `total`."""
        account = self._accounts.setdefault(key, _Account(total, may_wait))
        account.total = total
        account.wishes[worker] = account.wishes.get(worker, 0) + 1
        return self._serve(key, account)

    def give(self, worker: int, key: str, count: int) -> list[Order]:
        """A worker gives places back; 0 in answer to a recall: it has none to spare."""
        account = self._accounts.get(key)
        if account is None:
            return []
        account.held[worker] -= count
        account.recalled.discard(worker)
        if count and worker in account.wishes:  # else it might get that place again
            account.wishes[worker] = account.wishes.pop(worker)
        return self._serve(key, account)

    def gone(self, worker: int) -> list[Order]:
        """A worker died: what it held is free."""
        orders = []
        for key, account in list(self._accounts.items()):
            account.held.pop(worker, None)
            account.wishes.pop(worker, None)
            account.recalled.discard(worker)
            orders += self._serve(key, account)
        return orders

    def _serve(self, key: str, account: _Account) -> list[Order]:
        orders = []
        while account.wishes:
            worker = account.next_worker()
            if account.free > 0:
                orders.append(self._grant(worker, key, account))
            elif recalled := self._recall(worker, key, account):
                return orders + recalled
            elif account.may_wait or account.recalled:
                return orders
            else:
                orders.append(Order(worker, "none", key))
            account.served(worker)
        if not account.held.total():
            self._accounts.pop(key, None)
        return orders

    def _grant(self, worker: int, key: str, account: _Account) -> Order:
        batch = max(1, account.total // (BATCHES * self._workers))
        count = min(batch, account.free)
        account.held[worker] += count
        return Order(worker, "granted", key, count)

    def _recall(self, worker: int, key: str, account: _Account) -> list[Order]:
        """Ask the others for what they do not use; nobody is asked twice for one wish."""
        if account.may_wait and account.recalled:
            return []
        holders = [
            other
            for other, held in account.held.most_common()
            if other != worker and other not in account.asked and held > 0
        ]
        if account.may_wait:
            holders = [other for other in holders if account.held[other] > account.held[worker]][:1]
        account.asked.update(holders)
        account.recalled.update(holders)
        return [Order(other, "recall", key) for other in holders]

    def __repr__(self) -> str:
        return f"<Ledger {self._workers} workers, {len(self._accounts)} keys>"
