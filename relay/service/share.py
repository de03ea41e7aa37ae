"""What one worker of several is told of itself by its supervisor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.inbound.conduct import Conduct
from relay.outbound.identity.shared_token import SharedTokens
from relay.places import SharedPlaces
from relay.users.failures import Failures


@dataclass(frozen=True, slots=True)
class Share:
    """Its number of how many; the descriptors of its listening sockets, by listener; where it takes
    places; clients' errors and failed authentications, which all workers count; access tokens,
    which they share; whom to tell that it takes mail, and that it has none left. Without sockets it
    only delivers what is in its queue."""

    number: int
    of: int
    sockets: Mapping[str, int]
    places: SharedPlaces
    conduct: Conduct
    failures: Failures
    tokens: SharedTokens
    ready: Callable[[], None]
    drained: Callable[[], None]

    @property
    def takes_mail(self) -> bool:
        return bool(self.sockets)
