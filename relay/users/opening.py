"""Makes the accounts that the configuration asks for; nothing is read nor loaded yet."""

from typing import Any

from relay.config.schema import Auth
from relay.notices import Observer
from relay.users.accounts import Accounts, FileAccounts
from relay.users.cred import CheckerAccounts
from relay.users.failures import Limits
from relay.users.pool import Pool
from relay.users.remembered import Remembered
from relay.users.watched import WatchedFile


def accounts_of(auth: Auth, reactor: Any, observe: Observer) -> Accounts:
    """Of `users`, else of `checker`."""
    remembered = Remembered(auth.remember_for, reactor.seconds)
    if auth.users is not None:
        pool = Pool(reactor, auth.max_checks, auth.max_waiting_checks)
        return FileAccounts(WatchedFile(auth.users, observe), pool, remembered)
    assert auth.checker is not None
    max_checks = auth.max_checks + auth.max_waiting_checks
    return CheckerAccounts(auth.checker, max_checks, remembered, reactor)


def limits_of(auth: Auth | None) -> Limits | None:
    """Of failures."""
    if auth is None:
        return None
    return Limits(auth.failure_delay, auth.max_failure_delay, auth.max_failures, auth.shut_out_for)
