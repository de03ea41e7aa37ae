"""Finds the mail hosts of a domain as mail by mx: would, each to be looked at without mail."""

from typing import Any

from relay.admin.probe import Finding, Probe
from relay.config import HostAddress, Upstream
from relay.mail.reply import Reply
from relay.outbound.domains import AddressesByDns
from relay.outbound.identity.shared_token import SharedTokens
from relay.outbound.mail_hosts import MailHost, MailHosts
from relay.outbound.security import Securities
from relay.outbound.ticker import Ticker


async def probes_of_domain(
    upstream: Upstream,
    domain: str,
    hosts: MailHosts,
    hostname: str,
    securities: Securities,
    tokens: SharedTokens,
    ticker: Ticker,
    reactor: Any,
) -> list[Probe | Finding]:
    """In the order that mail would try them in; what is found already of those that none may go to,
    or of a domain without any."""
    judged = await hosts.judge(domain)
    if isinstance(judged, Reply):
        return [Finding(upstream.name, "", domain, trouble=str(judged))]
    looks: list[Probe | Finding] = []
    for each in judged:
        exchange = each.exchange
        host = HostAddress("smtp", exchange.name, upstream.hosts[0].port)
        if isinstance(each, MailHost):
            security = securities.of(upstream, host, each.policy)
            addresses = AddressesByDns(exchange, hosts.exchanges)
            probe = Probe(
                upstream, None, host, hostname, security, addresses, tokens, ticker, reactor
            )
            finding = probe.finding
            looks.append(probe)
        else:
            finding = Finding(upstream.name, f"{host.host}:{host.port}", trouble=str(each.refusal))
            looks.append(finding)
        finding.domain, finding.preference = domain, exchange.preference
        finding.policy_why = each.why
    return looks
