"""The users file: there and back, what is refused, how it is replaced."""

import os
import stat
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from relay.smtp.sasl import scram
from relay.users.file import UsersUnusable, change_users, read_users
from relay.users.hashing import ITERATIONS, hash_password, is_password, make_keys
from relay.users.record import SEED_SIZE, User, first_line, line_of

HASH = hash_password("secret")
TIM = User("tim", HASH, make_keys("secret"), ("tim@example.net", "*@lists.example.net", "<>"))
ANN = User("\u00e4nn", HASH)


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="relay-users")) / "users"
        self.addCleanup(lambda: [each.unlink() for each in self.path.parent.iterdir()])

    def add(self, *users: User) -> None:
        change_users(self.path, lambda old: old.update({user.name: user for user in users}))

    def write(self, *lines: bytes) -> None:
        self.path.write_bytes(first_line(b"s" * SEED_SIZE) + b"".join(lines))
        self.path.chmod(0o600)

    def fault(self) -> str:
        return str(self.assertRaises(UsersUnusable, read_users, self.path))


class ReadTests(FileCase):
    def test_there_and_back(self) -> None:
        self.add(TIM, ANN)
        users, _ = read_users(self.path)
        self.assertEqual(dict(users.by_name), {"tim": TIM, "\u00e4nn": ANN})

    def test_missing(self) -> None:
        self.assertIn("relayctl user add", self.fault())

    def test_readable_by_others(self) -> None:
        self.add(TIM)
        for mode in (0o640, 0o604, 0o660, 0o601):
            self.path.chmod(mode)
            self.assertIn(f"chmod 600 {self.path}", self.fault())

    def test_not_a_users_file(self) -> None:
        for octets in (b"", b"root:x:0:0\n", b"{}\n", b'{"relay_users":2}\n', b"[]\n"):
            self.path.write_bytes(octets)
            self.path.chmod(0o600)
            self.assertIn("line 1", self.fault())

    def test_damaged_lines(self) -> None:
        good = line_of(TIM)
        for line, said in (
            (b"tim\n", "no JSON object"),
            (good[:40] + b"\n", "no JSON object"),
            (b"\xff\n", "no JSON object"),
            (good.replace(b'"tim"', b'""'), "cannot be"),
            (good.replace(b'"tim"', b"5"), "no name"),
            (good.replace(b'"tim"', b'"a\\u0000b"'), "cannot be"),
            (good.replace(b"$argon2id$", b"$argon2i$"), "no argon2id hash"),
            (good.replace(b'"iterations":100000', b'"iterations":0'), "iterations"),
            (good.replace(b'"iterations":100000', b'"iterations":99999999'), "iterations"),
            (good.replace(b'"stored_key":"', b'"stored_key":"!'), "damaged"),
            (good.replace(b'"tim@example.net"', b'"nobody"'), "sender pattern"),
            (good.replace(b'"senders":[', b'"sender":['), "unknown key 'sender'"),
            (good + good, "second one"),
        ):
            self.write(line)
            fault = self.fault()
            self.assertIn(said, fault)
            self.assertNotIn(HASH, fault)


class FakeTests(FileCase):
    """Names that nobody has look like others to whoever begins SCRAM with them."""

    def keys(self, name: str) -> scram.Keys:
        return read_users(self.path)[0].keys_of(name)

    def test_the_salt_is_always_the_same_and_another_for_each(self) -> None:
        self.add(TIM)
        first, again, other = self.keys("nobody"), self.keys("nobody"), self.keys("nobodi")
        self.assertEqual(first.salt, again.salt)
        self.assertNotEqual(first.salt, other.salt)
        self.assertEqual(len(first.salt), len(TIM.keys.salt) if TIM.keys else 0)
        self.assertNotEqual(first.stored_key, again.stored_key)  # no password has these keys

    def test_as_many_iterations_as_the_others(self) -> None:
        self.assertEqual(ITERATIONS, TIM.keys.iterations if TIM.keys else 0)
        self.add(User("old", HASH, scram.derive_keys("secret", b"salt", 20000)))
        self.assertEqual(self.keys("nobody").iterations, 20000)

    def test_the_seed_stays(self) -> None:
        self.add(TIM)
        before = self.keys("nobody").salt
        self.add(ANN)
        self.assertEqual(self.keys("nobody").salt, before)


class ChangeTests(FileCase):
    def test_mode_whatever_the_umask(self) -> None:
        for mask in (0o000, 0o022, 0o777):
            old = os.umask(mask)
            try:
                self.add(TIM)
            finally:
                os.umask(old)
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_replaced_never_rewritten(self) -> None:
        """Whoever has the old one open reads the old one to its end."""
        self.add(TIM)
        with self.path.open("rb") as old:
            self.add(ANN)
            self.assertNotIn("\u00e4nn".encode(), old.read())
        self.assertEqual({p.name for p in self.path.parent.iterdir()}, {"users", "users.lock"})

    def test_a_failed_change_leaves_the_old_file(self) -> None:
        self.add(TIM)
        before = self.path.read_bytes()

        def fails(users: dict[str, User]) -> None:
            users.clear()
            raise ValueError

        self.assertRaises(ValueError, change_users, self.path, fails)
        self.assertEqual(self.path.read_bytes(), before)

    def test_a_damaged_file_is_not_replaced(self) -> None:
        self.write(b"tim\n")
        self.assertRaises(UsersUnusable, self.add, ANN)
        self.assertEqual(self.path.read_bytes().splitlines()[1], b"tim")

    def test_many_at_once_lose_nothing(self) -> None:
        names = [f"user{n}" for n in range(16)]
        threads = [threading.Thread(target=self.add, args=(User(n, HASH),)) for n in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(read_users(self.path)[0].by_name), sorted(names))

    def test_owners(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        change_users(self.path, lambda users: users.update(tim=TIM), (65534, 65534))
        self.assertEqual(self.path.stat().st_uid, 65534)
        self.add(ANN)  # root again, without saying whose it is
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (65534, 65534))


class HashTests(SynchronousTestCase):
    def test_right_and_wrong(self) -> None:
        self.assertTrue(is_password(HASH, "secret"))
        for hashed, password in ((HASH, "Secret"), (HASH, ""), ("$argon2id$broken", "secret")):
            self.assertFalse(is_password(hashed, password))

    def test_each_hash_has_its_salt(self) -> None:
        self.assertNotEqual(hash_password("secret"), HASH)
        self.assertNotEqual(make_keys("secret").salt, make_keys("secret").salt)

    def test_nothing_of_it_in_a_repr(self) -> None:
        self.assertEqual(repr(ANN), "User(name='\u00e4nn', senders=())")
