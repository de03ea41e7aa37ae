"""Which hosts are tried, in which order, after which trouble."""

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.hosts import FIRST_RETRY, MAX_RETRY, HostMemory


class HostMemoryTests(SynchronousTestCase):
    def test_all_well(self):
        self.assertEqual(list(HostMemory(3).order(0)), [0, 1, 2])

    def test_failed_one_is_skipped_until_its_time(self):
        memory = HostMemory(3)
        memory.failed(0, 1000)
        self.assertEqual(list(memory.order(1000)), [1, 2])
        self.assertEqual(list(memory.order(1000 + FIRST_RETRY - 1)), [1, 2])
        self.assertEqual(list(memory.order(1000 + FIRST_RETRY)), [0, 1, 2])

    def test_all_failed(self):
        memory = HostMemory(2)
        memory.failed(0, 0)
        memory.failed(1, 0)
        self.assertEqual(list(memory.order(1)), [0, 1])

    def test_longer_each_time(self):
        memory = HostMemory(1)
        now, waits = 0.0, []
        for _ in range(7):
            memory.failed(0, now)
            memory.failed(0, now)
            wait = 0
            while not memory.is_due(0, now + wait):
                wait += 1
            waits.append(wait)
            now += wait
        self.assertEqual(waits[:3], [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY])
        self.assertEqual(waits[-1], MAX_RETRY)

    def test_answered(self):
        memory = HostMemory(2)
        memory.failed(0, 0)
        memory.failed(0, FIRST_RETRY)
        memory.answered(0)
        self.assertEqual(list(memory.order(FIRST_RETRY + 1)), [0, 1])
        memory.failed(0, 1000)
        self.assertTrue(memory.is_due(0, 1000 + FIRST_RETRY))

    def test_forget(self):
        memory = HostMemory(2)
        memory.failed(0, 0)
        memory.forget()
        self.assertEqual(list(memory.order(1)), [0, 1])
