"""`make attacks-time`: addresses made to explode a pattern cost no more than their length.

Each form is parsed at lengths that double, up to the limits and beyond; shown is the time for an
octet. Where it grows with the length, something is quadratic or worse: status 1.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from relay.mail.address import AddressGlob
from relay.smtp.events import RemoteProtocolError
from relay.smtp.grammar import Malformed, parse_hello, parse_mail, parse_rcpt
from relay.smtp.lines import command_text
from relay.smtp.replies import ReplyReader

LENGTHS = (256, 512, 1024, 2048)
"""Up to MAX_COMMAND_LINE."""

LONGER = (4096, 8192, 16384)
"""No line is as long as that; what is quadratic shows there."""

MAX_GROWTH = 6.0
"""Times that an octet may cost more in the longest than in the shortest: caches and noise. What is
quadratic costs 64 times as much."""

REPEATS = 5

Form = Callable[[int], str]


def _forms() -> dict[str, Form]:
    """Name: text of about that length."""
    units = {
        "dots": "a.",
        "no dots": "a",
        "hyphens": "a-",
        "only hyphens": "-",
        "quoted pairs": '\\"',
        "quotes": '"',
        "at signs": "@",
        "source route": "@a,",
        "source route, longer": "@a.b,",
        "brackets": "<",
        "closed brackets": "<>",
        "spaces": " ",
        "equals": " A=",
        "parameters": " X=y",
        "xtext": "+2B",
        "half xtext": "+2",
        "UTF-8": "\u00fc",
        "UTF-8 dots": "\u00fc.",
        "literal": "[1.",
        "colons": ":",
        "percent": "%a",
        "mixed": 'a."b\\"c".',
    }
    return {name: _repeated(unit) for name, unit in units.items()}


def _repeated(unit: str) -> Form:
    return lambda length: unit * (length // len(unit))


def _parsers() -> dict[str, Callable[[str], object]]:
    glob = AddressGlob("*a*a*a*b@*.*.*.example")
    return {
        "MAIL, path": lambda text: parse_mail(f"FROM:<{text}"),
        "MAIL, closed": lambda text: parse_mail(f"FROM:<{text}>"),
        "MAIL, quoted": lambda text: parse_mail(f'FROM:<"{text}"@example.org>'),
        "MAIL, domain": lambda text: parse_mail(f"FROM:<a@{text}>"),
        "MAIL, parameters": lambda text: parse_mail(f"FROM:<a@b>{text}"),
        "MAIL, ENVID": lambda text: parse_mail(f"FROM:<a@b> ENVID={text}!"),
        "RCPT, path": lambda text: parse_rcpt(f"TO:<{text}@b>", smtputf8=True),
        "RCPT, route": lambda text: parse_rcpt(f"TO:<{text}:a@b>", smtputf8=True),
        "RCPT, ORCPT": lambda text: parse_rcpt(f"TO:<a@b> ORCPT=rfc822;{text}=", smtputf8=True),
        "RCPT, NOTIFY": lambda text: parse_rcpt(f"TO:<a@b> NOTIFY={text}", smtputf8=True),
        "EHLO": parse_hello,
        "command line": lambda text: command_text(text.encode()),
        "route's glob": lambda text: glob.matches(f"{text}@{text}"),
        "upstream's reply": _read_reply,
    }


def _read_reply(text: str) -> None:
    reader = ReplyReader()
    reader.receive(b"250-" + text.encode() + b"\r\n250 " + text.encode() + b"\r\n")
    reader.next_reply()


def growths() -> Iterator[tuple[str, str, float, float]]:
    """Parser, form, nanoseconds for an octet at the longest, growth from the shortest."""
    for parser_name, parse in _parsers().items():
        for form_name, form in _forms().items():
            costs = [_cost(parse, form(length)) for length in (*LENGTHS, *LONGER)]
            yield parser_name, form_name, costs[-1], costs[-1] / costs[0]


def _cost(parse: Callable[[str], object], text: str) -> float:
    """The least of some tries."""
    least = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter_ns()
        with suppress(Malformed, RemoteProtocolError):
            parse(text)
        least = min(least, time.perf_counter_ns() - started)
    return least / len(text)


def main() -> int:
    worst: dict[str, tuple[float, float, str]] = {}
    for parser, form, cost, growth in growths():
        worst[parser] = max(worst.get(parser, (0.0, 0.0, "")), (growth, cost, form))
    for parser, (growth, cost, form) in worst.items():
        print(
            f"{parser:18} grows {growth:5.2f} times at the most ({form}), {cost:6.1f} ns an octet"
        )
    is_good = all(growth <= MAX_GROWTH for growth, _, _ in worst.values())
    print(f"from {LENGTHS[0]} to {LONGER[-1]} octets: {'linear' if is_good else 'NOT LINEAR'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
