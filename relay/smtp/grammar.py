"""The arguments of EHLO, HELO, MAIL, RCPT and BDAT as values; what is malformed raises Malformed.

RFC 5321 4.1.2-4.1.3 (paths), 4.5.3.1 (limits), 6531 (UTF-8), 1870, 6152, 3030, 3461 (parameters).
Tolerated: one space after the colon, several between parameters, "_" in domains. Paths come out
without brackets and source route, a local part quoted only where it must be. No pattern can run
away: each character can go one way only. (Groups are not possessive: Python < 3.11.5 errs there.)
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from relay.mail.address import split
from relay.mail.reply import Reply, reply
from relay.smtp.events import Mail, Rcpt

MAX_DOMAIN: Final = 255  # 4.5.3.1.2
MAX_PATH: Final = 256  # 4.5.3.1.3, brackets and source route included; a local part (SRS, VERP)
# may have all of it: the 64 octets of 4.5.3.1.1 are what must be taken, not what may
MAX_LABEL: Final = 63  # RFC 1035 2.3.4
MAX_HELLO_NAME: Final = 255  # as MAX_DOMAIN
MAX_ENVID: Final = 100  # RFC 3461 5.4
MAX_ORCPT: Final = 500  # RFC 3461 5.4
MAX_AUTH: Final = 500  # RFC 4954 3: what the parameter adds to MAIL
MAX_DIGITS: Final = 20  # RFC 1870 3; 3030 2 sets none

KEPT: Final = 512
"""Arguments of MAIL, and of RCPT, whose meaning is kept: devices and programs write from and to the
same few addresses."""

BAD_HELLO: Final = reply(501, "5.5.4", "EHLO and HELO take one host name or address literal")
BAD_MAIL: Final = reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
BAD_RCPT: Final = reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]")
BAD_SENDER: Final = reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT: Final = reply(501, "5.1.3", "Bad recipient address syntax")
NO_SMTPUTF8: Final = reply(553, "5.6.7", "Non-ASCII address without SMTPUTF8")
BAD_BDAT: Final = reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
BINARYMIME: Final = reply(555, "5.5.4", "BODY=BINARYMIME is not supported")


class Malformed(Exception):
    """An argument against the grammar, with the reply that says so."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(str(answer))
        self.reply = answer


# --- paths ----------------------------------------------------------------------------------

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL: Final = r"[A-Za-z0-9_]++(?:-++[A-Za-z0-9_]++)*"
_UTF8: Final = "\u00a1-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_UTF8_ATEXT: Final = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_UTF8}-]"
_UTF8_LABEL: Final = rf"[A-Za-z0-9_{_UTF8}]++(?:-++[A-Za-z0-9_{_UTF8}]++)*"

_PLAIN: Final = re.compile(
    rf" ?<({_ATEXT}++(?:\.{_ATEXT}++)*)@({_LABEL}(?:\.{_LABEL})*)>(?: +(.*+))?", re.ASCII
)
_BRACKETED: Final = re.compile(
    r""" ?<((?:@[^\s"<>:]++:)?)((?:"(?:[^"\\]|\\.)*"|[^\s"<>])*)>(?: +(.*+))?"""
)
_ROUTE: Final = re.compile(
    rf"@{_UTF8_LABEL}(?:\.{_UTF8_LABEL})*(?:,@{_UTF8_LABEL}(?:\.{_UTF8_LABEL})*)*:"
)
_DOT_STRING: Final = re.compile(rf"{_UTF8_ATEXT}++(?:\.{_UTF8_ATEXT}++)*")
_QUOTED: Final = re.compile(rf'"((?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*)"')
_DOMAIN: Final = re.compile(rf"{_UTF8_LABEL}(?:\.{_UTF8_LABEL})*")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_TO_QUOTE: Final = re.compile(r'(["\\])')


def _canonical_local(local: str) -> str:
    """The local part with the fewest quotes (RFC 5321 4.1.2); "" where it is none."""
    if _DOT_STRING.fullmatch(local):
        return local
    match = _QUOTED.fullmatch(local)
    if match is None or not match[1]:
        return ""
    bare = _QUOTED_PAIR.sub(r"\1", match[1])
    if _DOT_STRING.fullmatch(bare):
        return bare
    return '"' + _TO_QUOTE.sub(r"\\\1", bare) + '"'


def _is_domain(domain: str) -> bool:
    """Of the domains that fit into a path: a name or an address literal."""
    if domain.startswith("["):
        return domain.endswith("]") and _is_address(domain[1:-1])
    return _DOMAIN.fullmatch(domain) is not None and _has_short_labels(domain)


def _has_short_labels(domain: str) -> bool:
    return len(domain) <= MAX_LABEL or max(map(len, domain.split("."))) <= MAX_LABEL


def _is_address(text: str) -> bool:
    """RFC 5321 4.1.3. No other tag than IPv6 was ever registered."""
    try:
        if text[:5].upper() == "IPV6:":
            return "%" not in text and bool(IPv6Address(text[5:]))
        return bool(IPv4Address(text))
    except AddressValueError:
        return False


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _path(route: str, text: str, bad: Reply) -> str:
    """A path that is not plain, checked and made canonical."""
    local, domain = split(text)
    is_short = (  # judged first: no pattern has to do with more than that
        _octets(domain) <= MAX_DOMAIN and _octets(route) + _octets(text) + 2 <= MAX_PATH
    )
    canonical = _canonical_local(local) if is_short else ""
    if not (canonical and _is_domain(domain) and (not route or _ROUTE.fullmatch(route))):
        raise Malformed(bad)
    return f"{canonical}@{domain}"


def _is_short(local: str, domain: str) -> bool:
    """Whether a plain path keeps the limits (MAX_PATH leaves no room for MAX_DOMAIN)."""
    return len(local) + len(domain) + 3 <= MAX_PATH and _has_short_labels(domain)


# --- parameters -----------------------------------------------------------------------------

_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*+")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+(?!7F)[2-7][0-9A-F])+")
_ORCPT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*+;(?:[!-*,-<>-~]|\+(?!7F)[2-7][0-9A-F])+")
_UTF8_ORCPT: Final = re.compile(rf"(?i:utf-8);[!-*,-<>-~{_UTF8}]++")  # RFC 6533 3
_NOTIFY_WORDS: Final = {"SUCCESS", "FAILURE", "DELAY"}

_Parser = Callable[[str], str]


def _bad_value(keyword: str) -> Malformed:
    return Malformed(reply(501, "5.5.4", f"Bad value of {keyword}"))


def _size(value: str) -> str:
    if not (value.isdecimal() and value.isascii() and len(value) <= MAX_DIGITS):
        raise _bad_value("SIZE")
    return value


def _body(value: str) -> str:
    body = value.upper()
    if body == "BINARYMIME":
        raise Malformed(BINARYMIME)
    if body not in ("7BIT", "8BITMIME"):
        raise _bad_value("BODY")
    return body


def _smtputf8(value: str) -> str:
    if value:
        raise _bad_value("SMTPUTF8")
    return "SMTPUTF8"


def _requiretls(value: str) -> str:
    if value:
        raise _bad_value("REQUIRETLS")
    return "REQUIRETLS"


def _ret(value: str) -> str:
    ret = value.upper()
    if ret not in ("FULL", "HDRS"):
        raise _bad_value("RET")
    return ret


def _envid(value: str) -> str:
    if len(value) > MAX_ENVID or not _XTEXT.fullmatch(value):
        raise _bad_value("ENVID")
    return value


def _auth(value: str) -> str:
    if len(value) > MAX_AUTH or not _XTEXT.fullmatch(value):
        raise _bad_value("AUTH")
    return value


def _notify(value: str) -> str:
    notify = value.upper()
    words = notify.split(",")
    if notify != "NEVER" and (len(set(words)) < len(words) or not _NOTIFY_WORDS.issuperset(words)):
        raise _bad_value("NOTIFY")
    return notify


def _orcpt(value: str) -> str:
    is_right = _ORCPT.fullmatch(value) or _UTF8_ORCPT.fullmatch(value)
    if not is_right or _octets(value) > MAX_ORCPT:
        raise _bad_value("ORCPT")
    return value


_MAIL_PARAMETERS: Final[dict[str, _Parser]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _smtputf8,
    "RET": _ret,
    "ENVID": _envid,
}
_MAIL_PARAMETERS_WITH_AUTH: Final = _MAIL_PARAMETERS | {"AUTH": _auth}
_UNDER_TLS: Final = {"REQUIRETLS": _requiretls}  # RFC 8689: elsewhere it is not offered
_MAIL_PARAMETERS_UNDER_TLS: Final = _MAIL_PARAMETERS | _UNDER_TLS
_ALL_MAIL_PARAMETERS: Final = _MAIL_PARAMETERS_WITH_AUTH | _UNDER_TLS
_RCPT_PARAMETERS: Final[dict[str, _Parser]] = {"NOTIFY": _notify, "ORCPT": _orcpt}


def _parameters(text: str, parsers: dict[str, _Parser], bad: Reply) -> dict[str, str]:
    values: dict[str, str] = {}
    for word in text.split(" "):
        if not word:
            continue
        name, equals, value = word.partition("=")
        keyword = name.upper()
        parse = parsers.get(keyword)
        if parse is None:
            raise Malformed(
                reply(555, "5.5.4", f"Parameter not recognised: {keyword}")
                if _KEYWORD.fullmatch(name)
                else bad
            )
        if keyword in values:
            raise Malformed(reply(501, "5.5.4", f"{keyword} given twice"))
        if equals and not value:
            raise _bad_value(keyword)
        values[keyword] = parse(value)
    return values


# --- commands -------------------------------------------------------------------------------


def parse_hello(argument: str) -> str:
    """The name as given. It proves nothing, so whatever is printable will do."""
    if not 0 < len(argument) <= MAX_HELLO_NAME:
        raise Malformed(BAD_HELLO)
    return argument


@lru_cache(maxsize=KEPT)
def parse_mail(argument: str, may_have_auth: bool = False, *, is_encrypted: bool = False) -> Mail:
    """What stands behind "MAIL ". AUTH= is checked and forgotten: nobody's word is trusted so far
    that it would be passed on (RFC 4954 5)."""
    if argument[:5].upper() != "FROM:":
        raise Malformed(BAD_MAIL)
    match = _PLAIN.fullmatch(argument, 5)
    if match and _is_short(match[1], match[2]):
        path, rest = f"{match[1]}@{match[2]}", match[3]
    else:
        path, rest = _unusual_path(argument, 5, BAD_MAIL, BAD_SENDER, {"": ""})
    if not rest:
        if not path.isascii():
            raise Malformed(NO_SMTPUTF8)
        return Mail(path, 0, "", False, "", "")
    if is_encrypted:
        parsers = _ALL_MAIL_PARAMETERS if may_have_auth else _MAIL_PARAMETERS_UNDER_TLS
    else:
        parsers = _MAIL_PARAMETERS_WITH_AUTH if may_have_auth else _MAIL_PARAMETERS
    values = _parameters(rest, parsers, BAD_MAIL).get
    smtputf8 = bool(values("SMTPUTF8"))
    if not (smtputf8 or path.isascii()):
        raise Malformed(NO_SMTPUTF8)
    size = int(values("SIZE", "0"))
    return Mail(
        path,
        size,
        values("BODY", ""),
        smtputf8,
        values("RET", ""),
        values("ENVID", ""),
        bool(values("REQUIRETLS")),
    )


@lru_cache(maxsize=KEPT)
def parse_rcpt(argument: str, smtputf8: bool) -> Rcpt:
    """What stands behind "RCPT ", in a transaction with or without SMTPUTF8."""
    if argument[:3].upper() != "TO:":
        raise Malformed(BAD_RCPT)
    if not (smtputf8 or argument.isascii()):
        raise Malformed(NO_SMTPUTF8)
    match = _PLAIN.fullmatch(argument, 3)
    if match and _is_short(match[1], match[2]):
        path, rest = f"{match[1]}@{match[2]}", match[3]
    else:
        postmaster = {"postmaster": "postmaster"}  # RFC 5321 4.1.1.3, 4.5.1
        path, rest = _unusual_path(argument, 3, BAD_RCPT, BAD_RECIPIENT, postmaster)
    if not rest:
        return Rcpt(path, "", "")
    values = _parameters(rest, _RCPT_PARAMETERS, BAD_RCPT).get
    return Rcpt(path, values("NOTIFY", ""), values("ORCPT", ""))


def _unusual_path(
    argument: str, start: int, bad: Reply, bad_path: Reply, domainless: dict[str, str]
) -> tuple[str, str]:
    """The path that begins there, and the text of the parameters."""
    match = _BRACKETED.fullmatch(argument, start)
    if match is None:
        raise Malformed(bad_path if "<" in argument else bad)
    route, text, rest = match[1], match[2], match[3] or ""
    if not route and text.lower() in domainless:
        return domainless[text.lower()], rest
    return _path(route, text, bad_path), rest


def parse_bdat(argument: str) -> tuple[int, bool]:
    """The size of the chunk, and whether it is the last one (RFC 3030 2)."""
    size, space, last = argument.partition(" ")
    is_last = last.upper() == "LAST"
    if not (size.isdecimal() and size.isascii() and len(size) <= MAX_DIGITS):
        raise Malformed(BAD_BDAT)
    if space and not is_last:
        raise Malformed(BAD_BDAT)
    return int(size), is_last
