"""What DNS said to one question, as plain values; nothing here knows the wire or the library."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """The types of record that are asked for; each has its own form in `Answer.records`."""

    MX = "MX"  # (preference, host name; "" for the root, RFC 7505)
    A = "A"  # the address in text
    AAAA = "AAAA"  # the address in text
    TLSA = "TLSA"  # (usage, selector, matching type, octets), RFC 6698 2.1
    TXT = "TXT"  # the octets of all its strings, joined


class Status(Enum):
    """How the question was answered."""

    FOUND = "found"
    NO_DATA = "the name exists, without such records"
    NO_NAME = "the name does not exist"
    FAILED = "nobody knows: no answer, or an error"


@dataclass(frozen=True, slots=True)
class Answer:
    """`name`: the one that the records belong to, after CNAMEs; lower case, without a final dot.

    `is_secure`: a trusted resolver validated it (the AD bit), also that there is nothing. `ttl`:
    seconds it may be used again. `why`: for operators, where it failed.
    """

    status: Status
    name: str
    records: tuple[Any, ...] = ()
    is_secure: bool = False
    ttl: float = 0.0
    why: str = ""

    @property
    def is_known(self) -> bool:
        """It was answered, be it that there is nothing."""
        return self.status is not Status.FAILED


def weight(answer: Answer) -> int:
    """About so many octets of memory: whoever runs a domain decides how long its answers are."""
    octets = 500 + 200 * len(answer.records)
    for record in answer.records:
        for part in record if isinstance(record, tuple) else (record,):
            octets += len(part) if isinstance(part, str | bytes) else 0
    return octets
