"""One observer out of several. A broken one is logged, and hurts neither mail nor the others."""

from twisted.logger import Logger

from relay.notices import Notice, Observer

_log = Logger()


def fan_out(*observers: Observer) -> Observer:
    """An observer that tells all of these, in this order."""

    def tell(notice: Notice) -> None:
        for observer in observers:
            try:
                observer(notice)
            except Exception:  # noqa: BLE001
                _log.failure("observer {observer!r} is broken", observer=observer)

    return tell
