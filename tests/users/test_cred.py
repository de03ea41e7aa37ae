"""Checkers of twisted.cred: the real ones of Twisted, and some that misbehave."""

from typing import Any

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from relay.users.cred import CHECK_TIMEOUT, CheckerAccounts
from relay.users.file import UsersUnusable
from relay.users.pool import Busy
from relay.users.remembered import Remembered

made: Any = None
"""What the factory returns."""


def make() -> Any:
    if isinstance(made, Exception):
        raise made
    return made


@implementer(ICredentialsChecker)
class Scripted:
    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.credentials = credentials
        self.asked.append(Deferred())
        return self.asked[-1]


class CheckerCase(SynchronousTestCase):
    def accounts(self, checker: Any, max_checks: int = 10) -> CheckerAccounts:
        global made
        made = checker
        self.clock = Clock()
        remembered = Remembered(300.0, self.clock.seconds)
        accounts = CheckerAccounts(f"{__name__}:make", max_checks, remembered, self.clock)
        accounts.start()
        return accounts


class CheckerTests(CheckerCase):
    def test_one_of_twisted(self) -> None:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(b"tim", b"gr\xc3\xbcn")
        accounts = self.accounts(checker)
        user = self.successResultOf(accounts.check("tim", "gr\u00fcn"))
        self.assertEqual(user and user.name, "tim")
        for name, password in (("tim", "blue"), ("ann", "gr\u00fcn")):
            self.assertIsNone(self.successResultOf(accounts.check(name, password)))
        self.assertNotIn("SCRAM-SHA-256", accounts.mechanisms)

    def test_a_file_of_twisted(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("tim:secret\n")
        accounts = self.accounts(FilePasswordDB(path))
        self.assertIsNotNone(self.successResultOf(accounts.check("tim", "secret")))
        self.assertIsNone(self.successResultOf(accounts.check("tim", "wrong")))

    def test_another_name_and_a_short_memory(self) -> None:
        checker = Scripted()
        accounts = self.accounts(checker)
        asked = accounts.check("tim@example.net", "secret")
        self.assertEqual(checker.credentials.username, b"tim@example.net")
        checker.asked.pop().callback(b"uid-5")
        for each in (asked, accounts.check("tim@example.net", "secret")):
            user = self.successResultOf(each)
            self.assertEqual(user and user.name, "uid-5")
        self.assertEqual(checker.asked, [])
        self.clock.advance(300)
        self.assertNoResult(accounts.check("tim@example.net", "secret"))

    def test_no_avatar_is_no_user(self) -> None:
        checker = Scripted()
        accounts = self.accounts(checker)
        for avatar in ((), b"", None):
            asked = accounts.check("tim", "secret")
            checker.asked.pop().callback(avatar)
            self.assertIsNone(self.successResultOf(asked))

    def test_its_trouble_is_trouble(self) -> None:
        checker = Scripted()
        accounts = self.accounts(checker)
        asked = accounts.check("tim", "secret")
        checker.asked.pop().errback(ConnectionError("directory away"))
        self.failureResultOf(asked, ConnectionError)

    def test_it_has_its_time(self) -> None:
        accounts = self.accounts(Scripted())
        asked = accounts.check("tim", "secret")
        self.clock.advance(CHECK_TIMEOUT)
        self.failureResultOf(asked)

    def test_too_many_at_a_time(self) -> None:
        checker = Scripted()
        accounts = self.accounts(checker, max_checks=2)
        asked = [accounts.check(name, "secret") for name in "ab"]
        self.failureResultOf(accounts.check("c", "secret"), Busy)
        checker.asked[0].callback(b"a")
        self.successResultOf(asked[0])
        self.assertNoResult(accounts.check("c", "secret"))


class LoadTests(CheckerCase):
    def fault(self, checker: Any) -> str:
        return str(self.assertRaises(UsersUnusable, self.accounts, checker))

    def test_what_is_no_checker(self) -> None:
        for checker in (None, "text", AllowAnonymousAccess()):
            self.assertIn("no ICredentialsChecker for IUsernamePassword", self.fault(checker))

    def test_a_factory_that_fails(self) -> None:
        self.assertIn("ValueError: no directory", self.fault(ValueError("no directory")))

    def test_what_is_not_there(self) -> None:
        for place in ("relay.nowhere:make", f"{__name__}:nothing"):
            accounts = CheckerAccounts(place, 1, Remembered(1.0, Clock().seconds), Clock())
            fault = str(self.assertRaises(UsersUnusable, accounts.start))
            self.assertIn(place, fault)
