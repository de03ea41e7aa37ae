"""relayctl check --live: what each upstream says to a session, up to the login; and the mail
hosts of domains, for upstreams by mx:.

Needs a reactor, which runs in a thread of its own for as long as the command takes.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import click
from twisted.internet import reactor as _reactor
from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults

from relay.admin import tables
from relay.admin.domain_probe import probes_of_domain
from relay.admin.probe import Finding, Probe, probes_of, unobserved
from relay.config import Config, Upstream
from relay.outbound.directory import directory_of
from relay.outbound.identity.making import own_tokens
from relay.outbound.next_hops import in_ascii
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker

AT_ONCE = 10
"""Hosts, and domains, looked at at the same time."""

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")

reactor: Any = _reactor


def look(config: Config, domains: Sequence[str], *, as_json: bool) -> bool:
    """Tell of each host, and of those of each domain; whether mail could go to all of them."""
    thread = None
    if not reactor.running:
        thread = Thread(target=reactor.run, args=(False,), daemon=True)
        thread.start()
    call: Any = threads.blockingCallFromThread
    try:
        found: list[Finding] = call(reactor, Deferred.fromCoroutine, _look(config, domains))
    finally:
        if thread is not None:
            reactor.callFromThread(reactor.stop)
            thread.join(timeout=10)
    for each in found:
        if as_json:
            tables.show_json(asdict(each))
        else:
            _show(each)
    for upstream in () if domains else config.upstreams:
        if upstream.is_by_domain:
            _tell_untried(upstream.name, as_json=as_json)
    return not any(each.trouble for each in found)


async def _look(config: Config, domains: Sequence[str]) -> list[Finding]:
    securities, ticker = Securities(reactor), Ticker(reactor)
    tokens = own_tokens(unobserved, reactor)  # one for all: a refresh token is good for one use
    directory = directory_of(config, reactor, is_looking=True)

    async def in_domain(upstream: Upstream, domain: str) -> list[Probe | Finding]:
        hosts = directory.hosts(upstream.name)
        return await probes_of_domain(
            upstream, domain, hosts, config.hostname, securities, tokens, ticker, reactor
        )

    looks: list[Probe | Finding] = []
    names = [in_ascii(domain.rstrip(".")) for domain in domains]
    try:
        for upstream in config.upstreams:
            looks += probes_of(upstream, config.hostname, securities, tokens, ticker, reactor)
            if upstream.is_by_domain:
                for found in await _some_at_once(partial(in_domain, upstream), names):
                    looks += found
        return await _some_at_once(_finding, looks)
    finally:
        await directory.stop()


async def _some_at_once(
    ask: Callable[[_Asked], Coroutine[Any, Any, _Found]], asked: Sequence[_Asked]
) -> list[_Found]:
    """Of each, in their order."""
    found: list[_Found] = []
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        found += await gatherResults([Deferred.fromCoroutine(ask(each)) for each in some])
    return found


async def _finding(look: Probe | Finding) -> Finding:
    return await look.run() if isinstance(look, Probe) else look


def _tell_untried(upstream: str, *, as_json: bool) -> None:
    text = "its hosts are each recipient's, none was tried; name a domain: --domain example.org"
    if as_json:
        tables.show_json({"upstream": upstream, "untried": text})
    else:
        click.echo(f"{upstream}: {text}\n")


def _show(found: Finding) -> None:
    domain = f" for {found.domain}" if found.domain else ""
    host = f" at {found.host}" if found.host else ""
    click.echo(tables.safe(f"{found.upstream}{domain}{host}"))
    extensions = [f"{word} {more}".rstrip() for word, more in found.extensions.items()]
    preference = "" if found.preference is None else f"preference {found.preference}"
    for name, value in (
        ("MX", preference),
        ("policy", _policy(found)),
        ("greeting", found.greeting),
        ("extensions", ", ".join(extensions)),
        ("TLS", found.tls or _no_tls(found)),
        ("certificate", found.certificate),
        ("verification", found.verification),
        ("login", _login(found)),
        ("result", found.trouble or "mail can go there"),
    ):
        if value:
            click.echo(tables.safe(f"    {name + ':':<14}{value}"))
    click.echo()


def _policy(found: Finding) -> str:
    if not found.policy_why:
        return found.policy
    return f"{found.policy or 'not to be used'} ({found.policy_why})"


def _no_tls(found: Finding) -> str:
    if found.certificate:
        return "the handshake ended at the certificate"
    return "none" if found.greeting else ""


def _login(found: Finding) -> str:
    """Not that it was refused: what stood in the way is the result."""
    if not found.user:
        return ""
    return f"as {found.user}, let in by {found.auth}" if found.auth else f"as {found.user}"
