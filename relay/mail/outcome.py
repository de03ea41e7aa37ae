"""What became of a recipient in one attempt, and of the attempt as a whole (RFC 3464 2.3.3).

Recipients are named by id. A recipient that an attempt does not name is still owed.
"""

from dataclasses import dataclass
from typing import Final

from relay.mail.reply import Reply


@dataclass(slots=True, init=False, unsafe_hash=True)
class Relayed:
    """The host took the responsibility: 2xx to the final dot (or to BDAT LAST)."""

    reply: Final[Reply]
    host: Final[str]  # "name[ip]:port"
    reports_success: Final[bool]  # the host has DSN: it, not we, reports NOTIFY=SUCCESS
    tls: Final[str]  # of the session, e.g. "TLSv1.3 TLS_AES_256_GCM_SHA384 verified"

    def __init__(
        self,
        reply: Reply,
        host: str,
        reports_success: bool = False,
        tls: str = "",
    ) -> None:
        self.reply = reply
        self.host = host
        self.reports_success = reports_success
        self.tls = tls


@dataclass(frozen=True, slots=True)
class Delayed:
    """To be tried again. `is_unknown`: lost after the final dot, so it may have been accepted."""

    reply: Reply
    host: str
    is_unknown: bool = False
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Refused for good, here or there."""

    reply: Reply
    host: str
    tls: str = ""


Outcome = Relayed | Delayed | Failed


@dataclass(frozen=True, slots=True)
class SiteFailure:
    """No host of the next hop could be used at all: the lane's trouble, not the message's.

    `reply` tells the last host's trouble: its own words, or ours with status 4.4.x. `is_refusal`: a
    host does not let us in as who we say we are, so until that is mended nothing may fail for it.
    """

    reply: Reply
    host: str
    is_refusal: bool = False


@dataclass(slots=True, init=False, unsafe_hash=True)
class Attempt:
    """The result of one attempt at one (message, lane).

    `outcomes` may be partial: with `site` set, recipients that are not named there were not
    decided and stay owed; without it every recipient is named. `is_withdrawn`: we gave it up while
    stopping, before anything was decided: nothing is recorded, it is due again as it was.
    """

    outcomes: Final[dict[int, Outcome]]
    site: Final[SiteFailure | None]
    is_withdrawn: Final[bool]

    def __init__(
        self,
        outcomes: dict[int, Outcome] | None = None,
        site: SiteFailure | None = None,
        is_withdrawn: bool = False,
    ) -> None:
        self.outcomes = {} if outcomes is None else outcomes
        self.site = site
        self.is_withdrawn = is_withdrawn
