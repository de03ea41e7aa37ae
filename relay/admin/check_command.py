"""relayctl check: is the configuration right, and what does it say?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from relay.admin import tables
from relay.admin.configuration import read, warnings
from relay.admin.guard import TokenUnusable, read_token
from relay.admin.operations import Json
from relay.build import how_built
from relay.config import Config, ConfigError, Listener, Upstream, profiles
from relay.tls import inspection
from relay.users.file import UsersUnusable, read_users


@click.command()
@click.option("--live", is_flag=True, help="Connect to each upstream, too, as far as the login.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="With --live: the mail hosts of this domain, as upstreams by mx: find them; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def check(config: Path, live: bool, domains: tuple[str, ...], as_json: bool) -> None:
    """Read the configuration; tell every mistake, every doubt, and where mail would go.

    With --live no mail is sent; it ends with 1 where mail could not go to some host.
    """
    if domains and not live:
        raise click.UsageError("--domain is for --live: write check --live --domain ...")
    try:
        loaded = read(config)
    except ConfigError as error:
        for problem in error.problems:
            _tell("problem", problem, as_json)
        raise SystemExit(2) from None
    doubts = (
        *warnings(loaded),
        *_token_trouble(loaded),
        *_users_trouble(loaded),
    )
    for warning in doubts:
        _tell("warning", warning, as_json)
    for note in inspection.notes(loaded):
        _tell("note", note, as_json)
    if as_json:
        for fact in _facts(loaded):
            tables.show_json(fact)
        tables.show_json({"built": how_built()})
    else:
        _show(loaded)
        click.echo(f"{config} is right; the way of a message is {how_built()}")
    if domains and not any(upstream.is_by_domain for upstream in loaded.upstreams):
        raise click.UsageError("--domain is for upstreams by mx:, and there is none")
    if live and not _look(loaded, domains, as_json=as_json):
        raise SystemExit(1)


def _look(config: Config, domains: Sequence[str], *, as_json: bool) -> bool:
    from relay.admin.live_check import look  # a reactor is installed by that

    if not as_json:
        click.echo()
    return look(config, domains, as_json=as_json)


def _tell(kind: str, text: str, as_json: bool) -> None:
    if as_json:
        tables.show_json({kind: text})
    else:
        click.echo(text if kind == "problem" else f"{kind}: {text}", err=True)


def _token_trouble(config: Config) -> list[str]:
    if config.admin is None:
        return []
    try:
        read_token(config.admin.token_file)
    except TokenUnusable as error:
        return [str(error)]
    return []


def _users_trouble(config: Config) -> list[str]:
    if config.auth is None or config.auth.users is None:
        return []
    try:
        read_users(config.auth.users)
    except UsersUnusable as error:
        return [str(error)]
    return []


def _facts(config: Config) -> list[Json]:
    facts: list[Json] = [
        {"listener": each.name, "address": str(each.address), "tls": each.tls}
        for each in config.listeners
    ]
    facts += [
        {
            "upstream": each.name,
            "hosts": [str(host) for host in each.hosts],
            "tls": each.tls,
            "users": _users(each),
        }
        for each in config.upstreams
    ]
    facts += [
        {"upstream": name, "profile": profile, "key": key, "value": value, "is_overridden": is_own}
        for name, profile, key, value, is_own in _profiles(config)
    ]
    facts += [
        {
            "route": number,
            "recipients": list(each.recipients),
            "senders": list(each.senders),
            "listeners": list(each.listeners),
            "upstream": each.upstream,
            "delivery": each.delivery,
        }
        for number, each in enumerate(config.routes, 1)
    ]
    return facts


def _show(config: Config) -> None:
    tables.show_table(
        ("LISTENER", "ADDRESS", "TLS", "MAY SEND ANYWHERE", "ANYONE MAY SEND TO"),
        [
            (
                each.name,
                each.address,
                each.tls,
                _trusted(each),
                ", ".join(each.accept_recipients) or "-",
            )
            for each in config.listeners
        ],
    )
    click.echo()
    tables.show_table(
        ("UPSTREAM", "TLS", "LOGIN AS", "HOSTS, TRIED IN THIS ORDER"),
        [
            (each.name, each.tls, ", ".join(_users(each)) or "-", ", ".join(map(str, each.hosts)))
            for each in config.upstreams
        ],
    )
    click.echo()
    if found := list(_profiles(config)):
        tables.show_table(
            ("UPSTREAM", "PROFILE", "SETS", "TO", ""),
            [(*each[:4], "by you" if each[4] else "") for each in found],
        )
        click.echo()
    tables.show_table(
        (">ROUTE", "RECIPIENTS", "SENDERS", "LISTENERS", "UPSTREAM"),
        [
            (number, _any(each.recipients), _any(each.senders), _any(each.listeners), each.upstream)
            for number, each in enumerate(config.routes, 1)
        ],
    )
    click.echo()


def _users(upstream: Upstream) -> list[str]:
    """Whom it is logged in as, each identity's."""
    users = [upstream.user, *(identity.user for identity in upstream.identities)]
    return [user for user in users if user is not None]


def _profiles(config: Config) -> Iterator[tuple[str, str, str, str, bool]]:
    """Upstream, its profile, a key that this sets, the value in use, whether that is another."""
    for upstream in config.upstreams:
        for key, value, is_usual in profiles.told(upstream):
            shown = f"{value * 60:g}/m" if key == "max_rate" and value else _shown(value)
            yield upstream.name, upstream.profile, key, shown, not is_usual


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _trusted(listener: Listener) -> str:
    """Networks, names in certificates, and users."""
    if listener.auth == "required":
        return "users alone"
    certificates = [f"certificate {pattern}" for pattern in listener.relay_certificates]
    users = ["users"] if listener.auth == "offered" else []
    return ", ".join([*map(str, listener.relay_networks), *certificates, *users]) or "nobody"


def _any(tests: tuple[str, ...]) -> str:
    return ", ".join(tests) or "any"
