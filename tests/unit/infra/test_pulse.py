import asyncio
import time

import pytest

from infra.pulse import Pulse
from rstar_core.errors import ShardTimeoutError, is_transient


def pulse(timeout=60.0, stall=60.0):
    return Pulse("search-7", timeout_seconds=timeout, stall_seconds=stall)


async def test_what_ends_in_time_is_returned_and_its_error_passed_on():
    async def work():
        return 42

    async def fail():
        raise ValueError("mine")

    assert await pulse().guard(work()) == 42
    with pytest.raises(ValueError, match="mine"):
        await pulse().guard(fail())


async def test_silence_ends_a_shard_and_cancels_what_it_waits_for():
    cancelled = []

    async def wait():
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(True)

    with pytest.raises(ShardTimeoutError, match=r"nothing came back to shard search-7 for 0\.05 s") as caught:
        await pulse(stall=0.05).guard(wait())
    assert cancelled == [True]
    assert is_transient(caught.value)


async def test_replies_keep_a_shard_alive_until_its_whole_time_is_over():
    watched = pulse(timeout=0.6, stall=0.3)

    async def answer_now_and_then():
        while True:
            await asyncio.sleep(0.02)
            watched.beat()

    with pytest.raises(ShardTimeoutError, match=r"search-7 took more than 0\.6 s.*goes on from its log"):
        await watched.guard(answer_now_and_then())


async def test_a_clock_that_is_set_changes_nothing(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 4e9)

    async def work():
        await asyncio.sleep(0.05)
        return "done"

    assert await pulse(timeout=5, stall=5).guard(work()) == "done"
