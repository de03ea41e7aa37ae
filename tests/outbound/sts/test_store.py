"""Policies on disk: they outlive the process, and damage is no policy."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.sts import store
from relay.outbound.sts.policy import StsPolicy
from relay.outbound.sts.store import Kept, StsStore

KEPT = Kept("id1", 1000.0, StsPolicy("enforce", 60, ("mail.example.org", "*.example.net")), 1000.0)


class StoreTests(SynchronousTestCase):
    def setUp(self):
        self.folder = Path(self.mktemp())

    def test_read_again(self):
        StsStore(self.folder).put("example.org", KEPT)
        self.assertEqual(StsStore(self.folder).get("example.org"), KEPT)
        self.assertIsNone(StsStore(self.folder).get("example.net"))
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_what_another_worker_keeps_meanwhile(self):
        one, other = StsStore(self.folder), StsStore(self.folder)
        self.assertIsNone(one.get("example.org"))
        other.put("example.org", KEPT)
        self.assertEqual(one.get("example.org"), KEPT)

    def test_long_domain(self):
        domain = ".".join(["x" * 60] * 4)
        StsStore(self.folder).put(domain, KEPT)
        self.assertEqual(StsStore(self.folder).get(domain), KEPT)

    def test_in_memory_alone(self):
        kept = StsStore(None)
        kept.put("example.org", KEPT)
        self.assertEqual(kept.get("example.org"), KEPT)

    def test_damaged(self):
        StsStore(self.folder).put("example.org", KEPT)
        (file,) = self.folder.iterdir()
        for text in ("", "{", "[]", "{}", '{"domain": "example.org"}'):
            file.write_text(text)
            self.assertIsNone(StsStore(self.folder).get("example.org"), text)

    def test_folder_that_cannot_be_had(self):
        """It is kept in memory then."""
        kept = StsStore(self.folder / "deeper" / "down")
        kept.put("example.org", KEPT)
        self.assertEqual(kept.get("example.org"), KEPT)

    def test_bounded(self):
        self.patch(store, "MAX_IN_MEMORY", 2)
        self.patch(store, "MAX_FILES", 3)
        self.patch(store, "PRUNE_EVERY", 2)
        kept = StsStore(self.folder)
        for number in range(9):
            kept.put(f"{number}.example", KEPT)
            for path in self.folder.iterdir():
                os.utime(path, (path.stat().st_mtime - 1,) * 2)
        self.assertLessEqual(len(list(self.folder.iterdir())), 4)
        self.assertEqual(repr(kept), f"<StsStore {self.folder} 2 in memory>")
        self.assertIsNotNone(StsStore(self.folder).get("8.example"))
        self.assertIsNone(StsStore(self.folder).get("0.example"))

    def test_good_for_its_time(self):
        self.assertTrue(KEPT.is_good(1059.0))
        self.assertFalse(KEPT.is_good(1060.0))
