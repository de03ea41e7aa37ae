"""The secrets that a grant of [oauth] is made of: where they are, and whether they can be used."""

from relay.config.upstream import OAuth
from relay.outbound.identity.grants import BadKey, ServiceAccount, read_key
from relay.outbound.identity.secret import Remembered, Secret, SecretUnusable, Version

Versions = tuple[Version | None, ...]


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


def versions_of(oauth: OAuth) -> Versions:
    """Of their files as they are now."""
    return tuple(each.secret.version() for each in secrets_of(oauth).values())


def account_in(oauth: OAuth, text: str) -> ServiceAccount:
    """The key file's content. Raises BadKey."""
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
                account_in(oauth, text)
        except (SecretUnusable, BadKey) as error:
            found.append(str(error))
    return found
