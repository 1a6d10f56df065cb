"""Which kinds of events need a person."""

WARNINGS = frozenset({"throttle-begin", "engine-down", "kv-full", "slo-breach"})
ALARMS = frozenset({"gpu-lost", "xid"})
"""At once."""
