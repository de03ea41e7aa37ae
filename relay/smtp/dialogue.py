"""The one dialogue table: in which state which command may come, and where its reply leads.

It knows no roles: the server moves by the replies it gives, the client by those it gets. A row
is state -> command -> first digit of the reply -> next state. `greeting`, `DOT` (the end of
dot-ended content) and `RESPONSE` (a line of an AUTH exchange) stand as commands, since they too are
answered. RFC 5321 4.1.4, RFC 3030 2, RFC 3207 4.2, RFC 4954 4.
"""

from enum import Enum
from typing import Final


class State(Enum):
    """Where a session stands."""

    CONNECTED = "connected"  # no greeting yet
    GREETED = "greeted"  # 220, but neither EHLO nor HELO yet
    READY = "ready"  # session initiated, no mail transaction
    AUTH = "auth"  # a challenge was given: its response is awaited
    MAIL = "mail"  # reverse-path accepted, no recipient yet
    RCPT = "rcpt"  # at least one recipient accepted
    CONTENT = "content"  # 354 was given: content up to the final dot
    CHUNKED = "chunked"  # a BDAT chunk was accepted, the last one is still to come
    REFUSED = "refused"  # a BDAT chunk was refused: the rest of them is refused too
    UNWANTED = "unwanted"  # 354 though no recipient was accepted: a lone dot (RFC 2920 3.1)
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is Python code; members are singletons


Moves = dict[int, State]
"""First digit of the reply -> next state. A digit that is missing is an impossible reply."""

GREETING: Final = "greeting"
DOT: Final = "DOT"
BDAT_LAST: Final = "BDAT LAST"
RESPONSE: Final = "RESPONSE"


def _either_way(accepted: State, refused: State) -> Moves:
    return {2: accepted, 4: refused, 5: refused}


def _anywhere(state: State, after_reset: State) -> dict[str, Moves]:
    """The commands that may come between any two others (RFC 5321 4.1.4)."""
    stays = _either_way(state, state)
    rows = dict.fromkeys(("NOOP", "HELP", "VRFY", "EXPN"), stays)
    rows |= {verb: _either_way(State.READY, state) for verb in ("EHLO", "HELO", "LHLO")}
    rows["RSET"] = _either_way(after_reset, state)
    rows["QUIT"] = _either_way(State.CLOSED, State.CLOSED)
    return rows


def _may_restart(state: State) -> dict[str, Moves]:
    """XCLIENT, outside a transaction: the session begins anew."""
    return {"XCLIENT": _either_way(State.GREETED, state)}


def _may_begin(state: State) -> dict[str, Moves]:
    """What begins a transaction. A pipelined DATA may be answered 354 all the same."""
    return {
        "MAIL": _either_way(State.MAIL, state),
        "DATA": {3: State.UNWANTED, 4: state, 5: state},
    }


def _authenticates() -> Moves:
    """AUTH and each response: a further challenge, or the end of the exchange."""
    return {3: State.AUTH} | _either_way(State.READY, State.READY)


TABLE: Final[dict[State, dict[str, Moves]]] = {
    State.CONNECTED: {GREETING: _either_way(State.GREETED, State.CLOSED)},
    State.GREETED: _anywhere(State.GREETED, State.GREETED) | _may_restart(State.GREETED),
    State.READY: _anywhere(State.READY, State.READY)
    | _may_restart(State.READY)
    | _may_begin(State.READY)
    | {
        "AUTH": _authenticates(),
        "XFORWARD": _either_way(State.READY, State.READY),
        "STARTTLS": _either_way(State.GREETED, State.READY),
    },
    State.AUTH: {RESPONSE: _authenticates()},
    State.MAIL: _anywhere(State.MAIL, State.READY)
    | {
        "RCPT": _either_way(State.RCPT, State.MAIL),
        "DATA": {3: State.UNWANTED, 4: State.MAIL, 5: State.MAIL},
    },
    State.RCPT: _anywhere(State.RCPT, State.READY)
    | {
        "RCPT": _either_way(State.RCPT, State.RCPT),
        "DATA": {3: State.CONTENT, 4: State.RCPT, 5: State.RCPT},
        "BDAT": _either_way(State.CHUNKED, State.REFUSED),
        BDAT_LAST: _either_way(State.READY, State.READY),
    },
    State.CONTENT: {DOT: _either_way(State.READY, State.READY)},
    State.CHUNKED: _anywhere(State.CHUNKED, State.READY)
    | {
        "BDAT": _either_way(State.CHUNKED, State.REFUSED),
        BDAT_LAST: _either_way(State.READY, State.READY),
    },
    State.REFUSED: _anywhere(State.REFUSED, State.READY)
    | _may_begin(State.REFUSED)
    | {
        "BDAT": {4: State.REFUSED, 5: State.REFUSED},
        BDAT_LAST: {4: State.READY, 5: State.READY},
    },
    State.UNWANTED: {DOT: _either_way(State.READY, State.READY)},
    State.CLOSED: {},
}


def next_state(state: State, command: str, code: int) -> State | None:
    """Where a reply leads; None: an impossible reply.

    421 ends the session wherever it comes (RFC 5321 3.8); another refusal of a command that is
    out of sequence changes nothing.
    """
    if code == 421:
        return State.CLOSED
    moves = TABLE[state].get(command)
    if moves is not None:
        return moves.get(code // 100)
    return state if code >= 400 else None


def render_dot() -> str:
    """The table as a Graphviz graph: one edge for all the commands that lead the same way."""
    edges: dict[tuple[str, str], list[str]] = {}
    for state, rows in TABLE.items():
        for command, moves in rows.items():
            for digit, target in moves.items():
                if target is not state:
                    edge = edges.setdefault((state.value, target.value), [])
                    edge.append(f"{command} {digit}xx")
    lines = ["digraph dialogue {"]
    for (source, goal), labels in edges.items():
        lines.append(f'    {source} -> {goal} [label="{_label(labels)}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _label(labels: list[str]) -> str:
    """One line of the label for each command, its digits together."""
    digits: dict[str, list[str]] = {}
    for label in labels:
        command, _, digit = label.rpartition(" ")
        digits.setdefault(command, []).append(digit)
    return "\\n".join(f"{command} {'/'.join(those)}" for command, those in digits.items())
