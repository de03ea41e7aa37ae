"""Fetches access tokens of one grant at its endpoint, and writes down rotated refresh tokens.

Whoever calls sees to it that one request is under way at a time (`shared_token`).
"""

import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config.upstream import OAuth
from relay.notices import Alarm, Observer
from relay.outbound.identity.endpoint import Answer, TokenEndpoint
from relay.outbound.identity.grant_secrets import account_in, secrets_of
from relay.outbound.identity.grants import (
    BadKey,
    Form,
    NoToken,
    Token,
    assertion_form,
    client_form,
    read_answer,
    refresh_form,
)
from relay.outbound.identity.secret import SecretUnusable, Version, write_secret
from relay.outbound.identity.shared_token import Held
from relay.outbound.web.https import NotFetched

LATE = 120.0
"""Seconds after which an answer with a refresh token in it is given up. Nobody waits that long; but
an endpoint that has rotated the token takes the old one for stolen when it is shown again."""

_log = Logger()


class Fetcher:
    """A TokenSource. `user`: whom a service account acts for. Raises TlsUnusable where
    oauth.ca_file cannot be used."""

    def __init__(self, user: str, oauth: OAuth, observe: Observer, reactor: Any) -> None:
        self._user = user
        self._oauth = oauth
        self._observe = observe
        self._reactor = reactor
        self._secrets = secrets_of(oauth)
        within = max(oauth.timeout, LATE) if oauth.grant == "refresh-token" else oauth.timeout
        self._endpoint = TokenEndpoint(
            oauth.token_url, oauth.ca_file, oauth.timeout, within, reactor
        )

    def fetch(self, refused: str) -> Deferred[Held]:
        """Another one than any before, so that `refused` makes no difference."""
        return Deferred.fromCoroutine(self._fetch())

    async def _fetch(self) -> Held:
        made_of = {what: each.secret.version() for what, each in self._secrets.items()}
        try:
            form, shown = self._form()
        except (SecretUnusable, BadKey) as error:
            raise NoToken(str(error), is_refusal=True) from None
        token = await self._ask(form, shown)
        if token.refresh_token and token.refresh_token not in shown:
            self._keep(token.refresh_token, made_of)
        now = self._reactor.seconds()
        return Held(token.access, now, token.life, tuple(made_of.values()))

    def _ask(self, form: Form, shown: tuple[str, ...]) -> Deferred[Token]:
        """Fails with NoToken alone."""

        def read(answer: Answer) -> Token:
            code, body = answer
            return read_answer(code, body, shown)

        return self._endpoint.ask(form).addCallback(read).addErrback(self._broke)

    def _broke(self, reason: Failure) -> Token:
        is_known = reason.check(NoToken, NotFetched) is not None
        if not is_known:
            _log.failure("the answer of a token endpoint broke its reader", reason)
        said = reason.getErrorMessage() if is_known else "local trouble"
        is_refusal = isinstance(reason.value, NoToken) and reason.value.is_refusal
        raise NoToken(f"no access token from {self._endpoint.host}: {said}", is_refusal=is_refusal)

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
        account = account_in(oauth, values["key"])
        now = time.time()  # it is compared with their clock; ours may be on its way back to right
        form = assertion_form(
            account, client_id or account.name, self._user, oauth.token_url, oauth.scope, now
        )
        return form, (form["assertion"],)

    def _keep(self, refresh_token: str, made_of: dict[str, Version | None]) -> None:
        """The endpoint gave a new refresh token: the old one may be worth nothing any more."""
        path, kept = self._oauth.refresh_token_file, self._secrets.get("refresh_token")
        if path is None or kept is None:
            return
        if kept.secret.version() not in (None, made_of["refresh_token"]):
            return  # somebody has put another one there meanwhile, and means it
        try:
            write_secret(path, refresh_token)
        except OSError as error:
            why = (
                f"the new one cannot be written to {path}: {error.strerror}; it is used until the"
                " relay stops, and lost then"
            )
            self._observe(Alarm(f"refresh token of {self._user}", why))
            kept.keep(refresh_token)
        else:
            made_of["refresh_token"] = kept.secret.version()

    def __repr__(self) -> str:
        return f"<Fetcher {self._oauth.grant} at {self._endpoint.host}>"
