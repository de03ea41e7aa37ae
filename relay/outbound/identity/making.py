"""Makes the accounts that a configuration asks for, and tells beforehand which cannot work."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from relay.config.upstream import Identity, OAuth, Upstream
from relay.notices import Observer
from relay.outbound.identity import grant_secrets
from relay.outbound.identity.account import Account, Credentials, Password
from relay.outbound.identity.choice import lane_name
from relay.outbound.identity.fetching import Fetcher
from relay.outbound.identity.secret import Secret, SecretUnusable
from relay.outbound.identity.shared_token import SharedTokens
from relay.outbound.identity.tokens import Tokens
from relay.outbound.web.https import authorities
from relay.tls.client import TlsUnusable


def own_tokens(observe: Observer, reactor: Any) -> SharedTokens:
    """Those of a process that fetches them itself."""
    return SharedTokens(lambda user, oauth: Fetcher(user, oauth, observe, reactor), reactor)


def grants_of(upstreams: Iterable[Upstream]) -> Iterator[tuple[str, OAuth]]:
    """The users who log in by access tokens, and how those are had."""
    for upstream in upstreams:
        logins: tuple[Upstream | Identity, ...] = (upstream, *upstream.identities)
        for keys in logins:
            if keys.oauth is not None:
                yield keys.user or "", keys.oauth


def account_of(
    upstream: Upstream,
    identity: Identity | None,
    tokens: SharedTokens,
    observe: Observer,
    changed: Callable[[], None],
    reactor: Any,
) -> Account | None:
    """`identity` None: the upstream's own. None: it does not authenticate. Raises TlsUnusable."""
    keys = upstream if identity is None else identity
    if keys.user is None:
        return None
    lane = lane_name(upstream.name, "" if identity is None else identity.name)
    credentials = _credentials(keys, upstream.auth_without_tls, tokens, reactor)
    return Account(lane, credentials, observe, changed, reactor)


def _credentials(
    keys: Upstream | Identity, may_go_plain: bool, tokens: SharedTokens, reactor: Any
) -> Credentials:
    if keys.oauth is not None:
        shared = tokens.of(keys.user or "", keys.oauth)
        return Tokens(keys, keys.oauth, shared, reactor, may_go_plain=may_go_plain)
    return Password(keys, may_go_plain=may_go_plain)


def problems(upstreams: Sequence[Upstream]) -> list[str]:
    """Secrets that cannot be had: the relay does not start."""
    found = []
    for index, upstream in enumerate(upstreams):
        path = f"upstream[{index}]"
        found += [f"{path}.{each}" for each in _problems(upstream)]
        for place, identity in enumerate(upstream.identities):
            found += [f"{path}.identity[{place}].{each}" for each in _problems(identity)]
    return found


def _problems(keys: Upstream | Identity) -> Iterator[str]:
    if keys.password_file is not None or keys.password_env is not None:
        try:
            Secret("password", keys.password_file, keys.password_env).read()
        except SecretUnusable as error:
            yield str(error)
    if keys.oauth is not None:
        yield from grant_secrets.problems(keys.oauth)
        if keys.oauth.ca_file is not None:
            yield from _unusable_authorities(keys.oauth.ca_file)


def unreadable_later(upstreams: Sequence[Upstream], may_read: Callable[[Path], bool]) -> list[str]:
    """Secrets in files that the relay's user cannot read: it would never log in."""
    return [
        f"upstream {upstream.name!r}: {path}"
        for upstream in upstreams
        for path in _secret_files(upstream)
        if not may_read(path)
    ]


def _secret_files(upstream: Upstream) -> Iterator[Path]:
    yield from _secret_files_of(upstream)
    for identity in upstream.identities:
        yield from _secret_files_of(identity)


def _secret_files_of(keys: Upstream | Identity) -> Iterator[Path]:
    if keys.password_file is not None:
        yield keys.password_file
    for secret in () if keys.oauth is None else grant_secrets.secrets_of(keys.oauth).values():
        if secret.secret.file is not None:
            yield secret.secret.file


def _unusable_authorities(path: Path) -> Iterator[str]:
    try:
        authorities(path)
    except TlsUnusable as error:
        yield f"oauth.ca_file: {error}"
