"""What to do when a host does not just take the mail: the whole failure policy, as one function.

Pure. Whoever meets trouble names its scope; the reply is judged by its first digit alone (RFC 5321
4.2.1). The table of docs/reliability.rst is this file.
"""

from enum import Enum

from relay.mail.reply import Reply


class Scope(Enum):
    """What the trouble is about."""

    SITE = "site"  # no session there, or it broke before the final dot
    SESSION = "session"  # a reused session ended before the final dot: it may just be stale
    MESSAGE = "message"  # the reply to MAIL, DATA, or a BDAT that is not the last
    RECIPIENT = "recipient"  # the reply to RCPT
    LIMIT = "limit"  # too many recipients for one transaction
    ABILITY = "ability"  # the host lacks an extension, or room, that the message needs
    CONTENT = "content"  # the reply to the final dot or to BDAT LAST
    SILENCE = "silence"  # broken after the final dot: nobody knows


class Action(Enum):
    """What becomes of the recipients concerned."""

    RELAY = "relayed"
    FAIL = "failed"
    DELAY = "delayed"
    DELAY_UNKNOWN = "delayed, may have been accepted"
    NEXT_HOST = "tried at the next host in this attempt"
    BACK_OFF = "undecided: the lane backs off"
    FRESH_SESSION = "tried once more on a fresh session, uncharged"
    FURTHER = "tried in a further transaction, uncharged"


def action_for(scope: Scope, reply: Reply, *, has_next_host: bool) -> Action:
    """`reply` is the host's, or ours where it said nothing; `has_next_host`: one is left to try."""
    if scope is Scope.SILENCE:
        return Action.DELAY_UNKNOWN
    if scope is Scope.SESSION:
        return Action.FRESH_SESSION
    if scope is Scope.LIMIT:
        return Action.FURTHER
    if scope is Scope.SITE:
        return Action.NEXT_HOST if has_next_host else Action.BACK_OFF
    if scope is Scope.ABILITY:
        return Action.NEXT_HOST if has_next_host else Action.FAIL
    return _by_digit(scope, reply, has_next_host)


def _by_digit(scope: Scope, reply: Reply, has_next_host: bool) -> Action:
    """A reply to a command: 4xx before the content may be better at another host; 5xx is final."""
    if reply.code >= 500:
        return Action.FAIL
    if scope is Scope.CONTENT:
        return Action.RELAY if reply.code < 300 else Action.DELAY
    return Action.NEXT_HOST if has_next_host else Action.DELAY


def scope_of_rcpt(reply: Reply, *, has_accepted: bool) -> Scope:
    """`has_accepted`: an RCPT before this one was accepted, in the same transaction.

    RFC 5321 4.5.3.1.10 has servers say 552 where 452 is meant; only x.5.3 tells that from a full
    mailbox. Where nothing was accepted a further transaction would go no better.
    """
    is_named = reply.code in (452, 552) and reply.status.endswith(".5.3")
    is_bare = reply.code == 452 and not reply.status
    return Scope.LIMIT if has_accepted and (is_named or is_bare) else Scope.RECIPIENT


def scope_of_break(*, is_stale: bool, is_content_ended: bool) -> Scope:
    """A session broke during a transaction.

    `is_stale`: the host ended it (421, EOF, reset) and it had been used before, on another session
    than this message's last try. `is_content_ended`: the final dot was written.
    """
    if is_content_ended:
        return Scope.SILENCE
    return Scope.SESSION if is_stale else Scope.SITE
