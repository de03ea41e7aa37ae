"""relayctl user, as its users run it: the file it leaves, its words and its exit status."""

import json
import os
import pty
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from relay.admin.cli import relayctl
from relay.users.file import read_users
from relay.users.hashing import is_password
from relay.users.record import User
from tests.interop.tools import CHECKOUT
from tests.process.child import DEADLINE

CONFIG = """
hostname = "relay.example.net"
[queue]
store = "sqlite:spool"
[[listener]]
name = "lan"
address = "127.0.0.1:2525"
auth = "offered"
auth_without_tls = true
{auth}
"""


class UserCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relayctl-user"))
        self.config = self.folder / "relay.toml"
        self.config.write_text(CONFIG.format(auth='[auth]\nusers = "users"'))
        self.path = self.folder / "users"

    def run_command(self, *words: str, given: str = "") -> Result:
        arguments = ["--config", str(self.config), "user", *words]
        return CliRunner().invoke(relayctl, arguments, given)

    def add(self, name: str, password: str = "secret", *options: str) -> Result:
        return self.run_command("add", name, "--password-stdin", *options, given=password)

    def user(self, name: str) -> User:
        return read_users(self.path)[0].by_name[name]


class AddTests(UserCase):
    def test_nobody_to_ask(self) -> None:
        done = self.run_command("add", "tim", given="secret\n")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("add --password-stdin", done.stderr)
        self.assertFalse(self.path.exists())

    def test_a_new_one(self) -> None:
        done = self.add("tim")
        self.assertEqual((done.exit_code, done.stdout), (0, "added tim\n"))
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertTrue(is_password(self.user("tim").hashed, "secret"))
        self.assertIsNotNone(self.user("tim").keys)
        self.assertNotIn("secret", self.path.read_text())

    def test_it_belongs_to_whoever_has_the_spool(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        self.assertIn("belongs to root", self.add("tim").stderr)
        self.path.unlink()
        spool = self.folder / "spool"
        spool.mkdir()
        os.chown(spool, 65534, 65534)
        self.assertEqual(self.add("tim").stderr, "")
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (65534, 65534))

    def test_another_password(self) -> None:
        self.add("tim")
        self.assertEqual(self.add("tim", "other\r\n").stdout, "changed tim\n")
        self.assertTrue(is_password(self.user("tim").hashed, "other"))

    def test_senders(self) -> None:
        self.add("tim", "secret", "--sender", "tim@example.net", "--sender", "<>")
        self.assertEqual(self.user("tim").senders, ("tim@example.net", "<>"))

    def test_no_scram(self) -> None:
        self.add("tim", "secret", "--no-scram")
        self.assertIsNone(self.user("tim").keys)

    def test_names_and_passwords_are_prepared(self) -> None:
        self.add("\u2168", "\u00aa\n")
        self.assertTrue(is_password(self.user("IX").hashed, "a"))

    def test_what_cannot_be(self) -> None:
        for words, given, status, said in (
            (("tim",), "", 1, "it is empty"),
            (("tim",), "a\0b", 1, "not allowed"),
            (("tim",), "a\nb\n", 1, "not allowed"),
            (("tim",), "x" * 1025, 1, "more than 1024 octets"),
            (("tim",), "\udcff", 1, "not allowed"),
            (("",), "secret", 2, "it is empty"),
            (("a\nb",), "secret", 2, "not allowed"),
            (("n" * 256,), "secret", 2, "more than 255 octets"),
            (("tim", "--sender", "nobody"), "secret", 2, "can match no address"),
        ):
            octets = given.encode("utf-8", "surrogateescape")
            arguments = ["--config", str(self.config), "user", "add", *words, "--password-stdin"]
            done = CliRunner().invoke(relayctl, arguments, octets)
            self.assertEqual(done.exit_code, status, (words, done.output))
            self.assertIn(said, done.output)
            self.assertNotIn("Traceback", done.output)
            self.assertFalse(self.path.exists())


class OtherTests(UserCase):
    def test_list(self) -> None:
        self.add("tim", "secret", "--sender", "tim@example.net")
        self.add("ann", "secret", "--no-scram")
        told = [json.loads(line) for line in self.run_command("list", "--json").output.splitlines()]
        self.assertEqual(
            told,
            [
                {"name": "ann", "senders": [], "scram": False},
                {"name": "tim", "senders": ["tim@example.net"], "scram": True},
            ],
        )
        shown = self.run_command("list").output
        self.assertIn("tim@example.net", shown)
        self.assertNotIn("$argon2id$", shown)

    def test_remove(self) -> None:
        self.add("tim")
        self.assertEqual(self.run_command("remove", "tim").output, "removed tim\n")
        self.assertEqual(dict(read_users(self.path)[0].by_name), {})
        done = self.run_command("remove", "tim")
        self.assertEqual((done.exit_code, done.output), (1, "relayctl: there is no user 'tim'\n"))

    def test_without_a_file(self) -> None:
        for words in (("list",), ("remove", "tim")):
            done = self.run_command(*words)
            self.assertEqual(done.exit_code, 1)
            self.assertIn("relayctl user add NAME", done.output)

    def test_a_file_that_others_read_is_left_alone(self) -> None:
        self.add("tim")
        self.path.chmod(0o644)
        done = self.add("ann")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("chmod 600", done.output)

    def test_without_a_users_file_in_the_configuration(self) -> None:
        self.config.write_text(CONFIG.format(auth='[auth]\nchecker = "a:b"'))
        done = self.add("tim")
        self.assertEqual(done.exit_code, 2)
        self.assertIn('users = "FILE"', done.output)

    def test_check_warns_of_a_file_that_cannot_be_used(self) -> None:
        arguments = ["--config", str(self.config), "check"]
        self.assertIn("does not exist", CliRunner().invoke(relayctl, arguments).output)
        self.add("tim")
        self.assertNotIn("users file", CliRunner().invoke(relayctl, arguments).output)


class TerminalTests(UserCase):
    def test_nothing_is_echoed(self) -> None:
        """On a real terminal."""
        ours, theirs = pty.openpty()
        command = "from relay.admin.cli import main; main()"
        child = subprocess.Popen(
            [sys.executable, "-c", command, "--config", str(self.config), "user", "add", "tim"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        try:
            for prompt in (b"Password of tim:", b"Repeat for confirmation:"):
                while prompt not in shown:
                    shown += os.read(ours, 1024)
                os.write(ours, b"secret\n")
            self.assertEqual(child.wait(DEADLINE), 0)
            shown += os.read(ours, 1024)
        finally:
            child.kill()
            os.close(ours)
        self.assertNotIn(b"secret", shown)
        self.assertIn(b"added tim", shown)
        self.assertTrue(is_password(self.user("tim").hashed, "secret"))
