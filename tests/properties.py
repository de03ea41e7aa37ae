"""hypothesis as all tests here use it: no verdict depends on how fast this machine is."""

from hypothesis import HealthCheck, assume, given, note, settings

__all__ = ["assume", "given", "note", "settings"]

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
