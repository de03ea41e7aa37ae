"""Which hosts are tried, in which order, after which trouble."""

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.hosts import FIRST_RETRY, MAX_REMEMBERED, MAX_RETRY, HostMemory


class HostMemoryTests(SynchronousTestCase):
    def test_all_well(self):
        self.assertEqual(list(HostMemory().order((0, 1, 2), 0)), [0, 1, 2])

    def test_failed_one_is_skipped_until_its_time(self):
        memory = HostMemory()
        memory.failed(0, 1000)
        self.assertEqual(list(memory.order((0, 1, 2), 1000)), [1, 2])
        self.assertEqual(list(memory.order((0, 1, 2), 1000 + FIRST_RETRY - 1)), [1, 2])
        self.assertEqual(list(memory.order((0, 1, 2), 1000 + FIRST_RETRY)), [0, 1, 2])

    def test_all_failed(self):
        memory = HostMemory()
        memory.failed(0, 0)
        memory.failed(1, 0)
        self.assertEqual(list(memory.order((0, 1), 1)), [0, 1])

    def test_longer_each_time(self):
        memory = HostMemory()
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
        memory = HostMemory()
        memory.failed(0, 0)
        memory.failed(0, FIRST_RETRY)
        memory.answered(0)
        self.assertEqual(list(memory.order((0, 1), FIRST_RETRY + 1)), [0, 1])
        memory.failed(0, 1000)
        self.assertTrue(memory.is_due(0, 1000 + FIRST_RETRY))

    def test_forget(self):
        memory = HostMemory()
        memory.failed(0, 0)
        memory.forget()
        self.assertEqual(list(memory.order((0, 1), 1)), [0, 1])

    def test_bounded(self):
        """Many thousand hosts are met by MX: those that are due again are forgotten first."""
        memory = HostMemory()
        for host in range(MAX_REMEMBERED):
            memory.failed(host, 0)
        memory.failed("one more", FIRST_RETRY)
        self.assertFalse(memory.is_due("one more", FIRST_RETRY))
        self.assertEqual(repr(memory), "<HostMemory 1 failed>")
        for host in range(MAX_REMEMBERED):
            memory.failed(host, FIRST_RETRY)
        self.assertEqual(repr(memory), "<HostMemory 1 failed>")
