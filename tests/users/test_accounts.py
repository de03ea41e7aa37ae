"""Users of a file as it changes, checked in real threads; the bounds of those checks."""

import tempfile
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from relay.notices import Alarm, AlarmOver, Notice
from relay.users import accounts as accounts_module
from relay.users.accounts import FileAccounts
from relay.users.file import UsersUnusable, change_users
from relay.users.hashing import hash_password, make_keys
from relay.users.pool import Busy, Pool
from relay.users.record import User
from relay.users.remembered import Remembered
from relay.users.watched import WatchedFile


def user(name: str, password: str) -> User:
    return User(name, hash_password(password), make_keys(password))


class AccountsCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="relay-users")) / "users"
        self.addCleanup(lambda: [each.unlink() for each in self.path.parent.iterdir()])
        self.notices: list[Notice] = []
        self.clock = Clock()
        self.set(user("tim", "secret"))
        self.hashed = 0
        real = accounts_module.is_password

        def counting(*arguments: Any) -> bool:
            self.hashed += 1
            return real(*arguments)

        self.patch(accounts_module, "is_password", counting)
        self.accounts = self.made()

    def made(self, threads: int = 2, max_waiting: int = 10) -> FileAccounts:
        accounts = FileAccounts(
            WatchedFile(self.path, self.notices.append),
            Pool(reactor, threads, max_waiting),
            Remembered(300.0, self.clock.seconds),
        )
        accounts.start()
        self.addCleanup(accounts.stop)
        return accounts

    def set(self, *users: User) -> None:
        def change(old: dict[str, User]) -> None:
            old.clear()
            old.update({each.name: each for each in users})

        change_users(self.path, change)

    async def is_right(self, name: str, password: str) -> bool:
        return await self.accounts.check(name, password) is not None


class CheckTests(AccountsCase):
    async def test_right_and_wrong(self) -> None:
        self.assertTrue(await self.is_right("tim", "secret"))
        for name, password in (("tim", "Secret"), ("Tim", "secret"), ("ann", "secret")):
            self.assertFalse(await self.is_right(name, password))

    async def test_a_name_that_nobody_has_costs_a_hash_too(self) -> None:
        await self.is_right("nobody", "secret")
        self.assertEqual(self.hashed, 1)

    async def test_a_right_password_is_hashed_once(self) -> None:
        for _ in range(5):
            self.assertTrue(await self.is_right("tim", "secret"))
        self.assertEqual(self.hashed, 1)
        self.clock.advance(300)
        self.assertTrue(await self.is_right("tim", "secret"))
        self.assertEqual(self.hashed, 2)

    async def test_a_wrong_one_each_time(self) -> None:
        for _ in range(3):
            self.assertFalse(await self.is_right("tim", "wrong"))
        self.assertEqual(self.hashed, 3)


class ChangeTests(AccountsCase):
    async def test_another_password_counts_at_once(self) -> None:
        self.assertTrue(await self.is_right("tim", "secret"))
        self.set(user("tim", "other"))
        self.assertFalse(await self.is_right("tim", "secret"))
        self.assertTrue(await self.is_right("tim", "other"))

    async def test_a_removed_user_is_remembered_by_nobody(self) -> None:
        self.assertTrue(await self.is_right("tim", "secret"))
        keys = self.accounts.keys_of("tim")
        self.set(user("ann", "secret"))
        self.assertFalse(await self.is_right("tim", "secret"))
        self.assertIsNone(self.accounts.user("tim"))
        self.assertNotEqual(self.accounts.keys_of("tim").stored_key, keys.stored_key)

    async def test_what_changes_during_a_check_is_not_remembered(self) -> None:
        checked = self.accounts.check("tim", "secret")
        self.set(user("tim", "other"))
        self.accounts.user("tim")  # somebody else is looked up
        await checked
        self.assertFalse(await self.is_right("tim", "secret"))

    async def test_a_file_that_becomes_unusable(self) -> None:
        self.path.chmod(0o644)
        self.assertTrue(await self.is_right("tim", "secret"))
        self.assertTrue(await self.is_right("tim", "secret"))
        [alarm] = self.notices
        assert isinstance(alarm, Alarm)
        self.assertIn("chmod 600", alarm.why)
        self.set_aside()
        self.assertTrue(await self.is_right("tim", "secret"))
        self.assertEqual(len(self.notices), 2)
        self.set(user("ann", "secret"))
        self.assertTrue(await self.is_right("ann", "secret"))
        self.assertIsInstance(self.notices[-1], AlarmOver)

    def set_aside(self) -> None:
        self.path.unlink()

    async def test_no_file_at_the_start(self) -> None:
        self.path.unlink()
        self.assertRaises(UsersUnusable, self.made)


class PoolTests(TestCase):
    timeout = 30

    async def test_what_is_too_much_is_refused_at_once(self) -> None:
        pool = Pool(reactor, 1, 2)
        pool.start()
        self.addCleanup(pool.stop)
        gate = threading.Event()
        waiting = [pool.run(gate.wait, 10) for _ in range(3)]
        await self.assertFailure(pool.run(gate.wait, 10), Busy)
        gate.set()
        for each in waiting:
            self.assertTrue(await each)
        self.assertEqual(await pool.run(lambda: 5), 5)

    async def test_a_failure_frees_its_place(self) -> None:
        pool = Pool(reactor, 1, 0)
        pool.start()
        self.addCleanup(pool.stop)
        for _ in range(3):
            await self.assertFailure(pool.run(int, "x"), ValueError)
