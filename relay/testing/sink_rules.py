"""The sink's `--fail` rules: what is told on the command line, as values that judge each step.

    STEP[:GLOB]=ACTION[@SHARE]

Rules are tried in the order given. Delays add up; the first other action that hits is the answer.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from relay.mail.address import AddressGlob
from relay.mail.reply import Reply

STEPS = ("connect", "ehlo", "mail", "rcpt", "data", "dot")

_RULE = re.compile(
    r"(?P<step>[a-z]+)(?::(?P<glob>.+?))?="
    r"(?P<action>drop|stall|delay[^@]*|\d{3}(?: .*?)?|[^@=]*?)"
    r"(?:@(?P<share>[\d.]+%?))?"
)
_DELAY = re.compile(r"delay(\d+(?:\.\d+)?)(ms|s|m)")
_REPLY = re.compile(r"([45]\d\d)(?: ([245]\.\d{1,3}\.\d{1,3}))?(?: (.*))?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class RuleError(ValueError):
    """A rule that cannot be understood; its text says what would do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: wait `delay` seconds, then `end` ("drop", "stall", or "": not) or `reply`."""

    delay: float = 0.0
    reply: Reply | None = None
    end: str = ""


GO_ON = Verdict()


@dataclass(frozen=True, slots=True)
class Rule:
    """One `--fail`. `glob` None: whatever the step is about."""

    step: str
    glob: AddressGlob | None
    verdict: Verdict
    share: float = 1.0

    def concerns(self, subjects: Iterable[str]) -> bool:
        """`subjects`: the client's address, the EHLO name, a path, or all accepted recipients."""
        glob = self.glob
        return glob is None or any(glob.matches(subject) for subject in subjects)


def parse_rule(text: str) -> Rule:
    """Raises RuleError."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise RuleError(f"{text!r} is not STEP[:GLOB]=ACTION[@SHARE]; write e.g. rcpt:bad@*=550")
    step, glob, action, share = match["step"], match["glob"], match["action"], match["share"]
    if step not in STEPS:
        raise RuleError(f"{text!r}: there is no step {step!r}; the steps are {', '.join(STEPS)}")
    return Rule(step, _glob(glob, text), _verdict(step, action, text), _share(share, text))


def _glob(glob: str | None, text: str) -> AddressGlob | None:
    try:
        return AddressGlob(glob) if glob else None
    except ValueError as error:
        raise RuleError(f"{text!r}: {error}") from None


def _share(share: str | None, text: str) -> float:
    if share is None:
        return 1.0
    try:
        value = float(share[:-1]) / 100 if share.endswith("%") else float(share)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise RuleError(f"{text!r}: the share {share!r} is not between 0 and 1 (or 0% and 100%)")
    return value


def _verdict(step: str, action: str, text: str) -> Verdict:
    if action in ("drop", "stall"):
        return Verdict(end=action)
    if (match := _DELAY.fullmatch(action)) is not None:
        return Verdict(delay=float(match[1]) * _SECONDS[match[2]])
    if (match := _REPLY.fullmatch(action)) is not None:
        return Verdict(reply=_reply(step, match))
    raise RuleError(
        f"{text!r}: {action!r} is no action; write a reply code of 4xx or 5xx with or without text,"
        " drop, stall, or delay5s"
    )


def _reply(step: str, match: re.Match[str]) -> Reply:
    code, status, words = int(match[1]), match[2], match[3]
    if not status:
        detail = "1.1" if step == "rcpt" and code == 550 else "3.2" if code == 421 else "0.0"
        status = f"{code // 100}.{detail}"
    return Reply(code, status, (words or f"{step} refused as the sink was told",))


class Rules:
    """All rules of one sink, with the dice for the shares."""

    def __init__(self, rules: Sequence[Rule], seed: int | None = None) -> None:
        self._by_step = {step: [r for r in rules if r.step == step] for step in STEPS}
        self._dice = Random(seed)

    def judge(self, step: str, *subjects: str) -> Verdict:
        """What is to be done now: GO_ON, unless a rule hits."""
        rules = self._by_step[step]
        return self._judge(rules, subjects) if rules else GO_ON

    def _judge(self, rules: list[Rule], subjects: Sequence[str]) -> Verdict:
        delay = 0.0
        for rule in rules:
            if not rule.concerns(subjects):
                continue
            if rule.share < 1 and self._dice.random() >= rule.share:
                continue
            verdict = rule.verdict
            if not verdict.delay:
                return Verdict(delay, verdict.reply, verdict.end)
            delay += verdict.delay
        return Verdict(delay) if delay else GO_ON
