"""Access tokens of one identity: fetched when they are needed, renewed before they expire.

One request is in flight at a time, whoever waits. A token endpoint that is away, or fails, delays
the mail; one that says that the grant is no good is a refusal. Each process fetches its own.
"""

import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config.schema import Identity, OAuth, Upstream
from relay.mail.reply import reply
from relay.notices import Alarm, Observer
from relay.outbound.identity.account import NoLogin
from relay.outbound.identity.endpoint import Answer, TokenEndpoint
from relay.outbound.identity.grants import (
    BadKey,
    Form,
    NoToken,
    Token,
    assertion_form,
    client_form,
    read_answer,
    read_key,
    refresh_form,
)
from relay.outbound.identity.secret import (
    Remembered,
    Secret,
    SecretUnusable,
    Version,
    write_secret,
)
from relay.outbound.web.https import NotFetched
from relay.smtp.sasl.client import Login

EARLY = 300.0
"""Seconds before its end that a token is renewed, or half of its life where that is shorter."""

TOO_LATE = 10.0
"""Seconds before its end from which a token is not used any more: a session takes time to open."""

PATIENCE = 5.0
"""Seconds after a failure within which the endpoint is not asked again."""

JUST_FETCHED = 60.0
"""Seconds for which a token counts as new: refused within them, another one would be, too."""

_log = Logger()


def secrets_of(oauth: OAuth) -> dict[str, Remembered]:
    """By key, those that the config names."""
    places = {
        "client_secret": (oauth.client_secret_file, oauth.client_secret_env),
        "refresh_token": (oauth.refresh_token_file, None),
        "key": (oauth.key_file, None),
    }
    return {
        what: Remembered(Secret(f"oauth.{what}", *place))
        for what, place in places.items()
        if any(place)
    }


class Tokens:
    """Credentials (see `account`). Raises TlsUnusable where oauth.ca_file cannot be used."""

    def __init__(
        self,
        keys: Upstream | Identity,
        oauth: OAuth,
        observe: Observer,
        reactor: Any,
        *,
        may_go_plain: bool,
    ) -> None:
        self._oauth = oauth
        self._observe = observe
        self._user = keys.user or ""
        self._mechanisms = keys.mechanisms
        self._may_go_plain = may_go_plain
        self._reactor = reactor
        self._secrets = secrets_of(oauth)
        self._endpoint = TokenEndpoint(oauth.token_url, oauth.ca_file, oauth.timeout, reactor)
        self._login: Login | None = None
        self._fetched_at = self._renew_at = self._expires_at = 0.0
        self._waiting: list[Deferred[Login]] | None = None  # None: nothing is in flight
        self._failure: NoLogin | None = None
        self._failed_at = 0.0
        self._is_doubted = False  # the last token was refused, and this one had in its place
        self._made_of: tuple[Version | None, ...] = ()

    # --- what is asked of it ------------------------------------------------------------------

    def login(self) -> Deferred[Login]:
        """Fails with NoLogin alone."""
        now = self._reactor.seconds()
        if self._login is not None and now < self._renew_at:
            return succeed(self._login)
        if self._failure is not None and now < self._failed_at + PATIENCE and self._is_as_it_was:
            return self._without(self._failure)
        waits: Deferred[Login] = Deferred()
        if self._waiting is None:
            self._waiting = [waits]
            self._fetch()
        else:
            self._waiting.append(waits)
        return waits

    @property
    def _is_as_it_was(self) -> bool:
        """No file has changed since the last fetch."""
        return self.version() == self._made_of

    def again(self, login: Login) -> bool:
        """A token that was not just fetched may have been revoked (535): another one is had."""
        if self._login is not None and login.secret != self._login.secret:
            return True  # it was renewed meanwhile
        is_new = self._reactor.seconds() < self._fetched_at + JUST_FETCHED
        self._login = None
        is_second, self._is_doubted = is_new and self._is_doubted, True
        if is_second:
            self._is_doubted = False
        return not is_second

    def version(self) -> tuple[Version | None, ...]:
        return tuple(each.secret.version() for each in self._secrets.values())

    def __repr__(self) -> str:
        return f"<Tokens of {self._user} from {self._endpoint.host}>"

    # --- one fetch ----------------------------------------------------------------------------

    def _fetch(self) -> None:
        self._made_of = self.version()
        try:
            form, shown = self._form()
        except (SecretUnusable, BadKey) as error:
            self._failed(NoLogin(reply(451, "4.7.0", str(error)), is_refusal=True))
            return
        self._endpoint.ask(form).addCallback(self._answered, shown).addErrback(self._broke)

    def _form(self) -> tuple[Form, tuple[str, ...]]:
        """What is asked, and the secrets in it. Raises SecretUnusable or BadKey."""
        oauth = self._oauth
        values = {what: each.value() for what, each in self._secrets.items()}
        client_id, secret = oauth.client_id or "", values.get("client_secret", "")
        if oauth.grant == "refresh-token":
            token = values["refresh_token"]
            return refresh_form(client_id, secret, token, oauth.scope), (secret, token)
        if oauth.grant == "client-credentials":
            return client_form(client_id, secret, oauth.scope), (secret,)
        account = _key_of(oauth, values["key"])
        now = time.time()  # it is compared with their clock; ours may be on its way back to right
        form = assertion_form(
            account, client_id or account.name, self._user, oauth.token_url, oauth.scope, now
        )
        return form, (form["assertion"],)

    def _answered(self, answer: Answer, shown: tuple[str, ...]) -> None:
        token = read_answer(*answer, shown)
        if token.refresh_token and token.refresh_token not in shown:
            self._keep(token)
        now = self._fetched_at = self._reactor.seconds()
        self._expires_at = now + token.life
        self._renew_at = self._expires_at - min(EARLY, token.life / 2)
        self._failure = None
        login = Login(self._user, token.access, True, self._mechanisms, self._may_go_plain)
        self._login = login
        for waits in self._over():
            waits.callback(login)

    def _keep(self, token: Token) -> None:
        """The endpoint gave a new refresh token: the old one may be worth nothing any more."""
        path = self._oauth.refresh_token_file
        if path is None:
            return
        try:
            write_secret(path, token.refresh_token)
        except OSError as error:
            why = (
                f"the new one cannot be written to {path}: {error.strerror}; it is used until the"
                " relay stops, and lost then"
            )
            self._observe(Alarm(f"refresh token of {self._user}", why))
            self._secrets["refresh_token"].keep(token.refresh_token)

    def _broke(self, reason: Failure) -> None:
        if not reason.check(NoToken, NotFetched):
            _log.failure("the answer of a token endpoint broke its reader", reason)
        is_known = reason.check(NoToken, NotFetched) is not None
        said = reason.getErrorMessage() if is_known else "local trouble"
        trouble = reply(451, "4.7.0", f"no access token from {self._endpoint.host}: {said}")
        is_refusal = isinstance(reason.value, NoToken) and reason.value.is_refusal
        self._failed(NoLogin(trouble, is_refusal=is_refusal))

    def _failed(self, failure: NoLogin) -> None:
        self._failure, self._failed_at = failure, self._reactor.seconds()
        for waits in self._over():
            self._without(failure).chainDeferred(waits)

    def _over(self) -> list[Deferred[Login]]:
        waiting, self._waiting = self._waiting or [], None
        return waiting

    def _without(self, failure: NoLogin) -> Deferred[Login]:
        """The old token, as long as that is good."""
        is_good = self._reactor.seconds() < self._expires_at - TOO_LATE
        if self._login is not None and is_good:
            return succeed(self._login)
        return fail(NoLogin(failure.trouble, is_refusal=failure.is_refusal))


def _key_of(oauth: OAuth, text: str) -> Any:
    """Raises BadKey."""
    try:
        account = read_key(text)
    except BadKey as error:
        raise BadKey(f"oauth.key_file: {oauth.key_file} {error}") from None
    if not (oauth.client_id or account.name):
        raise BadKey("oauth.client_id: is missing, and oauth.key_file does not tell it")
    return account


def problems(oauth: OAuth) -> list[str]:
    """What cannot be used, before the relay starts."""
    found = []
    for what, each in secrets_of(oauth).items():
        try:
            text = each.value()
            if what == "key":
                _key_of(oauth, text)
        except (SecretUnusable, BadKey) as error:
            found.append(str(error))
    return found
