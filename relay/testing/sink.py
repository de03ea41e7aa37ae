"""`twistd -n relay-sink`: an upstream for trying things out, that keeps mail and answers as told.

Its options and its service. Not for mail that matters: it keeps without syncing, checks nobody
and listens on loopback unless told otherwise.
"""

import socket
from pathlib import Path
from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import Logger
from twisted.python import usage

from relay.net.ports import listen_tcp
from relay.smtp.server import ServerSettings
from relay.testing.sink_mail import MailCount, MailDirectory
from relay.testing.sink_protocol import SinkFactory
from relay.testing.sink_rules import Rule, RuleError, Rules, parse_rule

DEFAULT_LISTEN = "127.0.0.1:2526"
BACKLOG = 512
MAX_MESSAGE_SIZE = 1 << 30
MAX_RECIPIENTS = 50_000


def _keywords(text: str) -> frozenset[str]:
    return frozenset(word.strip().upper() for word in text.split(",") if word.strip())


class Options(usage.Options):
    """The command line, checked as far as it can be without touching anything."""

    synopsis = "[options]   e.g. --dir inbox --fail rcpt:bad@*=550 --fail dot=451@0.1"
    longdesc = """An SMTP server to send mail to while trying things out. It takes everything,
keeps each message as an .eml file in --dir (or only counts them) and fails as it is told.
--fail STEP[:GLOB]=ACTION[@SHARE] may be given many times; the first that hits counts.
STEP is connect, ehlo, mail, rcpt, data or dot (the end of content). GLOB is for the client's
address, the EHLO name, the reverse-path, the recipient, or (data, dot) any of the recipients.
ACTION is a reply code with or without text ('550 5.1.1 no such user'), drop (reset the
connection), stall (never answer) or delay5s (then go on). SHARE is 0.1 or 10%: how often."""

    optParameters = [
        ["listen", "l", DEFAULT_LISTEN, "Address to listen on: IP:PORT, [IPv6]:PORT or PORT."],
        ["dir", "d", None, "Keep mail in this directory. Default: only count it."],
        ["hostname", None, "sink.invalid", "The name in the greeting."],
        ["seed", None, None, "Number that makes the shares come out the same each time.", int],
        ["max-size", None, MAX_MESSAGE_SIZE, "Largest message in octets.", int],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules: list[Rule] = []
        self.only: frozenset[str] | None = None
        self.without: frozenset[str] = frozenset()

    def opt_fail(self, rule: str) -> None:
        """STEP[:GLOB]=ACTION[@SHARE]: fail there. May be given many times."""
        try:
            self.rules.append(parse_rule(rule))
        except RuleError as error:
            raise usage.UsageError(f"--fail {error}") from None

    def opt_extensions(self, names: str) -> None:
        """Offer only these EHLO keywords, e.g. PIPELINING,8BITMIME ("none": no keyword)."""
        self.only = _keywords(names) - {"NONE"}

    def opt_without(self, names: str) -> None:
        """Leave these EHLO keywords out, e.g. CHUNKING,DSN."""
        self.without |= _keywords(names)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{rest[0]!r} is too much; addresses are given with --listen")

    def postOptions(self) -> None:
        self.host, self.port = parse_listen(self["listen"])
        if self["max-size"] < 1:
            raise usage.UsageError("--max-size must be at least 1")


def parse_listen(text: str) -> tuple[str, int]:
    """ "127.0.0.1:2526", "[::1]:2526" or "2526" (loopback). Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.inet_pton(family, host)
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
    except (OSError, ValueError):
        raise usage.UsageError(
            f"--listen {text!r} is not IP:PORT; write e.g. {DEFAULT_LISTEN} or [::1]:2526"
        ) from None
    return host, number


class SinkService(Service):
    """Listens from startService to stopService, then says how much it took."""

    _log = Logger()

    def __init__(self, options: Options, reactor: object = None) -> None:
        self._options = options
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self.keeper = MailCount()

    def startService(self) -> None:
        """Raises SystemExit with one line where it cannot listen or keep mail."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        options = self._options
        if options["dir"]:
            self.keeper = _directory(options["dir"])
        self.factory = SinkFactory(
            _settings(options),
            Rules(options.rules, options["seed"]),
            self.keeper,
            IReactorTime(self._reactor),
            only=options.only,
            without=options.without,
        )
        self._listen(options.host, options.port)
        super().startService()  # type: ignore[no-untyped-call]
        self._log.info(
            "sink listens on {host}:{port}, {what}",
            host=options.host,
            port=self.address[1],
            what=f"keeps mail in {options['dir']}" if options["dir"] else "counts mail",
        )

    def _listen(self, host: str, port: int) -> None:
        try:
            self._port = listen_tcp(self._reactor, port, self.factory, BACKLOG, host)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", error.socketError)
            raise SystemExit(
                f"relay-sink: cannot listen on {host}:{port}: {reason};"
                " choose another address with --listen"
            ) from None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens really (the port may have been 0)."""
        assert self._port is not None
        return self._options.host, cast(IPv4Address | IPv6Address, self._port.getHost()).port

    def stopService(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        if self._port is None:
            return
        await maybeDeferred(self._port.stopListening)
        self.factory.drop_sessions()
        self.keeper.close()
        self._log.info(
            "sink took {mail}, in {sessions} sessions",
            mail=self.keeper,
            sessions=self.factory.sessions,
        )


def _directory(path: str) -> MailDirectory:
    try:
        return MailDirectory(Path(path))
    except OSError as error:
        raise SystemExit(
            f"relay-sink: cannot keep mail in {path}: {error.strerror}; choose another --dir"
        ) from None


def _settings(options: Options) -> ServerSettings:
    return ServerSettings(
        hostname=options["hostname"],
        max_message_size=options["max-size"],
        max_recipients=MAX_RECIPIENTS,
    )


def makeService(options: Options) -> SinkService:
    """What twistd calls; nothing is opened before the service starts."""
    return SinkService(options)
