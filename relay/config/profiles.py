"""What is known of the big providers: values for an upstream's keys, each of them only a default.

Written as in the file, and put into the tables before they are read.
"""

from collections.abc import Mapping
from typing import Any

from relay.config.upstream import Upstream

Raw = Mapping[str, Any]

_GOOGLE_SPENT = ("550 5.4.5 Daily", "550 5.7.1 Daily SMTP relay")
"""The quota of a day: a user's, and at the relay service the customer's. Said with 5xx."""

PROFILES: Mapping[str, Raw] = {
    # Three sessions a mailbox (432 4.3.2), 30 messages a minute, 10,000 recipients a day (said with
    # 554 5.2.0); no PLAIN, and LOGIN is going away.
    "m365": {
        "tls": "verified",
        "max_connections": 3,
        "max_rate": "30/m",
        "mechanisms": ("XOAUTH2", "LOGIN"),
        "throttle_replies": (
            "432 4.3.2",
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        ),
    },
    # Google publishes what it takes a day (500 recipients, Workspace 2,000), neither sessions nor
    # a rate: these are modest. 421 4.4.5 asks for fewer sessions.
    "gmail": {
        "tls": "verified",
        "max_connections": 3,
        "max_rate": "30/m",
        "max_recipients": 100,
        "mechanisms": ("OAUTHBEARER", "XOAUTH2", "PLAIN"),
        "throttle_replies": ("421 4.4.5", *_GOOGLE_SPENT),
    },
    # A hundred recipients a transaction. In ten minutes some nine recipients for each licence: who
    # has more than 70 may go faster. 450 4.2.1 about a user is that recipient's trouble alone.
    "gmail-relay": {
        "tls": "verified",
        "max_connections": 10,
        "max_rate": "60/m",
        "max_recipients": 100,
        "mechanisms": ("OAUTHBEARER", "XOAUTH2", "PLAIN"),
        "throttle_replies": ("421 4.4.5", "450 4.2.1 Peak SMTP relay", *_GOOGLE_SPENT),
    },
    # 421 after some 350 messages of a session; rate and quota are each account's own, and told
    # after the content.
    "ses": {
        "tls": "verified",
        "max_messages_per_connection": 300,
        "max_recipients": 50,
        "mechanisms": ("PLAIN", "LOGIN"),
        "throttle_replies": ("454 Throttling failure", "454 4.7.0 Throttling failure"),
    },
}

_FOR_LOGINS = "mechanisms"
"""Of no use, and refused, where there is no user."""


def filled(raw: Raw) -> Raw:
    """The tables of a configuration, with what profiles know where nothing else is said."""
    upstreams = raw.get("upstream")
    if not isinstance(upstreams, tuple):
        return raw
    return {**raw, "upstream": tuple(map(_filled, upstreams))}


def _filled(table: Any) -> Any:
    name = table.get("profile") if isinstance(table, dict) else None
    known = PROFILES.get(name) if isinstance(name, str) else None
    if known is None:
        return table
    more = {key: value for key, value in known.items() if key != _FOR_LOGINS}
    merged = {**more, **_with_mechanisms(table, known)}
    identities = table.get("identity")
    if isinstance(identities, tuple):
        merged["identity"] = tuple(_with_mechanisms(each, known) for each in identities)
    return merged


def _with_mechanisms(table: Any, known: Raw) -> Any:
    if not isinstance(table, dict) or "user" not in table:
        return table
    return {_FOR_LOGINS: known[_FOR_LOGINS], **table}


def told(upstream: Upstream) -> list[tuple[str, Any, bool]]:
    """What its profile says, key by key: the value in use, and whether that is the profile's."""
    known = PROFILES.get(upstream.profile)
    if known is None:
        return []
    raw = {**known, "name": upstream.name, "hosts": ("smtp://localhost",), "user": "x"}
    usual = Upstream.model_validate(raw, context={})
    values = [
        (key, getattr(upstream, key), getattr(usual, key))
        for key in known
        if key != _FOR_LOGINS or upstream.user is not None
    ]
    values += [
        (f"{_FOR_LOGINS} of {each.name}", each.mechanisms, usual.mechanisms)
        for each in upstream.identities
        if each.user is not None
    ]
    return [(key, value, value == expected) for key, value, expected in values]
