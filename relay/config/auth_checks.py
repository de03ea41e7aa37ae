"""What an upstream's keys for AUTH say together: contradictions, and doubts.

Opens no file: `relay.outbound.identity.making` looks for the secrets that are named here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from relay.config.schema import Settings
from relay.config.upstream import Upstream
from relay.config.upstream_checks import has_host

Raw = Mapping[str, Any]

_PASSWORDS = ("password_file", "password_env")
_SECRETS = (*_PASSWORDS, "oauth")
_FOR_TOKENS = frozenset({"OAUTHBEARER", "XOAUTH2"})

_NEEDED = {
    "refresh-token": ("client_id", "refresh_token_file"),
    "client-credentials": ("client_id", "client_secret"),
    "service-account": ("key_file",),
}
"""By grant: the keys without which there is no token; client_secret is _file or _env."""


def auth_contradictions(upstreams: Iterable[tuple[str, Raw]]) -> Iterator[str]:
    """`upstreams`: the raw tables, each with its path."""
    for path, table in upstreams:
        identities = list(_identities(path, table))
        yield from _names_used_twice(identities)
        for each_path, each in ((path, table), *identities):
            yield from _of_one(each_path, each)
        if any("user" in each for _, each in ((path, table), *identities)):
            yield from _in_plain_text(path, table)
        if "user" in table or identities:
            yield from _at_strangers(path, table)


def _identities(path: str, table: Raw) -> Iterator[tuple[str, Raw]]:
    found = table.get("identity")
    for place, each in enumerate(found if isinstance(found, tuple) else ()):
        if isinstance(each, dict):
            yield f"{path}.identity[{place}]", each


def _names_used_twice(identities: Iterable[tuple[str, Raw]]) -> Iterator[str]:
    first: dict[str, str] = {}
    for path, table in identities:
        name = table.get("name")
        if isinstance(name, str) and first.setdefault(name, path) != path:
            yield f"{path}.name: is the name of {first[name]} too; give each identity its own"


def _of_one(path: str, table: Raw) -> Iterator[str]:
    given = [key for key in _SECRETS if key in table]
    if "user" not in table:
        for key in (*given, *(["mechanisms"] if "mechanisms" in table else [])):
            yield f"{path}.{key}: is of no use without user"
        return
    if not given:
        yield f"{path}.user: has no secret; write password_file, password_env or oauth"
    elif len(given) > 1:
        yield f"{path}.{given[1]}: there is {given[0]} already; write one of them"
    elif isinstance(mechanisms := table.get("mechanisms"), tuple) and mechanisms:
        yield from _unusable(path, mechanisms, is_token=given == ["oauth"])
    if isinstance(oauth := table.get("oauth"), dict):
        yield from _grant(f"{path}.oauth", oauth)


def _unusable(path: str, mechanisms: tuple[Any, ...], *, is_token: bool) -> Iterator[str]:
    if not any((each in _FOR_TOKENS) == is_token for each in mechanisms):
        what, fit = ("a token", "XOAUTH2") if is_token else ("a password", "SCRAM-SHA-256")
        yield f"{path}.mechanisms: none of them takes {what}; add e.g. {fit!r}"


def _grant(path: str, oauth: Raw) -> Iterator[str]:
    if "client_secret_file" in oauth and "client_secret_env" in oauth:
        yield f"{path}.client_secret_env: there is client_secret_file already; write one of them"
    grant = oauth.get("grant")
    for key in _NEEDED.get(grant, ()) if isinstance(grant, str) else ():
        if not any(name in oauth for name in (key, f"{key}_file", f"{key}_env")):
            name = f"{key}_file" if key == "client_secret" else key
            yield f"{path}.{name}: is missing, and grant = {grant!r} needs it"


def _in_plain_text(path: str, table: Raw) -> Iterator[str]:
    if table.get("tls") == "none" and table.get("auth_without_tls", False) is False:
        yield (
            f"{path}.tls: 'none' would show the credentials to whoever listens; write "
            "'verified', or auth_without_tls = true on a network where nobody does"
        )


def _at_strangers(path: str, table: Raw) -> Iterator[str]:
    if has_host(table, "mx:"):
        yield f'{path}: "mx:" leads to other people\'s hosts, which have no use for a login'


def auth_doubts(settings: Settings) -> Iterator[str]:
    """What is allowed and probably not meant."""
    for index, upstream in enumerate(settings.upstreams):
        path = f"upstream[{index}]"
        if not upstream.has_auth:
            continue
        if upstream.auth_without_tls:
            yield (
                f"{path}.auth_without_tls: credentials may go out in plain text, and whoever "
                "listens on the network can read them"
            )
        elif upstream.tls != "verified":
            yield (
                f"{path}.tls: the host's certificate is not verified, so whoever poses as the host"
                " is given the credentials; write 'verified'"
            )
        yield from _left_out(path, upstream)


def _left_out(path: str, upstream: Upstream) -> Iterator[str]:
    """Mail that no identity takes goes all the same."""
    if upstream.user is None and all(each.senders or each.users for each in upstream.identities):
        yield (
            f"{path}.identity: mail that matches none of them is sent without AUTH; give the "
            "upstream a user of its own, or an identity without senders and users"
        )
    for place, identity in enumerate(upstream.identities):
        if identity.user is None:
            yield f"{path}.identity[{place}]: has no user, so its mail is sent without AUTH"
