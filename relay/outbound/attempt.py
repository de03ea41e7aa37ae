"""One attempt: a message's way through the hosts of its next hop, to an outcome for each recipient.

Carries out what `trouble` decides. The common case, a host that takes everything, costs one look.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from relay.mail.content import Content
from relay.mail.envelope import Envelope, Recipient
from relay.mail.outcome import Attempt, Delayed, Failed, Outcome, Relayed, SiteFailure
from relay.mail.reply import Reply
from relay.outbound.answers import Answers, Broken, Cause
from relay.outbound.conversions import NO_ROOM, Conversions
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.fitting import fit
from relay.outbound.protocol import UpstreamSession
from relay.outbound.trouble import Action, Scope, action_for, scope_of_break, scope_of_rcpt
from relay.smtp.conveying import Conveyed, forward
from relay.smtp.events import LocalProtocolError

Recipients = Sequence[Recipient]


class NextHop(Protocol):
    """The hosts of an upstream, and what is known of them."""

    factories: Sequence[QueuedClientFactory]
    max_recipients: int
    throttle_replies: tuple[str, ...]
    conversions: Conversions

    @property
    def stop_reply(self) -> Reply | None:
        """Set once nothing more may be begun."""

    def hosts_to_try(self) -> Sequence[QueuedClientFactory]:
        """In this order; those that failed lately are left out while others have not."""


class RunningAttempt:
    """Begin it with `begin`; it calls `done` once.

    `_owed`: recipients for whom something is still to be tried at this host; `_onward`: at the
    next one. `_outcomes` also holds what a recipient comes to should no further host do better.
    """

    __slots__ = (
        "_at",
        "_content",
        "_converted",
        "_conveyed",
        "_done",
        "_envelope",
        "_has_answer",
        "_hop",
        "_hosts",
        "_onward",
        "_outcomes",
        "_owed",
        "_sent",
        "_site",
        "_unfit",
    )

    def __init__(
        self,
        hop: NextHop,
        envelope: Envelope,
        content: Content,
        done: Callable[[Attempt], None],
        conveyed: Conveyed | None = None,
    ) -> None:
        self._conveyed = conveyed  # what the hosts are told of the client, where they ask for it
        self._hop = hop
        self._envelope = envelope
        self._content = content
        self._converted = 0  # octets of the copy that is made of it, or was
        self._done = done
        self._hosts = hop.hosts_to_try()
        self._at = 0
        self._owed: Recipients = envelope.recipients
        self._sent: Recipients = ()
        self._onward: list[Recipient] = []
        self._outcomes: dict[int, Outcome] = {}
        self._unfit: dict[int, Failed] = {}
        self._site: SiteFailure | None = None  # the last one
        self._has_answer = False  # some host gave its word on this message

    def begin(self) -> None:
        self._factory.submit(self)

    @property
    def _factory(self) -> QueuedClientFactory:
        return self._hosts[self._at]

    def __repr__(self) -> str:
        return f"<RunningAttempt owed={len(self._owed)} at {self._factory!r}>"

    # --- a session is there, or none ----------------------------------------------------------

    def start(self, session: UpstreamSession) -> bool:
        """Run what is owed, as much as the host takes in one transaction."""
        envelope = self._next_envelope(session.engine.max_recipients)
        try:
            fitting = fit(envelope, self._content, session.engine)
            if fitting.content is not self._content and not self._has_room(fitting.content):
                self._settle(envelope.recipients, Delayed(NO_ROOM, session.label))
                self._go_on()
                return False
            for recipient in envelope.recipients if fitting.refusals else ():
                if recipient.id in fitting.refusals:
                    self._judge_unfit(recipient, fitting.refusals[recipient.id], session.label)
            self._sent = fitting.envelope.recipients
            if self._sent:
                is_chunked = fitting.is_chunked
                forwarded = forward(self._conveyed, session.engine.extensions)
                session.run(
                    self, fitting.envelope, fitting.content, forwarded, is_chunked=is_chunked
                )
                return True
        except (OSError, LocalProtocolError) as error:
            why = getattr(error, "strerror", None) or error  # no path of ours in what senders read
            reply = Reply(451, "4.3.0", (f"message cannot be sent: {why}",))
            self._settle(envelope.recipients, Delayed(reply, session.label))
        self._go_on()
        return False

    def _has_room(self, copy: Content) -> bool:
        """For one copy at a time, however often it is made."""
        more = copy.size - self._converted
        if more > 0:
            if not self._hop.conversions.take(more):
                return False
            self._converted = copy.size
        return True

    def _next_envelope(self, limit_there: int) -> Envelope:
        """Takes as many recipients from what is owed as may go at once."""
        owed, self._owed = self._owed, ()
        limit = self._hop.max_recipients
        if limit_there and limit_there < limit:
            limit = limit_there
        if len(owed) > limit:
            owed, self._owed = owed[:limit], owed[limit:]
        if owed is self._envelope.recipients:
            return self._envelope
        return replace(self._envelope, recipients=tuple(owed))

    def site_failed(self, reply: Reply, label: str) -> None:
        """No session could be had at this host."""
        self._judge_site((), reply, label)

    # --- the host has answered ----------------------------------------------------------------

    def answered(self, session: UpstreamSession, answers: Answers, broken: Broken | None) -> None:
        """The transaction is over, one way or the other."""
        if not answers.is_clean:
            self._judge(session, answers, broken)
            return
        self._has_answer = True
        assert answers.content is not None
        outcome = Relayed(answers.content, session.label, session.engine.offers_dsn, session.tls)
        self._settle(self._sent, outcome)
        self._go_on()

    def _judge(self, session: UpstreamSession, answers: Answers, broken: Broken | None) -> None:
        undecided: Recipients = ()
        if answers.mail is not None:
            self._settle_by(Scope.MESSAGE, self._sent, answers.mail, session)
        else:
            undecided = self._judge_recipients(session, answers)
        if undecided and answers.data is not None:
            self._settle_by(Scope.MESSAGE, undecided, answers.data, session)
            undecided = ()
        if undecided:
            self._judge_break(session, undecided, answers.is_content_ended, broken or _UNANSWERED)
        else:
            self._go_on()

    def _judge_recipients(self, session: UpstreamSession, answers: Answers) -> Recipients:
        """Settle those that were answered for; returns the others."""
        undecided = []
        further = []
        has_accepted = False
        for recipient in self._sent:
            refusal = answers.rcpts.get(recipient.id)
            if refusal is None:
                has_accepted = True
                reply = answers.by_recipient.get(recipient.id, answers.content)
                if reply is None or answers.data is not None:
                    undecided.append(recipient)
                else:
                    self._settle_by(Scope.CONTENT, (recipient,), reply, session)
                continue
            scope = scope_of_rcpt(refusal, has_accepted=has_accepted)
            if self._action(scope, refusal) is Action.FURTHER:
                further.append(recipient)
            else:
                self._settle_by(scope, (recipient,), refusal, session)
        if further:
            self._owed = (*further, *self._owed)
        return undecided

    def _judge_break(
        self,
        session: UpstreamSession,
        undecided: Recipients,
        is_content_ended: bool,
        broken: Broken,
    ) -> None:
        """The session ended with these undecided."""
        is_stale = broken.cause is Cause.HOST and session.is_reused
        scope = scope_of_break(is_stale=is_stale, is_content_ended=is_content_ended)
        if broken.cause is Cause.LOCAL and scope is not Scope.SILENCE:
            if self._hop.stop_reply is None:  # else it is withdrawn, nobody refused it
                self._settle(undecided, Delayed(broken.reply, session.label, tls=session.tls))
            self._go_on()
        elif scope is Scope.SITE:
            self._factory.site_broke()
            self._judge_site(undecided, broken.reply, session.label)
        elif self._action(scope, broken.reply) is Action.FRESH_SESSION:
            self._owed = (*undecided, *self._owed)
            self._go_on(is_fresh=True)
        else:
            lost = Delayed(broken.reply, session.label, is_unknown=True, tls=session.tls)
            self._settle(undecided, lost)
            self._go_on()

    def _judge_site(self, undecided: Recipients, reply: Reply, label: str) -> None:
        """This host is out of the question for all that is left."""
        was_refused = self._site is not None and self._site.is_refusal
        self._site = SiteFailure(reply, label, was_refused or self._factory.is_refused(reply))
        if self._action(Scope.SITE, reply) is Action.NEXT_HOST:
            self._onward += undecided
            self._onward += self._owed
        self._owed = ()
        self._go_on()

    def _judge_unfit(self, recipient: Recipient, reply: Reply, label: str) -> None:
        self._has_answer = True
        self._unfit[recipient.id] = Failed(reply, label)
        if self._action(Scope.ABILITY, reply) is Action.NEXT_HOST:
            self._onward.append(recipient)

    # --- decisions carried out ----------------------------------------------------------------

    def _action(self, scope: Scope, reply: Reply) -> Action:
        """Hosts left out for their trouble count only as long as no other gave its word."""
        has_next = self._at + 1 < len(self._hosts)
        if not has_next and not self._has_answer:
            has_next = bool(self._untried())
        return action_for(scope, reply, has_next_host=has_next)

    def _untried(self) -> Sequence[QueuedClientFactory]:
        return [factory for factory in self._hop.factories if factory not in self._hosts]

    def _settle_by(
        self, scope: Scope, recipients: Recipients, reply: Reply, session: UpstreamSession
    ) -> None:
        if self._hop.throttle_replies and str(reply).startswith(self._hop.throttle_replies):
            self._site = SiteFailure(reply, session.label)  # whose other mail would fare the same
            self._owed = ()
            return
        self._has_answer = True
        action = self._action(scope, reply)
        outcome: Outcome
        if action is Action.RELAY:
            outcome = Relayed(reply, session.label, session.engine.offers_dsn, session.tls)
        elif action is Action.FAIL:
            outcome = Failed(reply, session.label, session.tls)
        else:
            outcome = Delayed(reply, session.label, tls=session.tls)
        self._settle(recipients, outcome)
        if action is Action.NEXT_HOST:
            self._onward += recipients

    def _settle(self, recipients: Recipients, outcome: Outcome) -> None:
        outcomes = self._outcomes
        for recipient in recipients:
            outcomes[recipient.id] = outcome

    def _go_on(self, is_fresh: bool = False) -> None:
        """To what is left: at this host, then at the next; else that was it."""
        if self._hop.stop_reply is not None:
            self._finish(Delayed(self._hop.stop_reply, ""))
        elif self._owed:
            if is_fresh:
                self._factory.submit_fresh(self)
            else:
                self._factory.submit(self)
        elif self._onward:
            self._owed, self._onward = self._onward, []
            self._at += 1
            if self._at == len(self._hosts):
                self._hosts = (*self._hosts, *self._untried())
            self._factory.submit(self)
        else:
            site = self._site
            self._finish(None if site is None else Delayed(site.reply, site.host))

    def _finish(self, undecided: Delayed | None) -> None:
        outcomes = self._outcomes
        self._hop.conversions.give(self._converted)
        if self._hop.stop_reply is not None and not outcomes:
            self._done(Attempt(is_withdrawn=True))
            return
        site = None
        if len(outcomes) < len(self._envelope.recipients):
            if self._site is not None and not self._has_answer and self._hop.stop_reply is None:
                site = self._site
            else:
                self._complete(undecided)
        self._done(Attempt(outcomes, site))

    def _complete(self, undecided: Delayed | None) -> None:
        """Whoever was only unfit has failed, if every host was asked; else waits for the others."""
        is_final = self._site is None and not self._untried()
        for recipient in self._envelope.recipients:
            outcome: Outcome | None = self._unfit.get(recipient.id)
            if outcome is not None and not is_final:
                reply = outcome.reply
                waits = replace(reply, code=451, status=f"4{reply.status[1:]}")
                outcome = Delayed(waits, outcome.host)
            outcome = outcome or undecided
            if outcome is not None:
                self._outcomes.setdefault(recipient.id, outcome)


_UNANSWERED: Final = Broken(Cause.FAULT, Reply(451, "4.4.2", ("host left recipients unanswered",)))
