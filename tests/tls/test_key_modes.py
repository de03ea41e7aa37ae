"""Private keys that others can read: doubts and notes, with the place of each."""

import grp
import json
import os
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from relay.admin.cli import relayctl
from relay.config import Config, load
from relay.tls import inspection
from tests.certificates import Authority

CONFIG = """\
hostname = "relay.example.net"
[queue]
store = "memory:"
[[listener]]
name = "plain"
address = "127.0.0.1:0"
[[listener]]
name = "in"
address = "127.0.0.1:0"
tls = "starttls"
[[listener.certificates]]
certificate = "in.pem"
key = "in.key"
[[upstream]]
name = "one"
hosts = ["smtp://127.0.0.1:1"]
client_certificate = "one.pem"
client_key = "one.key"
[[upstream]]
name = "two"
hosts = ["smtp://127.0.0.1:1"]
client_certificate = "both.pem"
[[route]]
upstream = "one"
"""


class KeyModeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        authority = Authority()
        for name in ("in", "one"):
            authority.issue("relay.example").write(self.folder, name)
        both = authority.issue("relay.example")
        (self.folder / "both.pem").touch(0o600)
        (self.folder / "both.pem").write_bytes(both.chain_pem + both.key_pem)
        (self.folder / "relay.toml").write_text(CONFIG)
        self.keys = {
            "listener[1].certificates[0]": self.folder / "in.key",
            "upstream[0]": self.folder / "one.key",
            "upstream[1]": self.folder / "both.pem",
        }

    @property
    def config(self) -> Config:
        return load(self.folder / "relay.toml")

    def told(self) -> tuple[list[str], list[str]]:
        return inspection.warnings(self.config), inspection.notes(self.config)

    def test_for_the_owner_alone(self) -> None:
        (self.folder / "one.pem").chmod(0o644)  # a certificate is for everybody
        self.assertEqual(self.told(), ([], []))

    def test_everybody(self) -> None:
        for place, path in self.keys.items():
            for mode in (0o644, 0o604):
                path.chmod(mode)
                (doubt,), notes = self.told()
                self.assertTrue(doubt.startswith(f"{place}: {path} holds a private key, "), doubt)
                self.assertTrue(doubt.endswith(f"; chmod o= {path}"), doubt)
                self.assertEqual(notes, [])
            path.chmod(0o600)

    def test_a_group(self) -> None:
        group = grp.getgrgid(os.getgid()).gr_name
        for place, path in self.keys.items():
            path.chmod(0o640)
            doubts, (note,) = self.told()
            self.assertEqual(doubts, [])
            self.assertTrue(note.startswith(f"{place}: {path} holds a private key, "), note)
            self.assertTrue(note.endswith(f"the group {group} can read, too"), note)
            path.chmod(0o600)

    def test_one_that_is_away(self) -> None:
        config = self.config
        self.keys["upstream[0]"].unlink()
        self.assertEqual(inspection.notes(config), [])

    def test_check_tells(self) -> None:
        self.keys["listener[1].certificates[0]"].chmod(0o640)
        self.keys["upstream[0]"].chmod(0o644)
        words = ["--config", str(self.folder / "relay.toml"), "check"]
        shown = CliRunner().invoke(relayctl, words)
        self.assertEqual(shown.exit_code, 0)
        self.assertIn("warning: upstream[0]: ", shown.stderr)
        self.assertIn("note: listener[1].certificates[0]: ", shown.stderr)
        told = CliRunner().invoke(relayctl, [*words, "--json"])
        facts = [json.loads(line) for line in told.stdout.splitlines()]
        for kind in ("warning", "note"):
            told_of = [fact for fact in facts if " private key" in fact.get(kind, "")]
            self.assertEqual(len(told_of), 1, facts)
