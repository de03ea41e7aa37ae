"""Planted faults: each breaks the relay in one way, to prove that the simulator would see it.

A fault is a function that yields what to put in the place of what; `planted` puts it there, and
takes it away again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import relay.outbound.dns.exchanges
import relay.queue.sqlite
import relay.queue.sqlite_reads
import relay.queue.sqlite_writes
import relay.service.reload
from relay.inbound.auth import Authentication
from relay.inbound.passage import Passing
from relay.inbound.policy import Policy
from relay.mail.outcome import Attempt, Delayed, Failed, Relayed
from relay.mail.reply import reply
from relay.outbound.answers import Answers
from relay.outbound.attempt import RunningAttempt
from relay.outbound.delivery import Delivery
from relay.outbound.dns.answer import Status
from relay.outbound.dns.exchanges import NO_DOMAIN, Exchanges
from relay.outbound.dns.ourselves import Ourselves
from relay.outbound.dns.resolver import Resolver
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.identity.choice import Choices
from relay.outbound.routes import Routes
from relay.outbound.throttle import Window
from relay.places import OwnPlaces
from relay.queue.content_files import ContentFile
from relay.queue.group_commit import GroupCommit
from relay.queue.hybrid import Trial
from relay.queue.in_hand import InHand
from relay.queue.lane_book import LaneBook
from relay.queue.lanes import Lane
from relay.queue.manager import QueueManager
from relay.queue.recorder import Recorder
from relay.queue.reroute import Reroute
from relay.queue.space import SpaceWatch
from relay.queue.spool import Spool
from relay.queue.sqlite_operations import SqliteOperations
from relay.queue.sqlite_writes import SqliteWrites
from relay.queue.store import StoreFailed
from relay.service.backstage import Backstage
from relay.service.reload import Reload
from relay.smtp.client import ClientEngine
from relay.smtp.content import ContentDecoder, ContentEncoder
from relay.users.remembered import Remembered

Replacement = tuple[Any, str, Any]

FAULTS: dict[str, Callable[[], Iterator[Replacement]]] = {}


def fault(function: Callable[[], Iterator[Replacement]]) -> Callable[[], Iterator[Replacement]]:
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The relay with that fault; "": without any."""
    replaced = []
    for where, attribute, by in FAULTS[name]() if name else ():
        replaced.append((where, attribute, getattr(where, attribute)))
        setattr(where, attribute, by)
    try:
        yield
    finally:
        for where, attribute, was in reversed(replaced):
            setattr(where, attribute, was)


# --- what is said before it is so -------------------------------------------------------------


@fault
def reply_before_commit() -> Iterator[Replacement]:
    """The client hears 250 while its message is still on the way to the disk."""
    real = QueueManager.accept

    def accept(self: Any, message: Any, lanes: Any, message_id: str, done: Any, _: Any) -> None:
        nobody = lambda _: None  # noqa: E731
        real(self, message, lanes, message_id, nobody, nobody)
        done(None)

    yield QueueManager, "accept", accept


@fault
def success_after_a_failed_commit() -> Iterator[Replacement]:
    """A commit that failed is taken for one that did its work."""
    real = GroupCommit._commit

    def commit(self: Any, calls: Any) -> Any:
        results = real(self, calls)
        return [
            (call, None if call.name == "insert" and isinstance(result, StoreFailed) else result)
            for call, result in results
        ]

    yield GroupCommit, "_commit", commit


@fault
def commit_without_a_sync() -> Iterator[Replacement]:
    """The database is told not to wait for the disk."""
    real = relay.queue.sqlite.connect

    def connect(*arguments: Any) -> Any:
        database = real(*arguments)
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    yield relay.queue.sqlite, "connect", connect


@fault
def forgotten_sync_of_a_content_file() -> Iterator[Replacement]:
    def sync(self: Any) -> None:
        self.write()
        with self._lock:
            self._close()

    yield ContentFile, "sync", sync


@fault
def forgotten_sync_of_the_directory() -> Iterator[Replacement]:
    yield Spool, "sync", lambda self: None


@fault
def dsn_in_a_second_commit() -> Iterator[Replacement]:
    """The failure is recorded, and then its report."""

    def record(self: Any, in_hand: Any) -> None:
        planned, store = in_hand.plan, self._store

        def then(settled: Any) -> None:
            if in_hand.owed is None:
                self._recorded(settled, in_hand, planned)
            else:
                store.insert(in_hand.owed.new).addCallbacks(
                    lambda _: self._recorded(settled, in_hand, planned), self._not_recorded
                )

        store.settle(in_hand.settlement(())).addCallbacks(
            then, self._not_recorded, errbackArgs=(in_hand,)
        )

    yield Recorder, "record", record


# --- who is owed what -------------------------------------------------------------------------


@fault
def settle_by_position() -> Iterator[Replacement]:
    """Outcomes are recorded for the first, the second ... recipient, whoever they are of."""
    real = relay.queue.sqlite_writes._divide

    def divide(owed: Any, settlement: Any) -> Any:
        outcomes = dict(enumerate(settlement.outcomes.values(), 1))
        return real(owed, replace(settlement, outcomes=outcomes))

    yield relay.queue.sqlite_writes, "_divide", divide


@fault
def outcome_recorded_twice() -> Iterator[Replacement]:
    real = Recorder.record

    def record(self: Any, in_hand: Any) -> None:
        real(self, in_hand)
        real(self, in_hand)

    yield Recorder, "record", record


@fault
def claim_of_a_row_in_hand() -> Iterator[Replacement]:
    """A claim does not ask whether an attempt is under way."""
    yield InHand, "of", lambda self, lane: ()


@fault
def sweep_claims_by_what_it_read_before() -> Iterator[Replacement]:
    """What expires is gathered over all slices, and taken in hand at the end."""

    def claim_expired(self: Any, accepted_before: float, limit: int) -> Iterator[None]:
        places = []
        condition = f"w.is_graced = 0 AND w.lane <> '' AND {relay.queue.sqlite_reads.NOT_PAUSED}"
        for rows in self._waited(accepted_before, condition):
            places += [place for place in rows if not self._in_hand.has(place[1], place[0])]
            yield
        return self._take(places[:limit])

    yield relay.queue.sqlite_reads.SqliteReads, "claim_expired", claim_expired


@fault
def second_attempt_after_hybrid_wait() -> Iterator[Replacement]:
    """What is stored while its attempt runs on is tried again at once."""
    real = Trial._stored

    def stored(self: Any, *arguments: Any) -> None:
        running = list(self._running)
        real(self, *arguments)
        manager = self._hybrid.manager
        for in_hand in running:
            if in_hand in self._running:
                manager._attempt(in_hand.lane, in_hand.work)
                in_hand.lane.in_hand += 1

    yield Trial, "_stored", stored


@fault
def hybrid_250_on_a_transient_reply() -> Iterator[Replacement]:
    """Nothing was refused for good, so all is taken to be well."""
    real = Trial._decide

    def decide(self: Any) -> None:
        if any(type(outcome) is Delayed for outcome in self._outcomes().values()):
            self._done(None, False)
        else:
            real(self)

    yield Trial, "_decide", decide


@fault
def nothing_owed_after_an_unknown_outcome() -> Iterator[Replacement]:
    """A connection that breaks after the final dot counts as acceptance."""
    real = RunningAttempt._settle

    def settle(self: Any, recipients: Any, outcome: Any) -> None:
        if type(outcome) is Delayed and outcome.is_unknown:
            outcome = Relayed(outcome.reply, outcome.host)
        real(self, recipients, outcome)

    yield RunningAttempt, "_settle", settle


@fault
def refused_recipient_taken_for_accepted() -> Iterator[Replacement]:
    """Only the reply to the content counts."""
    yield (
        Answers,
        "is_clean",
        property(lambda self: self.content is not None and self.content.code < 300),
    )


# --- content and dialogue ---------------------------------------------------------------------


@fault
def rset_missing_after_a_failure() -> Iterator[Replacement]:
    """A session is used again with a transaction left open on it."""
    real = ClientEngine._mail_commands

    def mail_commands(self: Any, *arguments: Any) -> Any:
        return [command for command in real(self, *arguments) if command[0] != "RSET"]

    yield ClientEngine, "_mail_commands", mail_commands


@fault
def proxy_ends_content_when_the_client_left() -> Iterator[Replacement]:
    def discard(self: Any) -> None:
        self._line.end(lambda answer: None)

    yield Passing, "discard", discard


@fault
def bare_lf_dot_ends_content() -> Iterator[Replacement]:
    real = ContentDecoder.feed

    def feed(self: Any, data: bytes) -> Any:
        return real(self, data.replace(b"\n.\n", b"\r\n.\r\n"))

    yield ContentDecoder, "feed", feed


@fault
def dot_not_stuffed() -> Iterator[Replacement]:
    """At the begin of a chunk it is, within one it is not."""

    def encode(self: Any, chunk: bytes) -> bytes:
        self._tail = (self._tail + chunk)[-2:]
        return chunk

    yield ContentEncoder, "encode", encode


# --- limits and memory ------------------------------------------------------------------------


@fault
def one_session_too_many() -> Iterator[Replacement]:
    real = Window.__init__

    def begin(self: Any, most: int) -> None:
        real(self, most + 1)

    yield Window, "__init__", begin


@fault
def any_number_in_hand() -> Iterator[Replacement]:
    """For a lane that is well there is always room."""
    real = Lane.room

    def room(self: Any, now: float) -> int:
        is_well = not (self.is_held or self.is_closed or self.attempt)
        return self.window if is_well else real(self, now)

    yield Lane, "room", room


@fault
def recipients_without_a_limit() -> Iterator[Replacement]:
    """All that are owed, in one transaction."""

    def next_envelope(self: Any, limit_there: int) -> Any:
        owed, self._owed = self._owed, ()
        return replace(self._envelope, recipients=tuple(owed))

    yield RunningAttempt, "_next_envelope", next_envelope


@fault
def session_never_worn() -> Iterator[Replacement]:
    """However much it has carried."""
    yield QueuedClientFactory, "is_worn", lambda self, session: False


@fault
def mail_taken_without_space() -> Iterator[Replacement]:
    """Nobody looks whether `min_free` is left."""
    yield SpaceWatch, "has_space", lambda self: True


@fault
def lane_of_a_domain_never_forgotten() -> Iterator[Replacement]:
    yield LaneBook, "forget", lambda self, lane: False


@fault
def upstream_of_a_former_config_never_forgotten() -> Iterator[Replacement]:
    yield Delivery, "_forget_retired", lambda self: None


@fault
def place_never_given_back() -> Iterator[Replacement]:
    """Of a client's session that ended."""
    yield OwnPlaces, "give", lambda self, key: None


@fault
def in_hand_for_ever() -> Iterator[Replacement]:
    """Room is not given back where a message was removed under its attempt."""
    real = QueueManager._recorded

    def recorded(self: Any, settled: Any, in_hand: Any, planned: Any) -> None:
        if settled.is_known:
            real(self, settled, in_hand, planned)

    yield QueueManager, "_recorded", recorded


@fault
def content_file_left_behind() -> Iterator[Replacement]:
    """Of messages that were relayed."""
    yield SqliteWrites, "files_gone", lambda self: []


@fault
def retry_forgotten() -> Iterator[Replacement]:
    """A lane that failed is not looked at again before the next start."""
    real = QueueManager._arm_wake

    def arm_wake(self: Any, lane: Any, now: float) -> None:
        if not lane.attempt:
            real(self, lane, now)

    yield QueueManager, "_arm_wake", arm_wake


# --- logins -----------------------------------------------------------------------------------


@fault
def mail_from_anybody_where_a_login_is_required() -> Iterator[Replacement]:
    """And anybody's recipients are taken where it is offered."""
    yield Authentication, "refusal", lambda self, reverse_path: None
    real = Policy.judge

    def judge(self: Any, is_trusted: bool, reverse_path: str, forward_path: str) -> Any:
        return real(self, True, reverse_path, forward_path)

    yield Policy, "judge", judge


@fault
def any_sender_for_any_user() -> Iterator[Replacement]:
    real = Authentication.refusal

    def refusal(self: Any, reverse_path: str) -> Any:
        return real(self, reverse_path) if self.user is None else None

    yield Authentication, "refusal", refusal


@fault
def who_was_right_once_is_right() -> Iterator[Replacement]:
    """A password that was right is remembered by the name alone."""
    yield Remembered, "_digest", lambda self, name, password: name


@fault
def bounce_on_a_refused_login() -> Iterator[Replacement]:
    """5xx to AUTH fails the mail."""
    real = QueueManager.judge

    def judge(self: Any, attempt: Any, in_hand: Any) -> Any:
        site = attempt.site
        if site is not None and site.is_refusal:
            failed = Failed(site.reply, site.host)
            attempt = Attempt({r.id: failed for r in in_hand.work.recipients})
        return real(self, attempt, in_hand)

    yield QueueManager, "judge", judge


@fault
def mail_expires_while_its_login_is_refused() -> Iterator[Replacement]:
    yield relay.queue.sqlite_reads, "NOT_PAUSED", "TRUE"


@fault
def one_identity_for_all() -> Iterator[Replacement]:
    """An upstream's own."""
    yield Choices, "lane_of", lambda self, upstream, reverse_path, user: upstream


# --- mail by MX -------------------------------------------------------------------------------


@fault
def mail_for_a_null_mx_waits() -> Iterator[Replacement]:
    yield relay.outbound.dns.exchanges, "NULL_MX", reply(451, "4.4.3", "nobody knows")


@fault
def bounce_on_servfail() -> Iterator[Replacement]:
    """No answer is taken for the answer that there is nothing."""
    yield relay.outbound.dns.exchanges, "_unknown", lambda what, why: NO_DOMAIN


@fault
def mail_hosts_in_any_order() -> Iterator[Replacement]:
    real = Exchanges._in_order

    def in_order(self: Any, answer: Any, domain: str) -> Any:
        return list(reversed(real(self, answer, domain)))

    yield Exchanges, "_in_order", in_order


@fault
def own_place_among_mail_hosts_not_seen() -> Iterator[Replacement]:
    yield Ourselves, "is_us", lambda self, name, address: False


@fault
def dns_believed_for_ever() -> Iterator[Replacement]:
    """Whatever its TTL says, what was found is kept."""
    real = Resolver._keep

    def keep(self: Any, answer: Any, key: Any) -> None:
        is_found = answer.status is Status.FOUND
        real(self, replace(answer, ttl=86400.0) if is_found else answer, key)

    yield Resolver, "_keep", keep


# --- another config ---------------------------------------------------------------------------


@fault
def mail_of_a_removed_upstream_left_behind() -> Iterator[Replacement]:
    """What waits is not looked at when its routes change."""
    yield Reroute, "run", _nothing


@fault
def waiting_mail_stays_with_its_upstream() -> Iterator[Replacement]:
    """As long as that is there, whatever the routes say."""
    real = Reroute._way

    def way(self: Any, *arguments: Any) -> Any:
        return None if arguments[-1] in self._manager.lanes else real(self, *arguments)

    yield Reroute, "_way", way


@fault
def mail_in_hand_settled_on_its_former_lane() -> Iterator[Replacement]:
    """What waits is moved; what was in hand waits again where it was."""
    yield Reroute, "is_astray", _is_left


@fault
def reroute_forgets_a_recipient() -> Iterator[Replacement]:
    """The last one, where there are several."""
    real = SqliteOperations.move

    def move(self: Any, changes: Any, queue_id: str, lane: str, to: Any) -> Any:
        return real(self, changes, queue_id, lane, dict(list(to.items())[: max(1, len(to) - 1)]))

    yield SqliteOperations, "move", move
    yield Reroute, "is_astray", _is_left


@fault
def reload_cut_short_by_a_crash_stays_so() -> Iterator[Replacement]:
    """A start leaves waiting mail where it is."""
    yield Backstage, "_route_all", _nothing
    yield Reroute, "is_astray", _is_left


async def _nothing(*_: Any) -> None:
    pass


def _is_left(self: Any, work: Any) -> bool:
    """Only what waits for an upstream that is gone is moved on its own."""
    return work.lane not in self._manager.lanes


@fault
def old_routes_go_on() -> Iterator[Replacement]:
    """A reload changes the upstreams, and not the routes."""
    real = Routes.change

    def change(self: Any, routes: Any) -> None:
        if not hasattr(self, "is_told"):
            self.is_told = True
            real(self, routes)

    yield Routes, "change", change


@fault
def part_of_a_bad_config_taken() -> Iterator[Replacement]:
    """What needs a restart is refused once the rest is in force."""
    real = Reload._reload

    async def reload(self: Any) -> Any:
        config = relay.service.reload.read(self._source)
        await self._change(config)
        return await real(self)

    yield Reload, "_reload", reload
