"""MTA-STS as values: the TXT record that announces a policy, and the policy (RFC 8461 3). Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_AGE = 31557600
"""Seconds, about a year: the most that a policy may be kept (RFC 8461 3.2)."""

MAX_PATTERNS = 100
"""Host patterns of one policy; the largest providers name five."""

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*\.)*[a-z0-9_-]+", re.ASCII)
_MODES = ("enforce", "testing", "none")


class Unusable(ValueError):
    """It is none: why, for operators."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """`patterns`: which mail hosts may be used, lower case. `max_age`: seconds it is good for."""

    mode: str
    max_age: int
    patterns: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """Whether a mail host is one of the domain's (RFC 8461 4.1): * stands for one label."""
        _, _, parent = host.partition(".")
        return host in self.patterns or f"*.{parent}" in self.patterns


def announced_id(records: Iterable[bytes]) -> str:
    """The id in the TXT records of _mta-sts.DOMAIN; "" where no policy is announced, or several
    are (RFC 8461 3.1)."""
    announcing = [text for text in records if re.match(rb"v=STSv1\s*(?:;|\Z)", text)]
    if len(announcing) != 1:
        return ""
    fields = _fields(announcing[0].decode("ascii", "replace").split(";"), "=")
    found = next((value for key, value in fields if key == "id"), "")
    return found if _ID.fullmatch(found) else ""


def parse(text: str) -> StsPolicy:
    """A policy file (RFC 8461 3.2). Raises Unusable. Of fields given twice the first counts."""
    values: dict[str, str] = {}
    patterns: list[str] = []
    for key, value in _fields(text.splitlines(), ":"):
        if key == "mx":
            patterns.append(value.lower().rstrip("."))
        else:
            values.setdefault(key, value)
    if values.get("version") != "STSv1":
        raise Unusable("it does not say version: STSv1")
    mode, max_age = values.get("mode", ""), values.get("max_age", "")
    if mode not in _MODES:
        raise Unusable("its mode is none of enforce, testing, none")
    if not (max_age.isascii() and max_age.isdigit() and len(max_age) <= 10):
        raise Unusable("its max_age is no number of seconds")
    if mode != "none" and not patterns:
        raise Unusable("it names no mail host")
    if len(patterns) > MAX_PATTERNS or not all(map(_PATTERN.fullmatch, patterns)):
        raise Unusable("its mail hosts are too many, or no host names")
    return StsPolicy(mode, min(int(max_age), MAX_AGE), tuple(patterns))


def _fields(lines: Iterable[str], separator: str) -> Iterable[tuple[str, str]]:
    for line in lines:
        key, found, value = line.partition(separator)
        if found:
            yield key.strip(), value.strip()
