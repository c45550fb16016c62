import asyncio
import time

import pytest

from benchmarks.simulation.clock import StalledError, run_virtual


def test_a_day_of_sleep_takes_no_time():
    async def sleep_a_day():
        await asyncio.sleep(86_400)
        return "slept"

    started = time.perf_counter()
    assert run_virtual(sleep_a_day()) == ("slept", 86_400.0)
    assert time.perf_counter() - started < 1.0


def test_sleepers_wake_in_the_order_of_their_timers():
    woken = []

    async def sleep(seconds):
        await asyncio.sleep(seconds)
        woken.append((seconds, asyncio.get_running_loop().time()))

    async def main():
        await asyncio.gather(*(sleep(seconds) for seconds in (3.0, 1.0, 2.0, 1.0)))

    _, end = run_virtual(main())
    assert woken == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert end == 3.0


def test_each_run_begins_at_time_zero():
    async def now():
        return asyncio.get_running_loop().time()

    assert run_virtual(now()) == run_virtual(now()) == (0.0, 0.0)


def test_waiting_for_what_never_happens_is_an_error_and_not_a_hang():
    async def wait():
        await asyncio.Event().wait()

    with pytest.raises(StalledError, match="no timer is set"):
        run_virtual(wait())
