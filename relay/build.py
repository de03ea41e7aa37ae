"""Tells whether the way of a message is Python or was compiled (README.rst, "Use it")."""

from importlib.util import find_spec


def how_built() -> str:
    """For operators: "compiled" or "Python"."""
    found = find_spec("relay.smtp.server")
    is_python = found is None or str(found.origin).endswith(".py")
    return "Python" if is_python else "compiled"
