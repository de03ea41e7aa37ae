"""A file in the place of another: whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from relay.replacing import replace_file


class ReplacingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "secret"

    def test_new_and_in_the_place_of_another(self) -> None:
        for octets in (b"one\n", b"another\n"):
            replace_file(self.path, (octets[:2], octets[2:]), None)
            self.assertEqual(octets, self.path.read_bytes())
        self.assertEqual([self.path], list(self.folder.iterdir()))

    def test_for_its_owner_alone_whatever_the_umask(self) -> None:
        for mask in (0, 0o277):
            self.addCleanup(os.umask, os.umask(mask))
            replace_file(self.path, (b"x",), None)
            self.assertEqual(0o600, self.path.stat().st_mode & 0o777)

    def test_what_breaks_off_changes_nothing(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"half"
            raise OSError("the disk is full")

        replace_file(self.path, (b"old",), None)
        self.assertRaises(OSError, replace_file, self.path, pieces(), None)
        self.assertEqual(b"old", self.path.read_bytes())
        self.assertEqual([self.path], list(self.folder.iterdir()))

    def test_its_octets_are_synced_before_its_name(self) -> None:
        synced: list[tuple[bool, bool]] = []
        real = os.fsync

        def note(descriptor: int) -> None:
            synced.append((os.fstat(descriptor).st_size >= 1, self.path.exists()))
            real(descriptor)

        self.patch(os, "fsync", note)
        replace_file(self.path, (b"x",), None)
        self.assertEqual([(True, False), (True, True)], synced)
