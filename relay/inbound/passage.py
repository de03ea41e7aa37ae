"""Proxy delivery: a client's commands go on to the upstream, and its replies come back.

A passage is one client session's way through, on a line that outbound lends. Nothing is stored:
what the upstream did not accept was not accepted. Content that must not go on is never ended.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from twisted.internet.interfaces import IPushProducer

from relay.config.schema import Route
from relay.inbound.heading import Heading
from relay.inbound.intake import LOOPS, Intake, Transaction
from relay.mail.envelope import Origin, Recipient
from relay.mail.outcome import Relayed
from relay.mail.reply import Reply, reply
from relay.mail.trace import MAX_RECEIVED
from relay.notices import Accepted, Attempted, Observer, Removed
from relay.outbound.line import Line

OURS_ONLY_WITH_THEIRS: Final = frozenset({"8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "REQUIRETLS"})
"""Extensions that the upstream must have, since nothing is kept, re-encoded or reported here."""

HELD: Final = reply(451, "4.3.2", "Not relaying there at this moment, try again later")

Then = Callable[[Reply], None]


class Lines(Protocol):
    """Outbound, as far as it is needed here."""

    def line(self, lane: str) -> Line: ...

    def extensions(self, upstream: str) -> Mapping[str, str]: ...


class Passages:
    """What the passages of one listener have in common. `upstreams`: those its mail may pass to.

    `sole_route(reverse_path)`: the route that every recipient of it takes, where that is proxied;
    `lane_of(route, "", reverse_path, user)`: the next hop, and as whom.
    """

    def __init__(
        self,
        lines: Lines,
        intake: Intake,
        upstreams: frozenset[str],
        sole_route: Callable[[str], Route | None],
        lane_of: Callable[[Route, str, str, str], str],
        is_held: Callable[[str], bool],
        observe: Observer,
    ) -> None:
        self.lane_of = lane_of
        self.lines = lines
        self.intake = intake
        self.sole_route = sole_route
        self.is_held = is_held
        self.observe = observe
        self._upstreams = upstreams

    def withheld(self) -> tuple[frozenset[str], int]:
        """See `withheld`: as its upstreams go."""
        return withheld(self.lines, self._upstreams)


def withheld(lines: Lines, upstreams: Iterable[str]) -> tuple[frozenset[str], int]:
    """Keywords that one of them lacks, and the least size limit (0: none), with room for our trace
    field."""
    lacking: frozenset[str] = frozenset()
    max_size = 0
    for upstream in upstreams:
        offered = lines.extensions(upstream)
        lacking |= OURS_ONLY_WITH_THEIRS.difference(offered)
        size = offered.get("SIZE", "")
        if size.isascii() and size.isdigit() and int(size):  # 0: no limit (RFC 1870 4)
            least = max(1, int(size) - MAX_RECEIVED)
            max_size = min(max_size or least, least)
    return lacking, max_size


class Passage:
    """One client session's. `then` is called once for each request, maybe at once."""

    __slots__ = (
        "_is_content_awaited",
        "_is_left",
        "_lane",
        "_line",
        "_shared",
        "_transaction",
        "_upstream",
        "origin",
    )

    def __init__(self, shared: Passages, origin: Origin) -> None:
        self.origin = origin  # as it is now: what an upstream that asks for it is told
        self._shared = shared
        self._line: Line | None = None
        self._upstream = ""
        self._lane = ""
        self._transaction: Transaction | None = None  # whose MAIL the upstream accepted
        self._is_content_awaited = False  # its answer to the final dot
        self._is_left = False  # by the client

    @property
    def trouble(self) -> str:
        """For the log: what lies behind a reply that is not the upstream's own."""
        return "" if self._line is None else self._line.trouble

    def mail(self, transaction: Transaction, route: Route, then: Then) -> None:
        """Pass MAIL on."""
        lane = self._shared.lane_of(route, "", transaction.reverse_path, self.origin.user)
        if self._shared.is_held(lane):
            then(HELD)
            return
        line = self._line
        if line is None or self._lane != lane or line.is_outdated:
            self._drop_line()
            line = self._line = self._shared.lines.line(lane)
            self._upstream, self._lane = route.upstream, lane
        self._transaction = None

        def answered(answer: Reply) -> None:
            self._transaction = transaction if answer.code < 300 else None
            then(answer)

        line.mail(transaction.envelope(), transaction.size, route.proxy_wait, self.origin, answered)

    def rcpt(
        self, transaction: Transaction, recipient: Recipient, route: Route, then: Then
    ) -> None:
        """Pass RCPT on, and MAIL before it where that has not been; its refusal answers RCPT."""
        if self._transaction is transaction and self._upstream == route.upstream:
            self._line_in_use.rcpt(recipient, then)
            return

        def mail_answered(answer: Reply) -> None:
            if answer.code < 300:
                self._line_in_use.rcpt(recipient, then)
            else:
                then(answer)

        self.mail(transaction, route, mail_answered)

    @property
    def _line_in_use(self) -> Line:
        assert self._line is not None
        return self._line

    def begin(
        self,
        transaction: Transaction,
        origin: Origin,
        protocol: str,
        producer: IPushProducer,
        then: Callable[[Reply, "Passing | None"], None],
        *,
        is_chunked: bool,
    ) -> None:
        """Pass DATA on; with 354 comes what takes the content."""
        line = self._line_in_use

        def answered(answer: Reply) -> None:
            if answer.code != 354:
                then(answer, None)
                return
            intake = self._shared.intake
            queue_id = intake.next_id()
            passing = Passing(self, line, queue_id)
            passing.write(intake.trace_field(transaction, origin, protocol, queue_id))
            then(answer, passing)

        line.data(producer, answered, wants_chunks=is_chunked)

    def end_transaction(self) -> None:
        """Over, or reset by the client."""
        self._transaction = None
        if self._line is not None:
            self._line.rest()

    def close(self) -> None:
        """The client is gone. What the upstream says to content that was ended is waited for."""
        self._is_left = True
        if not self._is_content_awaited:
            self._drop_line()

    def _drop_line(self) -> None:
        line, self._line = self._line, None
        self._transaction = None
        if line is not None:
            line.close()

    def cut(self) -> None:
        """Content under way must not be ended: the session with the upstream is closed there."""
        self._drop_line()

    # --- the end of content -------------------------------------------------------------------

    def finish(
        self, passing: "Passing", transaction: Transaction, origin: Origin, then: Then
    ) -> None:
        """All of the content went on."""
        shared = self._shared
        if passing.heading.received_count > shared.intake.max_received:
            self.cut()
            then(LOOPS)
            return
        self._is_content_awaited = True
        ended_at = shared.intake.clock.seconds()
        line = self._line_in_use

        def answered(answer: Reply) -> None:
            self._is_content_awaited = False
            if answer.code < 300:
                self._tell(passing, transaction, origin, answer, ended_at)
                answer = _named(answer, passing.queue_id, self._upstream)
            if self._is_left:
                self._drop_line()
            else:
                self.end_transaction()
            then(answer)  # the client's next command may come with that

        line.end(answered)

    def _tell(
        self,
        passing: "Passing",
        transaction: Transaction,
        origin: Origin,
        answer: Reply,
        ended_at: float,
    ) -> None:
        """The upstream has it. Without a client nobody was told so."""
        observe, line = self._shared.observe, self._line_in_use
        queue_id, size = passing.queue_id, passing.size
        recipients = transaction.recipients
        if not self._is_left:
            paths = tuple(r.forward_path for r in recipients)
            message_id = passing.heading.message_id
            observe(
                Accepted(
                    queue_id,
                    origin,
                    transaction.reverse_path,
                    paths,
                    size,
                    message_id,
                    "proxy",
                )
            )
        outcome = Relayed(answer, line.label, line.offers_dsn, line.tls)
        delay = self._shared.intake.clock.seconds() - ended_at
        for recipient in recipients:
            observe(
                Attempted(queue_id, recipient.forward_path, self._upstream, outcome, 1, delay, size)
            )
        if not self._is_left:
            observe(Removed(queue_id, "done"))

    def __repr__(self) -> str:
        return f"<Passage {self._upstream or 'nowhere'} {self._line!r}>"


class Passing:
    """The content of one message on its way through, as `Receiving` is of one that is stored."""

    __slots__ = ("_line", "_passage", "heading", "queue_id", "size")

    def __init__(self, passage: Passage, line: Line, queue_id: str) -> None:
        self._passage = passage
        self._line = line
        self.queue_id = queue_id
        self.heading = Heading()
        self.size = 0

    def write(self, octets: bytes) -> None:
        self.size += len(octets)
        self.heading.add(octets)
        self._line.send(octets)

    def discard(self) -> None:
        self._passage.cut()

    def finish(self, transaction: Transaction, origin: Origin, answer: Then) -> None:
        """`answer` is called exactly once."""
        self._passage.finish(self, transaction, origin, answer)

    def client_left(self) -> None:
        """The passage itself is told."""


def _named(answer: Reply, queue_id: str, upstream: str) -> Reply:
    """The upstream's reply, with our name for the message."""
    *first, last = answer.lines or ("",)
    lines = (*first, f"{last} [{queue_id} via {upstream}]".lstrip())
    return Reply(answer.code, answer.status, lines)
