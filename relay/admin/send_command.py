"""relayctl send: sends test mail to the relay by SMTP, and shows what it answers."""

import getpass
import re
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path

import click

from relay.admin import tables
from relay.admin.asking import ask_password
from relay.admin.desk import Failed, Unusable, read_config
from relay.config import Config
from relay.config.values import SocketAddress
from relay.config.values import size as octets_of

TIMEOUT = 60.0
"""Seconds for each answer."""

MAX_COUNT = 1_000_000
_QUEUED = re.compile(r"queued as (\S+)")
_LINE = "This line fills the message up to the size that was asked for......\r\n"

Answer = tuple[int, bytes]


def _octets(context: click.Context, parameter: click.Parameter, value: str) -> int:
    try:
        return octets_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--to", "recipients", multiple=True, required=True, help="May be given many times.")
@click.option("--from", "sender", help="Reverse-path. Default: you at the relay's hostname.")
@click.option("--subject", default="A first mail through the relay", show_default=True)
@click.option("--size", default="0", callback=_octets, help="Fill it up to this size, e.g. 1M.")
@click.option("--count", type=click.IntRange(1, MAX_COUNT), default=1, help="How many.")
@click.option("--server", metavar="HOST:PORT", help="Default: the first listener.")
@click.option("--implicit-tls", is_flag=True, help="--server begins with TLS.")
@click.option("--user", help="Log in as this user; the password is asked for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message.")
@click.pass_obj
def send(
    config: Path,
    recipients: tuple[str, ...],
    sender: str | None,
    subject: str,
    size: int,
    count: int,
    server: str | None,
    implicit_tls: bool,
    user: str | None,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Send test mail, and show what the relay answers. Uses TLS where there is some, whatever the
    certificate."""
    loaded = None if server and sender is not None else read_config(config)
    host, port = _parse(server) if server else _listener(loaded)
    begins_with_tls = _begins_with_tls(loaded) if loaded and not server else implicit_tls
    if sender is None:
        sender = f"{getpass.getuser()}@{loaded.hostname if loaded else 'localhost'}"
    content = _content(sender, recipients, subject, size)
    password = ""
    if user:
        if server and host not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):  # nobody's certificate is checked
            raise Unusable("--user sends a password: without --server, or to this machine alone")
        password = ask_password(user, from_stdin=password_stdin)
    try:
        with _client(begins_with_tls) as client:
            talk = _Talk(client, is_quiet=as_json or count > 1)
            talk.hello(host, port)
            if user:
                talk.log_in(user, password)
            refused = [talk.send(sender, recipients, content, as_json) for _ in range(count)]
    except smtplib.SMTPException as error:
        raise Failed(f"cannot send to {host}:{port}: {_why(error)}") from None
    except OSError as error:
        raise Failed(f"cannot send to {host}:{port}: {_why(error)}; does the relay run?") from None
    if any(refused):
        raise SystemExit(1)


def _client(begins_with_tls: bool) -> smtplib.SMTP:
    if begins_with_tls:
        return smtplib.SMTP_SSL(timeout=TIMEOUT, context=_unverified())
    return smtplib.SMTP(timeout=TIMEOUT)


def _unverified() -> ssl.SSLContext:
    """This is our own relay, which is called by its address here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return getattr(error, "strerror", None) or str(error)


def _text(octets: bytes | str) -> str:
    text = octets.decode("utf-8", "replace") if isinstance(octets, bytes) else octets
    return tables.safe(text.replace("\n", " | "))


class _Talk:
    """One session. Shows each command and its reply, unless it is to be quiet."""

    def __init__(self, client: smtplib.SMTP, *, is_quiet: bool) -> None:
        self._client = client
        self._is_quiet = is_quiet

    def hello(self, host: str, port: int) -> None:
        """Raises SMTPException where the server does not want to talk."""
        self._client._host = host  # type: ignore[attr-defined]  # the name that TLS is told
        self._positive(f"connect to {host}:{port}", self._client.connect(host, port))
        self._positive("EHLO", self._client.ehlo())
        if self._client.has_extn("starttls"):
            self._positive("STARTTLS", self._client.starttls(context=_unverified()))
            self._positive("EHLO", self._client.ehlo())

    def log_in(self, user: str, password: str) -> None:
        """Raises SMTPException where it is refused, or not offered."""
        try:
            answer = self._client.login(user, password, initial_response_ok=True)
        except smtplib.SMTPNotSupportedError:
            raise smtplib.SMTPException("the relay offers no AUTH there") from None
        except UnicodeEncodeError:
            raise smtplib.SMTPException("smtplib sends names and passwords in ASCII only") from None
        self._show(f"AUTH (as {user})", answer)

    def _positive(self, command: str, answer: Answer) -> None:
        self._show(command, answer)
        if answer[0] >= 400:
            raise smtplib.SMTPResponseException(*answer)

    def send(self, sender: str, recipients: tuple[str, ...], content: bytes, as_json: bool) -> bool:
        """One message. True where anything of it was refused."""
        options = [] if content.isascii() else ["BODY=8BITMIME"]
        if not all(path.isascii() for path in (sender, *recipients)):
            options.append("SMTPUTF8")
            self._client.command_encoding = "utf-8"
        answers = {"": self._client.mail(sender, options)}
        self._show(f"MAIL FROM:<{sender}>", answers[""])
        if answers[""][0] < 400:
            for path in recipients:
                answers[path] = self._client.rcpt(path)
                self._show(f"RCPT TO:<{path}>", answers[path])
        refused = [path for path, answer in answers.items() if answer[0] >= 400]
        if "" in refused or len(refused) == len(recipients):
            final = answers[refused[-1]]
            self._client.rset()
        else:
            final = self._client.data(content)
            self._show("content", final)
        self._result(final, refused, as_json)
        return bool(refused) or final[0] >= 400

    def _result(self, final: Answer, refused: list[str], as_json: bool) -> None:
        text = f"{final[0]} {_text(final[1])}"
        queued = _QUEUED.search(text) if final[0] < 400 else None
        if as_json:
            queue_id = queued[1] if queued else None
            tables.show_json(
                {"id": queue_id, "reply": text, "refused": list(filter(None, refused))}
            )
        elif self._is_quiet:
            click.echo(text)

    def _show(self, command: str, answer: Answer) -> None:
        if not self._is_quiet:
            click.echo(f"{tables.safe(command)}\n    {answer[0]} {_text(answer[1])}")


def _listener(config: Config | None) -> tuple[str, int]:
    """Where the first listener can be reached from here."""
    if config is None:
        raise Unusable("pass --server HOST:PORT")
    host, port = config.listeners[0].host, config.listeners[0].port
    if not port:
        raise Unusable("the first listener's port is not in the config; pass --server HOST:PORT")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104


def _begins_with_tls(config: Config) -> bool:
    return config.listeners[0].tls == "implicit"


def _parse(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError(f"--server {server!r} is not HOST:PORT")
    return SocketAddress(host.removeprefix("[").removesuffix("]"), int(port))


def _content(sender: str, recipients: tuple[str, ...], subject: str, size: int) -> bytes:
    message = EmailMessage(SMTP.clone(utf8=True))
    message["From"] = sender or "test@localhost"
    message["To"] = ", ".join(recipients)
    message["Subject"] = " ".join(subject.split())
    message["Date"] = formatdate(time.time(), localtime=True)
    message["Message-ID"] = make_msgid(domain="relayctl.invalid")
    message.set_content("Sent by relayctl to see whether the relay works.\n")
    content = message.as_bytes()
    missing = max(0, size - len(content))
    filler = (_LINE * (missing // len(_LINE) + 1)).encode()[:missing]
    return content + (filler[:-2] + b"\r\n" if missing >= 2 else b"")
