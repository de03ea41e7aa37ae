"""A shell for the server engine without a network: the policy of the dialogues, all that happened.

Mail for *@example.org and <postmaster> is taken, other recipients get 550 5.7.1. The one user is
"user", with the password "pencil".
"""

from relay.mail.reply import Reply, reply
from relay.smtp.events import (
    PAUSED,
    Answered,
    Auth,
    AuthResponse,
    Closed,
    ContentBegin,
    ContentChunk,
    ContentEnd,
    Hello,
    Mail,
    Quit,
    Rcpt,
    ServerEvent,
    Signal,
    StartTls,
)
from relay.smtp.sasl.commands import challenge
from relay.smtp.sasl.server import MECHANISMS, Bad, Challenge, CheckPassword, Denied, Mechanism
from relay.smtp.server import ServerEngine, ServerSettings
from tests.smtp.sasl.exchanges import is_right, played

SUCCEEDED = reply(235, "2.7.0", "Succeeded")
FAILED = reply(535, "5.7.8", "Failed")
MALFORMED = reply(501, "5.5.2", "Malformed")
DENIED = reply(550, "5.7.1", "Relaying denied")
ANSWERS = {
    Mail: reply(250, "2.1.0", "Sender OK"),
    Rcpt: reply(250, "2.1.5", "Recipient OK"),
    ContentBegin: reply(354, "", "Go on"),
    ContentEnd: reply(250, "2.0.0", "queued as ID"),
    StartTls: reply(220, "2.0.0", "Go on"),
    Quit: reply(221, "2.0.0", "Bye"),
}


def settings(**changes: object) -> ServerSettings:
    values: dict = {"max_message_size": 1_000_000, "max_recipients": 100} | changes
    if values.pop("auth", "none") != "none":
        values["mechanisms"] = tuple(MECHANISMS)
    return ServerSettings("relay.example.net", **values)


class Shell:
    """Answers every event at once; `refusals` by event class come before the usual answers."""

    def __init__(self, settings: ServerSettings, refusals: dict[type, Reply] | None = None) -> None:
        self.engine = ServerEngine(settings)
        self.refusals = refusals or {}
        self.events: list[ServerEvent] = []
        self.contents: list[bytes] = []  # of messages accepted
        self.chunks: list[bytes] = []
        self.is_closed = False
        self.mechanism: Mechanism
        self.sent = self.engine.reply(self.engine.greeting())

    def say(self, *pieces: bytes) -> bytes:
        """What comes back when the client sends these pieces."""
        before = len(self.sent)
        for piece in pieces:
            if not self.is_closed:
                self.engine.receive(piece)
                self._run()
        return self.sent[before:]

    def _run(self) -> None:
        while not self.is_closed:
            event = self.engine.next_event()
            if type(event) is Signal:
                assert event is not PAUSED, "paused though everything was answered"
                return
            self._note(event)
            answer = self._answer(event)
            if answer is not None:
                self.sent += self.engine.reply(answer)
                if type(event) is StartTls:
                    self.engine.tls_started()

    def _note(self, event: ServerEvent) -> None:
        """Chunks are joined: how content was cut does not count."""
        if type(event) is ContentChunk:
            assert event.octets
            self.chunks.append(event.octets)
            if type(self.events[-1]) is ContentChunk:
                event = ContentChunk(self.events.pop().octets + event.octets)
        if type(event) is ContentEnd:
            if event.refusal is None:
                self.contents.append(b"".join(self.chunks))
            else:  # how much of refused content came out does not count either
                event = ContentEnd(0, event.refusal, event.must_close)
                if type(self.events[-1]) is ContentChunk:
                    self.events.pop()
        if type(event) is not ContentChunk:
            self.chunks = [] if self._ends_content(event) else self.chunks
        self.events.append(event)
        self.is_closed = type(event) in (Quit, Closed) or getattr(event, "must_close", False)

    def _ends_content(self, event: ServerEvent) -> bool:
        return not (type(event) is Answered and not event.resets)

    def _answer(self, event: ServerEvent) -> Reply | None:
        kind = type(event)
        if kind is ContentChunk or kind is Closed:
            return None
        if kind in self.refusals:
            return self.refusals[kind]
        if kind is Answered:
            return event.reply
        if kind is Hello:
            return self.engine.hello_reply()
        if kind is Auth:
            self.mechanism = MECHANISMS[event.mechanism]("nonce")
            return self._authenticate(event.response)
        if kind is AuthResponse:
            return self._authenticate(event.octets)
        if kind is Rcpt and not _is_ours(event.forward_path.lower()):
            return DENIED
        if kind is ContentEnd and event.refusal is not None:
            return event.refusal
        return ANSWERS[kind]

    def _authenticate(self, response: bytes | None) -> Reply:
        try:
            step = played(self.mechanism, response)
        except Bad:
            return MALFORMED
        except Denied:
            return FAILED
        if type(step) is Challenge:
            return challenge(step.octets)
        if type(step) is CheckPassword and not is_right(step):
            return FAILED
        return SUCCEEDED


def _is_ours(forward_path: str) -> bool:
    return forward_path == "postmaster" or forward_path.endswith("@example.org")
