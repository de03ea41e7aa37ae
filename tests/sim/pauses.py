"""Lanes whose login is refused: nothing that waits there may expire."""

from typing import Any

from relay.mail.outcome import Failed
from relay.notices import Attempted, Notice
from tests.sim.oracle import token_in

NOTED_WITHIN = 60.0
"""Seconds in which a pause is known to whoever looks for expired mail, with the disk well."""


class Pauses:
    """Looks at the lanes whenever something is told."""

    def __init__(self, simulation: Any) -> None:
        self._world = simulation.world
        self._machine = simulation.machine
        self._oracle = simulation.oracle
        self._logins = simulation.logins
        self._since: dict[str, float] = {}
        if self._logins.is_used:
            self._machine.observers.append(self._heard)
            self._machine.when_started.append(self._since.clear)

    def _heard(self, notice: Notice) -> None:
        if isinstance(notice, Attempted) and isinstance(notice.outcome, Failed):
            lane = self._lane_of(notice)
            since = max(self._since.get(lane, self._world.now), self._machine.well_since())
            is_expired = notice.outcome.reply.status == "4.4.7"
            if is_expired and self._world.now > since + NOTED_WITHIN:
                self._world.blame(f"{notice.recipient} expired while the login was refused")
        self._look()

    def _lane_of(self, notice: Attempted) -> str:
        submission = self._oracle.submissions.get(token_in(notice.recipient))
        if submission is None:
            return notice.upstream
        user = self._logins.as_whom(notice.upstream, submission.reverse_path, submission.user)
        return user.replace(".", ":") or notice.upstream

    def _look(self) -> None:
        for lane in self._machine.service._stage.manager.lanes:
            if not lane.is_paused:
                self._since.pop(lane.name, None)
            else:
                self._since.setdefault(lane.name, self._world.now)
