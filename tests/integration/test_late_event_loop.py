"""The timer measures a loop that is really late."""

from __future__ import annotations

import asyncio
import time

from fnrunner.app.lateness import TICK_S, Lateness


async def test_a_loop_that_was_held_up_for_longer_than_a_second_is_reported() -> None:
    lateness = Lateness()
    lateness.start()
    try:
        await asyncio.sleep(TICK_S / 2)
        time.sleep(1.4)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        (problem,) = lateness.problems(asyncio.get_running_loop().time())
        assert "late within the last" in problem.message
    finally:
        await lateness.close()
        await lateness.close()
