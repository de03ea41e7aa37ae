"""relayctl check --live: what each upstream says to a session, up to the login.

Needs a reactor, which runs in a thread of its own for as long as the command takes.
"""

from dataclasses import asdict
from threading import Thread
from typing import Any

import click
from twisted.internet import reactor as _reactor
from twisted.internet import threads
from twisted.internet.defer import Deferred, gatherResults

from relay.admin import tables
from relay.admin.probe import Finding, probes_of
from relay.config import Config
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker

AT_ONCE = 10
"""Hosts looked at at the same time."""

reactor: Any = _reactor


def look(config: Config, *, as_json: bool) -> bool:
    """Tell of each host; whether mail could go to all of them."""
    thread = None
    if not reactor.running:
        thread = Thread(target=reactor.run, args=(False,), daemon=True)
        thread.start()
    call: Any = threads.blockingCallFromThread
    try:
        found: list[Finding] = call(reactor, Deferred.fromCoroutine, _look(config))
    finally:
        if thread is not None:
            reactor.callFromThread(reactor.stop)
            thread.join(timeout=10)
    for each in found:
        if as_json:
            tables.show_json(asdict(each))
        else:
            _show(each)
    if not as_json:
        for upstream in config.upstreams:
            if upstream.is_by_domain:
                click.echo(f"{upstream.name}: its hosts are each recipient's; none was tried\n")
    return not any(each.trouble for each in found)


async def _look(config: Config) -> list[Finding]:
    securities, ticker = Securities(reactor), Ticker(reactor)
    probes = [
        probe
        for upstream in config.upstreams
        for probe in probes_of(upstream, config.hostname, securities, ticker, reactor)
    ]
    found: list[Finding] = []
    for start in range(0, len(probes), AT_ONCE):
        some = [probe.run() for probe in probes[start : start + AT_ONCE]]
        found += await gatherResults(some)
    return found


def _show(found: Finding) -> None:
    click.echo(tables.safe(f"{found.upstream} at {found.host}"))
    extensions = [f"{word} {more}".rstrip() for word, more in found.extensions.items()]
    for name, value in (
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


def _no_tls(found: Finding) -> str:
    if found.certificate:
        return "the handshake ended at the certificate"
    return "none" if found.greeting else ""


def _login(found: Finding) -> str:
    """Not that it was refused: what stood in the way is the result."""
    if not found.user:
        return ""
    return f"as {found.user}, let in by {found.auth}" if found.auth else f"as {found.user}"
