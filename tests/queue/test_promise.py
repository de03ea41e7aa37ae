"""A promise is told to one who asks, before or after it is kept."""

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.queue.promise import Promise
from relay.queue.store import StoreFailed


class PromiseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.promise = Promise()
        self.told: list[object] = []

    def ask(self) -> None:
        self.promise.addCallbacks(
            lambda *what: self.told.append(what),
            lambda reason, *what: self.told.append((reason.type, *what)),
            callbackArgs=("kept",),
            errbackArgs=("broken",),
        )

    def test_asked_before_and_after(self) -> None:
        self.ask()
        self.assertEqual([], self.told)
        self.promise.keep(1)
        self.assertEqual([(1, "kept")], self.told)
        self.promise = Promise()
        self.promise.keep(2)
        self.ask()
        self.assertEqual([(1, "kept"), (2, "kept")], self.told)

    def test_an_error_is_never_taken_for_a_result(self) -> None:
        for reason in (StoreFailed("full"), Failure(StoreFailed("full"))):
            self.promise = Promise()
            self.ask()
            self.promise.break_(reason)
        self.assertEqual([(StoreFailed, "broken")] * 2, self.told)

    def test_a_defect_in_who_is_told_is_logged(self) -> None:
        self.promise.addCallbacks(lambda _: 1 // 0, self.told.append)
        self.promise.keep(1)
        self.assertEqual([], self.told)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_a_deferred_of_it(self) -> None:
        asked = self.promise.deferred()
        self.assertNoResult(asked)
        self.promise.break_(StoreFailed("full"))
        self.failureResultOf(asked, StoreFailed)
