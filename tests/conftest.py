"""What holds for every test: how hypothesis looks for examples.

No deadlines, and no complaint that making examples is slow: both judge the machine, not the code. The
examples are the same in every run, so that a run that fails says something about the change it
tests. `pytest --hypothesis-profile explore` looks for new ones.
"""

from hypothesis import HealthCheck, settings

_PACE = (HealthCheck.too_slow,)

settings.register_profile("same", deadline=None, suppress_health_check=_PACE, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, suppress_health_check=_PACE, derandomize=False, print_blob=True)
settings.load_profile("same")
