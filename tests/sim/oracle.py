"""Keeps the account of all mail outside of the relay, and says where the relay broke its word.

It believes clients (what they were told), upstreams (what they accepted) and the disk as a power
cut would leave it. Of the relay's own word it uses little: that something was relayed is only said
once it is committed; that a message could not be stored, or was accepted; that an attempt begins.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from relay.mail.outcome import Relayed
from relay.notices import Accepted, Attempted, Notice, Rejected, Removed, Reported
from tests.sim.exchanges import ExchangeJudge
from tests.sim.mail import Addressee, Submission
from tests.sim.names import UPSTREAM
from tests.sim.queued import Queued
from tests.sim.ways import MOVED_WITHIN, Ways
from tests.sim.world import World

SEEN_WITHIN = 60.0
"""Seconds that a sick disk may keep a DSN's commit from being seen here."""


@dataclass
class Copy:
    """What an upstream accepted. `was_answered`: the relay's process was given the 250."""

    upstream: str
    reverse_path: str
    paths: tuple[str, ...]
    content: bytes
    user: str = ""  # that the relay logged in as
    address: str = ""  # of the host
    number: int = 0  # of the message in its session
    is_late: bool = False  # the process that sent it is dead; this was on its way yet
    was_answered: Callable[[], bool] = field(default=lambda: False)
    starts: int = 0  # of the relay, before
    ends: int = 0  # of those that cut it short


class Oracle:
    """`look_at_disk` gives the queue as it would be found after a power cut now."""

    def __init__(self, world: World, expire_after: float) -> None:
        self.world = world
        self.expire_after = expire_after
        self.submissions: dict[str, Submission] = {}
        self.routes = Ways()
        self.as_whom: Callable[[str, str, str], str] = lambda upstream, reverse_path, user: ""
        self.exchanges: ExchangeJudge | None = None
        self.well_since: Callable[[], float] = lambda: 0.0  # the relay's disk
        self.each_copy: Callable[[Copy], None] = lambda copy: None
        self.mail_taken: Callable[[Submission], None] = lambda submission: None
        self._attempts: dict[tuple[str, str], float] = {}  # queue id, upstream: the last one's time
        self._accepted_at: dict[str, float] = {}  # by queue id
        self.starts = self.ends = 0
        self.clock_error = 0.0  # the relay's clock may be, or may have been, wrong by so much
        self.image: Callable[[], Queued] = Queued
        self._copies: dict[str, list[Copy]] = {}  # by forward-path
        self._said_relayed: set[str] = set()
        self._not_stored: set[str] = set()  # queue ids, as the relay said
        self._refused: dict[str, str] = {}  # by forward-path, or reverse-path
        self.reported: dict[str, str] = {}  # forward-path of a failed one: how it is known
        self._dsns: dict[str, tuple[str, ...]] = {}  # queue id of a DSN: whom it speaks of
        self._dsn_seen_at: dict[str, float] = {}
        self.relayed = self.duplicates = 0

    # --- what clients tell ----------------------------------------------------------------------

    def began(self, submission: Submission) -> None:
        submission.began_at = self.world.now
        self.submissions[submission.token] = submission

    def named(self, submission: Submission, code: int) -> None:
        """A recipient of it, and this was the answer."""
        if code < 300 and not submission.may_go:
            self.world.blame(f"{submission.token} was taken from {submission.user or 'nobody'}")

    def sent_from(self, submission: Submission, answer: str) -> None:
        """Its MAIL was answered so."""
        if submission.must_go and answer.startswith(("530 5.7.0", "553 5.7.1")):
            self.world.blame(f"{submission.user} was not let send {submission.token}")
        if answer.startswith("250"):
            self.mail_taken(submission)

    def ended(self, submission: Submission) -> None:
        """Its last octet is on its way."""
        submission.is_whole = True
        submission.ended_at = self.world.now

    def answered(self, submission: Submission, text: str) -> None:
        """To the content. What got 250 must be safe at this very instant."""
        self.world.tell(f"client hears {submission.answer} for {submission.token}: {text}")
        if submission.answer == 250:
            self.check([submission], self.image())

    # --- what upstreams tell --------------------------------------------------------------------

    def accepted(self, copy: Copy) -> None:
        copy.starts, copy.ends = self.starts, self.ends
        self.world.tell(f"{copy.upstream} accepts {copy.reverse_path} -> {' '.join(copy.paths)}")
        self.each_copy(copy)
        if is_report(copy.content):
            self._take_report(copy)
            return
        token = token_of(copy.content)
        submission = self.submissions.get(token)
        if submission is None:
            self.world.blame(f"{copy.upstream} got mail that nobody sent: {copy.content[:200]!r}")
            return
        self._check_copy(copy, submission)
        for path in copy.paths:
            self._count(path, copy)

    def _check_copy(self, copy: Copy, submission: Submission) -> None:
        token = submission.token
        if not submission.is_whole:
            self.world.blame(f"{token} was relayed, but its client never ended it")
        if not submission.may_go:
            self.world.blame(f"{token} was relayed for {submission.user or 'nobody'}")
        if copy.user != self.as_whom(copy.upstream, submission.reverse_path, submission.user):
            self.world.blame(f"{token} was relayed as {copy.user or 'nobody'} to {copy.upstream}")
        if copy.reverse_path != submission.reverse_path:
            self.world.blame(f"{token} came from {copy.reverse_path!r}")
        addressed = {a.path: a for a in submission.addressees if a.is_accepted is not False}
        for path in copy.paths:
            if path not in addressed:
                self.world.blame(f"{token} reached {path}, to whom it was not sent")
            else:
                self._check_way(addressed[path], copy, submission.began_at)
        content = without_trace(copy.content)
        if content != submission.content:
            self.world.blame(f"{token} arrived changed: {first_difference(content, submission)}")

    def _check_way(self, addressee: Addressee, copy: Copy, began_at: float) -> None:
        """By the routes since the message began; once it waits here, by those of now."""
        routes, domain, upstream = self.routes, addressee.domain, copy.upstream
        queue_id = trace_id(copy.content)
        attempt = self.attempt_began(queue_id, upstream)
        if self.exchanges is not None and upstream == UPSTREAM:
            began = self.attempt_began(queue_id, f"{upstream}:{domain}")
            self.exchanges.check(addressee.path, copy.address, began)
        if not routes.may_take(domain, upstream, began_at):
            self.world.blame(f"{addressee.path} was relayed to {upstream}")
        elif not routes.may_take(domain, upstream, began_at, attempt):
            waits_since = max(self._accepted_at.get(queue_id, inf), self.well_since())
            if attempt > waits_since + MOVED_WITHIN:
                self.world.blame(f"{addressee.path} was relayed to {upstream} by former routes")

    def _count(self, path: str, copy: Copy) -> None:
        before = self._copies.setdefault(path, [])
        # Two windows at once: hybrid mail could not be stored and was relayed all the same, and the
        # commit that was said to have failed is there after the next start. No 250 was given.
        may_be_back = trace_id(copy.content) in self._not_stored
        for earlier in before:
            if copy.is_late or (may_be_back and earlier.starts < self.starts):
                continue
            if path in self._said_relayed:
                self.world.blame(f"{path} got a second copy after the first was recorded")
            if earlier.was_answered() and earlier.ends == self.ends:
                self.world.blame(f"{path} got a second copy, and the first was answered")
        self.duplicates += bool(before)
        self.relayed += not before
        before.append(copy)

    def _take_report(self, copy: Copy) -> None:
        if copy.reverse_path:
            self.world.blame(f"a DSN came from {copy.reverse_path}")
        for path in failed_in(copy.content):
            owner = self.submissions.get(token_in(path))
            if owner is None or copy.paths != (owner.reverse_path,):
                self.world.blame(f"a DSN about {path} went to {copy.paths}")
            elif not self._has_failed(owner, path):
                self.world.blame(f"a DSN says that {path} failed, and nobody refused it")
            by = queue_id_of(copy.content)
            if self.reported.setdefault(path, by) not in (by, "undeliverable DSN"):
                self.world.blame(f"two DSNs say that {path} failed")
        self._count(f"{copy.paths} {queue_id_of(copy.content)}", copy)

    def refused(self, path: str, reply: str) -> None:
        """For good."""
        self._refused[path] = reply

    def refused_from(self, reverse_path: str, reply: str) -> None:
        self._refused[f"from {reverse_path}"] = reply

    # --- what the relay tells -------------------------------------------------------------------

    def attempts(self, lane: str, queue_id: str) -> None:
        """It takes the message in hand, to deliver it there."""
        self._attempts[queue_id, lane] = self.world.now
        self._attempts[queue_id, lane.partition(":")[0]] = self.world.now

    def attempt_began(self, queue_id: str, lane: str) -> float:
        """The last one there. What never had one is proxied."""
        return self._attempts.get((queue_id, lane), -inf)

    def heard(self, notice: Notice) -> None:
        if isinstance(notice, Attempted) and isinstance(notice.outcome, Relayed):
            if notice.recipient not in self._copies and not notice.recipient.startswith("s."):
                self.world.blame(f"{notice.recipient} is said to be relayed and was not")
            if not notice.recipient.startswith("s."):
                self._said_relayed.add(notice.recipient)
        elif isinstance(notice, Accepted):
            self._accepted_at[notice.queue_id] = self.world.now
        elif isinstance(notice, Rejected) and notice.queue_id and notice.reply[:9] == "451 4.3.0":
            self._not_stored.add(notice.queue_id)
        elif isinstance(notice, Reported) and notice.kind == "failed":
            self._know_dsns({notice.dsn_queue_id: notice.recipients})
        elif isinstance(notice, Removed) and notice.why == "undeliverable":
            for path in self._dsns.get(notice.queue_id, ()):
                self.reported[path] = "undeliverable DSN"

    # --- the account ----------------------------------------------------------------------------

    def started(self) -> None:
        self.starts += 1

    def cut_short(self) -> None:
        """It died, or was stopped while the disk took nothing."""
        self.ends += 1
        self.audit()

    def audit(self) -> Queued:
        """Everything that was acknowledged, as if the power failed now."""
        queued = self.image()
        self.check(self.submissions.values(), queued)
        return queued

    def check(self, submissions: Iterable[Submission], queued: Queued) -> None:
        self._know_dsns(queued.dsns)
        reported = {path for paths in queued.dsns.values() for path in paths}
        for submission in submissions:
            if submission.answer == 250 and not submission.removed:
                for addressee in submission.addressees:
                    if addressee.is_accepted:
                        self._check_owed(submission, addressee, queued, reported)

    def _know_dsns(self, dsns: Mapping[str, tuple[str, ...]]) -> None:
        self._dsns.update(dsns)
        for paths in dsns.values():
            for path in paths:
                self._dsn_seen_at.setdefault(path, self.world.now)

    def _check_owed(
        self, submission: Submission, addressee: Addressee, queued: Queued, reported: set[str]
    ) -> None:
        path = addressee.path
        if path in self._copies or path in reported or path in self.reported:
            return
        if path in queued.owed:
            content = queued.contents[queued.owed[path]]
            if content is None or without_trace(content) != submission.content:
                self.world.blame(f"{path} is in the queue, but its content is not whole")
            return
        if self._is_unreported(submission, addressee) or self._may_dsn_have_expired(path):
            return
        self.world.blame(f"{submission.token} got 250, and {path} is lost")

    def _is_unreported(self, submission: Submission, addressee: Addressee) -> bool:
        """It failed, and nobody need be told."""
        wants_none = not submission.reverse_path or addressee.notify == "NEVER"
        return wants_none and self._has_failed(submission, addressee.path)

    def _has_failed(self, submission: Submission, path: str) -> bool:
        """An upstream refused it for good, or time ran out."""
        return (
            path in self._refused
            or f"from {submission.reverse_path}" in self._refused
            or self._may_have_expired(submission)
            or (
                self.exchanges is not None
                and self.exchanges.has_failed(path.partition("@")[2], submission.began_at)
            )
        )

    def _may_dsn_have_expired(self, path: str) -> bool:
        """A crash right behind the commit that dropped it leaves no word of it."""
        seen_at = self._dsn_seen_at.get(path, self.world.now)
        return self.world.now - seen_at >= self.expire_after - 2 * self.clock_error - SEEN_WITHIN

    def _may_have_expired(self, submission: Submission) -> bool:
        """Its time counts from its arrival, which is not before its client sent the last octet; a
        sick disk or network can keep the answer back for minutes."""
        age = self.world.now - submission.ended_at
        return age >= self.expire_after - 2 * self.clock_error


# --- reading mail -----------------------------------------------------------------------------


def is_report(content: bytes) -> bool:
    return b"report-type=delivery-status" in content[:2000]


def token_of(content: bytes) -> str:
    found = re.search(rb"^X-Token: (\S+)\r$", content, re.M)
    return found[1].decode() if found else ""


def token_in(path: str) -> str:
    """r0.m1x2@east.example -> m1x2"""
    return path.partition("@")[0].partition(".")[2]


def queue_id_of(report: bytes) -> str:
    found = re.search(rb"^Message-ID: (\S+)\r$", report, re.M)
    return found[1].decode() if found else ""


def trace_id(content: bytes) -> str:
    """The queue id in the Received field at the top."""
    found = re.match(rb"Received: (?:(?!\r\n[^ \t]).)*? id (\w+)", content, re.S)
    return found[1].decode() if found else ""


def failed_in(report: bytes) -> list[str]:
    """The recipients that a DSN says have failed (RFC 3464 2.3)."""
    found = re.findall(rb"^Final-Recipient: [^;]+; *(\S+)\r\nAction: failed\r$", report, re.M)
    return [path.decode() for path in found]


def without_trace(content: bytes) -> bytes:
    """Less the one Received field at the top."""
    if not content.startswith(b"Received: "):
        return content
    end = re.search(rb"\r\n(?![ \t])", content)
    return content[end.end() :] if end else b""


def first_difference(content: bytes, submission: Submission) -> str:
    expected = submission.content
    at = next(
        (n for n, (a, b) in enumerate(zip(content, expected, strict=False)) if a != b),
        min(len(content), len(expected)),
    )
    return (
        f"octet {at} of {len(expected)}, {len(content)} came:"
        f" {content[max(0, at - 20) : at + 20]!r}, not {expected[max(0, at - 20) : at + 20]!r}"
    )
