"""Takes the content of one message and sees it through to the commit.

Adds the trace field, counts those that are there (loops), streams to the store's writer, and
answers with the final reply. Local trouble is always a 4xx, with no word of what it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config.schema import Route
from relay.inbound.heading import Heading
from relay.inbound.missing_headers import Completed, Content, usual_fields
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.reply import Reply, reply
from relay.mail.trace import received_field
from relay.queue.store import IContentWriter, Message, StoreFailed

LOOPS: Final = reply(554, "5.4.6", "Too many Received fields: this message goes in a circle")
STORE_TROUBLE: Final = reply(451, "4.3.0", "Local trouble, try again later")
NO_SPACE: Final = reply(452, "4.3.1", "Insufficient system storage, try again later")

_log = Logger()


class Acceptor(Protocol):
    """Where accepted messages go: the queue's manager."""

    @property
    def is_recording(self) -> bool: ...

    def accept(
        self,
        message: Message,
        lanes: dict[str, tuple[int, ...]],
        message_id: str,
        done: Callable[[None], object],
        failed: Callable[[Failure], object],
    ) -> None:
        """One of them is called once: when it is committed, or with StoreFailed."""


class Trial(Protocol):
    """A message that is tried upstream while its client waits."""

    def begin(
        self, answer: Callable[[Reply | None], object], failed: Callable[[Failure], object]
    ) -> None:
        """`answer`: None for 250, or the upstream's refusal of all recipients; or `failed`, with
        StoreFailed. One of them is called once, perhaps at once."""

    def client_left(self) -> None: ...


class Trier(Protocol):
    """Where messages of hybrid routes go."""

    def accept(
        self,
        message: Message,
        lanes: dict[str, tuple[int, ...]],
        message_id: str,
        wait: float,
        discard: Callable[[], None],
    ) -> Trial: ...


@dataclass(slots=True, init=False)
class Transaction:
    """A mail transaction as far as it has come: what MAIL and the accepted RCPTs said."""

    reverse_path: str
    body: str
    smtputf8: bool
    ret: str
    envid: str
    recipients: list[Recipient]
    lanes: dict[str, tuple[int, ...]]
    route: Route | None  # of the first accepted recipient
    client_waits: float | None  # hybrid: seconds; None: its 250 waits for the store alone
    size: int  # announced, 0: not
    requires_tls: bool

    def __init__(
        self,
        reverse_path: str,
        body: str = "",
        smtputf8: bool = False,
        ret: str = "",
        envid: str = "",
        size: int = 0,
        requires_tls: bool = False,
    ) -> None:
        self.reverse_path = reverse_path
        self.body = body
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.recipients = []
        self.lanes = {}
        self.route = None
        self.client_waits = None
        self.size = size
        self.requires_tls = requires_tls

    def recipient(self, forward_path: str, notify: str, orcpt: str) -> Recipient:
        """One that may be added."""
        return Recipient(len(self.recipients) + 1, forward_path, notify, orcpt)

    def add(self, recipient: Recipient, route: Route, lane: str) -> None:
        """One more accepted recipient. Hybrid beside store is store."""
        if self.route is None:
            self.route = route
            self.client_waits = route.client_waits
        elif self.client_waits is not None:
            waits = route.client_waits
            self.client_waits = None if waits is None else min(self.client_waits, waits)
        self.recipients.append(recipient)
        self.lanes[lane] = (*self.lanes.get(lane, ()), recipient.id)

    def fits(self, route: Route) -> bool:
        """A proxied recipient has the transaction to itself and its upstream."""
        first = self.route
        if first is None or not (first.is_proxied or route.is_proxied):
            return True
        return first.is_proxied and route.is_proxied and first.upstream == route.upstream

    def envelope(self) -> Envelope:
        return Envelope(
            self.reverse_path,
            tuple(self.recipients),
            self.body,
            self.smtputf8,
            self.ret,
            self.envid,
            self.requires_tls,
        )


class Receiving:
    """One message on its way in: `write`, then `finish` or `discard`, each once."""

    __slots__ = ("_answer", "_heading", "_intake", "_is_8bit", "_trial", "_writer", "queue_id")

    def __init__(self, intake: "Intake", queue_id: str, writer: IContentWriter) -> None:
        self._intake = intake
        self._writer = writer
        self._heading = Heading()
        self._is_8bit = False
        self._trial: Trial | None = None
        self._answer: Callable[[Reply], None]
        self.queue_id = queue_id

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)
        self._heading.add(octets)
        if not octets.isascii():
            self._is_8bit = True

    def discard(self) -> None:
        self._writer.discard()

    def finish(
        self, transaction: Transaction, origin: Origin, answer: Callable[[Reply], None]
    ) -> None:
        """Commit, then answer 250; or answer why not. `answer` is called exactly once."""
        intake = self._intake
        self._answer = answer
        if self._heading.received_count > intake.max_received:
            self._writer.discard()
            answer(LOOPS)
            return
        if self._is_8bit:  # whatever MAIL said: hosts are to know (RFC 6152 3)
            transaction.body = "8BITMIME"
        message = Message(
            self.queue_id,
            transaction.envelope(),
            origin,
            self._writer.finish(),
            intake.clock.seconds(),
        )
        message_id, lanes = self._heading.message_id, self._lanes(transaction)
        if transaction.client_waits is not None:
            self._trial = intake.trier.accept(
                message, lanes, message_id, transaction.client_waits, self._writer.discard
            )
            self._trial.begin(self._committed, self._not_committed)
        else:
            intake.acceptor.accept(message, lanes, message_id, self._committed, self._not_committed)

    def _lanes(self, transaction: Transaction) -> dict[str, tuple[int, ...]]:
        """Mail that waives TLS has its own, unless its MAIL said REQUIRETLS (RFC 8689 4.1)."""
        lanes = transaction.lanes
        if transaction.requires_tls:
            return lanes
        eased = {self._intake.eased(lane): recipients for lane, recipients in lanes.items()}
        return eased if eased.keys() != lanes.keys() and self._heading.waives_tls else lanes

    def client_left(self) -> None:
        """What it waited for is nobody's answer any more; a commit under way goes on."""
        if self._trial is not None:
            self._trial.client_left()

    def _committed(self, refusal: Reply | None) -> None:
        self._answer(refusal or Reply(250, "2.0.0", (f"queued as {self.queue_id}",)))

    def _not_committed(self, reason: Failure) -> None:
        if self._trial is None:
            self._writer.discard()
        if reason.check(StoreFailed):
            _log.error("{queue_id}: {why}", queue_id=self.queue_id, why=reason.getErrorMessage())
        else:
            _log.failure("{queue_id} was not stored", reason, queue_id=self.queue_id)
        self._answer(STORE_TROUBLE)


class Intake:
    """Begins messages for the sessions of one listener."""

    def __init__(
        self,
        hostname: str,
        max_received: int,
        acceptor: Acceptor,
        trier: Trier,
        new_content: Callable[[str], IContentWriter],
        next_id: Callable[[], str],
        has_space: Callable[[], bool],
        clock: IReactorTime,
        *,
        adds_headers: bool = False,
        eased: Callable[[str], str] = lambda lane: lane,
    ) -> None:
        self._adds_headers = adds_headers
        self.eased = eased  # the lane for mail that waives TLS, instead of this one
        self.hostname = hostname
        self.max_received = max_received
        self.acceptor = acceptor
        self.trier = trier
        self.clock = clock
        self._new_content = new_content
        self.next_id = next_id
        self._has_space = has_space

    def trouble(self) -> Reply | None:
        """Why no mail is taken at this moment, or None."""
        if not self.acceptor.is_recording:
            return STORE_TROUBLE
        if not self._has_space():
            return NO_SPACE
        return None

    def begin(
        self, transaction: Transaction, origin: Origin, protocol: str, producer: IPushProducer
    ) -> Receiving:
        """`protocol` as in the trace field: "ESMTP", "SMTP" ... (RFC 3848)."""
        queue_id = self.next_id()
        writer = self._new_content(queue_id)
        writer.registerProducer(producer)
        writer.write(self.trace_field(transaction, origin, protocol, queue_id))
        return Receiving(self, queue_id, writer)

    def completed(self, content: Content, reverse_path: str) -> Content:
        """With the header fields that the message lacks, where the listener adds them."""
        if not self._adds_headers:
            return content
        at = self.clock.seconds()
        return Completed(content, usual_fields(reverse_path, self.hostname, content.queue_id, at))

    def trace_field(
        self, transaction: Transaction, origin: Origin, protocol: str, queue_id: str
    ) -> bytes:
        """What goes before the content (RFC 5321 4.4)."""
        recipients = transaction.recipients
        return received_field(
            hostname=self.hostname,
            helo=origin.helo,
            client=origin.client,
            protocol=protocol,
            queue_id=queue_id,
            at=self.clock.seconds(),
            for_recipient=recipients[0].forward_path if len(recipients) == 1 else "",
            tls=origin.tls,
        )
