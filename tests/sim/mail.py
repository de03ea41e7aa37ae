"""What simulated clients send: messages that name themselves, so that none is mistaken.

Each submission has a token, each recipient an address of his own: whoever gets something tells by
the address alone from which submission it must come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

BACK = "back.example"
"""The senders' domain: DSNs go there."""

DELIVERIES = {
    "east.example": "store",
    "west.example": "store",
    "quick.example": "hybrid",
    "through.example": "proxy",
    BACK: "store",
}
"""Recipients' domains, and how their routes deliver."""


@dataclass
class Addressee:
    """One recipient of a submission. `is_accepted` None: its RCPT was not answered."""

    path: str
    notify: str = ""
    is_accepted: bool | None = None

    @property
    def domain(self) -> str:
        return self.path.partition("@")[2]


@dataclass
class Submission:
    """One message as its client knows it. `answer`: the code of the reply to its content, or 0.

    `may_go`, `must_go`: whether policy lets its sender send it, as far as that is known while users
    change. `user`: who its sender has proven to be.
    `is_whole`: the client sent it to its very end. `wire` is the content as it was sent with DATA,
    stuffed and ended; `content` as it must arrive.
    """

    token: str
    reverse_path: str
    addressees: list[Addressee]
    content: bytes
    wire: bytes
    began_at: float = 0.0
    ended_at: float = 0.0  # when the last octet was sent
    is_whole: bool = False
    answer: int = 0
    removed: bool = False
    user: str = ""
    may_go: bool = True
    must_go: bool = False
    faults: set[str] = field(default_factory=set)


USUAL = dict(zip((*DELIVERIES, "nowhere.example"), (6, 6, 6, 4, 1, 1), strict=True))
"""Where mail goes, and how often."""


def make_submission(token: str, random: Random, to: Mapping[str, int] = USUAL) -> Submission:
    domains = random.choices(list(to), list(to.values()), k=random.choice((1, 1, 1, 2, 3, 6)))
    if random.random() < 0.5:
        domains = [domains[0]] * len(domains)
    addressees = [
        Addressee(f"r{n}.{token}@{domain}", random.choice(("", "", "", "NEVER", "FAILURE")))
        for n, domain in enumerate(domains)
    ]
    reverse_path = "" if random.random() < 0.1 else f"s.{token}@{BACK}"
    content, wire = make_content(token, random)
    return Submission(token, reverse_path, addressees, content, wire)


def make_content(token: str, random: Random) -> tuple[bytes, bytes]:
    """As it must arrive, and as it is sent."""
    lines = [b"From: <a@back.example>", b"X-Token: " + token.encode(), b"Subject: test", b""]
    count = random.choice((1, 3, 10, 40))
    if random.random() < 0.08:
        count = random.choice((1500, 6000))  # more than is kept in the database
    lines += _draw_lines(count, random)
    if random.random() < 0.2:
        wire = _with_bare_line_feeds(lines, random)
    else:
        wire = b"".join([(b"." + x if x[:1] == b"." else x) + b"\r\n" for x in lines])
    return b"\r\n".join(lines) + b"\r\n", wire + b".\r\n"


def _draw_lines(count: int, random: Random) -> list[bytes]:
    """As `random.choice(_LINES) * random.choice((1, 1, 1, 3))` draws them, and much faster: there
    are thousands."""
    bits, drawn = random.getrandbits, []
    for _ in range(count):
        while (which := bits(4)) >= len(_LINES):
            """Once more, as `choice` does."""
        while (times := bits(3)) >= 4:
            """Here, too."""
        drawn.append(_LINES[which] * 3 if times == 3 else _LINES[which])
    return drawn


def _with_bare_line_feeds(lines: list[bytes], random: Random) -> bytes:
    """Stuffed; `lines` become what they mean with these line ends."""
    wire = bytearray()
    after_bare = False
    for number, line in enumerate(lines):
        if after_bare and line.startswith(b"."):
            line = lines[number] = b"."  # between bare LFs a lone dot is content
            wire += line
        else:
            wire += b"." + line if line.startswith(b".") else line
        after_bare = number < len(lines) - 1 and random.random() < 0.3
        wire += b"\n" if after_bare else b"\r\n"
    return bytes(wire)


_LINES = (
    b"the quick brown fox jumps over the lazy dog",
    b"",
    b".",
    b"..",
    b".leading dot",
    b"\xc3\xa4\xc3\xb6\xc3\xbc",
    b"x" * 78,
    b"MAIL FROM:<evil@example.com>",
    b" trailing space ",
)
