"""Replies that repeat credentials, as hosts do with a line that they do not know; and what a host
says is logged. Pure.
"""

import re

from relay.mail.reply import Reply
from relay.smtp.sasl import base64
from relay.smtp.sasl.client import Login, OauthBearer, Plain, Xoauth2

LEFT_OUT = "the host's words are left out, as they repeat the credentials"

LEAST = 8
"""Characters of Base64 that are no accident: hosts cut long lines short."""

_WORD = re.compile(r"[A-Za-z0-9+/]+=*")


def without_echo(reply: Reply, login: Login | None) -> Reply:
    """The reply, with words of our own where the host's hold the secret in any form."""
    if login is None:
        return reply
    text = "\n".join(reply.lines)
    if login.secret not in text and not _repeats(text.lower(), _forms(login)):
        return reply
    return Reply(reply.code, reply.status, (LEFT_OUT,))


def _repeats(text: str, forms: list[str]) -> bool:
    return any(
        word in forms or (len(word) >= LEAST and any(word in form for form in forms))
        for word in _WORD.findall(text)
    )


def _forms(login: Login) -> list[str]:
    """In which the secret goes out, in lower case: who echoes may change that."""
    if login.is_token:
        said = [Xoauth2(login, "").begin(), OauthBearer(login, "").begin()]
    else:
        said = [Plain(login, "").begin(), login.secret.encode()]
    return [base64.encode(each).lower() for each in said]
