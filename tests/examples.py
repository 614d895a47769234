"""How many examples the property tests try: ``FNRUNNER_TEST_EXAMPLES``, by default 40, with another seed each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FNRUNNER_TEST_EXAMPLES", "40"))


def use() -> None:
    """From now on, where a test says nothing else. How long one takes depends on what runs beside it: nothing is held
    against that.
    """
    settings.register_profile(
        "fnrunner", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("fnrunner")
