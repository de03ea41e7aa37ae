"""relayctl user: who may authenticate. Works on the users file; a running relay reads it again."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from relay.admin import tables
from relay.admin.asking import ask_password
from relay.admin.desk import Failed, Unusable, read_config
from relay.config import Config
from relay.queue.open_store import spool_of
from relay.smtp.sasl.prepare import Unprepared, prepare
from relay.smtp.sasl.server import MAX_PASSWORD
from relay.users.file import UsersUnusable, change_users, read_users
from relay.users.hashing import hash_password, make_keys
from relay.users.record import BadRecord, User, checked_name, checked_senders


@click.group()
def user() -> None:
    """Add, change, remove and list the users of [auth]."""


@user.command()
@click.argument("name")
@click.option(
    "--sender",
    "senders",
    multiple=True,
    metavar="PATTERN",
    help='Reverse-paths the user may send with, e.g. "*@example.net"; may be given many times.'
    " Default: any.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--no-scram", is_flag=True, help="Keep no keys for SCRAM-SHA-256.")
@click.pass_obj
def add(
    config: Path, name: str, senders: tuple[str, ...], password_stdin: bool, no_scram: bool
) -> None:
    """Add a user, or give one another password and other senders."""
    loaded = read_config(config)
    path = _users_file(loaded)
    name = _name(name)
    try:
        patterns = checked_senders(list(senders))
    except BadRecord as fault:
        raise click.BadParameter(f"--sender: {fault}") from None
    password = _password(name, from_stdin=password_stdin)
    keys = None if no_scram else make_keys(password)
    made = User(name, hash_password(password), keys, patterns)
    is_new = True

    def change(users: dict[str, User]) -> None:
        nonlocal is_new
        is_new = name not in users
        users[name] = made

    owner = _owner(loaded)
    _change(path, change, owner)
    click.echo(f"{'added' if is_new else 'changed'} {tables.safe(name)}")
    if owner is None and path.stat().st_uid == 0:
        click.echo(
            f"relayctl: {path} belongs to root; where the relay runs as another user, run:"
            f" chown USER {path}",
            err=True,
        )


@user.command()
@click.argument("name")
@click.pass_obj
def remove(config: Path, name: str) -> None:
    """Remove a user. Sessions that he has open go on until they end."""
    path = _users_file(read_config(config))
    name = _name(name)
    if name not in _read(path):
        raise Failed(f"there is no user {name!r}")
    _change(path, lambda users: users.pop(name, None), None)
    click.echo(f"removed {tables.safe(name)}")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_(config: Path, as_json: bool) -> None:
    """Who there is, without passwords."""
    users = _read(_users_file(read_config(config)))
    if as_json:
        for each in users.values():
            tables.show_json(
                {"name": each.name, "senders": list(each.senders), "scram": each.keys is not None}
            )
        return
    tables.show_table(
        ("USER", "MAY SEND AS", "SCRAM"),
        [
            (each.name, ", ".join(each.senders) or "anyone", "yes" if each.keys else "no")
            for each in users.values()
        ],
    )


def _users_file(config: Config) -> Path:
    if config.auth is None or config.auth.users is None:
        raise Unusable('the configuration names no users file; add [auth] with users = "FILE"')
    return config.auth.users


def _name(name: str) -> str:
    try:
        return checked_name(name)
    except BadRecord as fault:
        raise click.BadParameter(f"the user {fault}") from None


def _password(name: str, *, from_stdin: bool) -> str:
    """Prepared."""
    text = ask_password(name, from_stdin=from_stdin, is_new=True)
    try:
        password = prepare(text, is_stored=True)
    except Unprepared as fault:
        raise Failed(f"this password cannot be used: {fault}") from None
    if len(password.encode()) > MAX_PASSWORD:
        raise Failed(f"this password cannot be used: it has more than {MAX_PASSWORD} octets")
    return password


def _owner(config: Config) -> tuple[int, int] | None:
    """A new file that root makes is for the relay to read: its spool tells who that is."""
    spool = spool_of(config.queue.store)
    if os.geteuid() != 0 or spool is None:
        return None
    try:
        told = Path(spool).stat()
    except OSError:
        return None
    return told.st_uid, told.st_gid


def _read(path: Path) -> dict[str, User]:
    try:
        return dict(read_users(path)[0].by_name)
    except UsersUnusable as error:
        raise Failed(str(error)) from None


def _change(
    path: Path, change: Callable[[dict[str, User]], object], owner: tuple[int, int] | None
) -> None:
    try:
        change_users(path, change, owner)
    except UsersUnusable as error:
        raise Failed(str(error)) from None
