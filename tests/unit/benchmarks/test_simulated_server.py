import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.clock import run_virtual
from benchmarks.simulation.runner import SimulatedRunner
from benchmarks.simulation.server import BatchServer
from rstar_core.requests import Execute


def timeline(server, requests):
    """When each of the requests (seconds of arrival, lengths) was answered, and the end of all."""

    async def ask(arrival, lengths):
        await asyncio.sleep(arrival)
        await server.generate(lengths)
        return asyncio.get_running_loop().time()

    async def main():
        return await asyncio.gather(*(ask(*request) for request in requests))

    return run_virtual(main())


def test_one_sequence_alone_takes_8_05_ms_a_token():
    ends, _ = timeline(BatchServer(), [(0.5, [40])])
    assert ends == [pytest.approx(0.5 + 40 * 8.05e-3)]


def test_a_sequence_that_comes_during_a_step_enters_at_its_end():
    # Alone: boundaries at 8.05, 16.10, 24.15 ms; the second comes at 20. Three steps of 8.10 together: 48.45.
    # Then 10 − 3 − 3 steps alone: 80.65.
    ends, _ = timeline(BatchServer(), [(0.0, [10]), (0.020, [3])])
    assert ends == [pytest.approx(80.65e-3), pytest.approx(48.45e-3)]


def test_sequences_that_come_together_begin_together():
    ends, _ = timeline(BatchServer(), [(1.0, [5]), (1.0, [5])])
    assert ends == [pytest.approx(1.0 + 5 * 8.10e-3)] * 2


def test_a_request_is_answered_when_its_last_sequence_ends():
    ends, _ = timeline(BatchServer(), [(0.0, [1, 4])])
    assert ends == [pytest.approx(8.10e-3 + 3 * 8.05e-3)]


def test_300_sequences_never_run_more_than_256_and_the_others_wait_their_turn():
    server = BatchServer()
    ends, _ = timeline(server, [(0.0, [10]) for _ in range(300)])
    first, second = 10 * (8e-3 + 256 * 5e-5), 10 * (8e-3 + 44 * 5e-5)
    assert server.most_running == 256
    assert ends == [pytest.approx(first)] * 256 + [pytest.approx(first + second)] * 44
    assert server.slot_seconds == pytest.approx(256 * first + 44 * second)


def test_full_batches_from_beginning_to_end_meet_the_token_bound():
    server = BatchServer(num_slots=4)
    _, makespan = timeline(server, [(0.0, [7] * 12)])
    assert makespan == pytest.approx(server.token_bound())
    assert server.busy_share(makespan) == pytest.approx(1.0)


def one_step_at_a_time(requests, num_slots):
    """The timeline in the plainest way: every step of every sequence."""
    waiting = [(arrival, index, length) for index, (arrival, many) in enumerate(requests) for length in many]
    waiting.sort(key=lambda sequence: sequence[0])
    now, running, ends = 0.0, [], {}
    while waiting or running:
        if not running:
            now = max(now, waiting[0][0])
        while waiting and waiting[0][0] <= now + 1e-9 and len(running) < num_slots:
            running.append(list(waiting.pop(0)[1:]))
        now += 8e-3 + 5e-5 * len(running)
        for sequence in running:
            sequence[1] -= 1
            ends[sequence[0]] = now
        running = [sequence for sequence in running if sequence[1]]
    return [ends[index] for index in range(len(requests))]


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=5)
ARRIVALS = st.lists(st.integers(0, 200), min_size=1, max_size=8, unique=True)  # milliseconds


@settings(max_examples=60, deadline=None)
@given(ARRIVALS.flatmap(lambda each: st.tuples(*(st.tuples(st.just(at / 1000), LENGTHS) for at in each))))
def test_events_give_the_times_of_a_plain_step_by_step_run_and_never_beat_the_token_bound(requests):
    server = BatchServer(num_slots=4)
    ends, makespan = timeline(server, requests)
    assert ends == pytest.approx(one_step_at_a_time(requests, 4))
    assert makespan >= server.token_bound() - 1e-9
    assert server.busy_share(makespan) <= 1.0 + 1e-9
    assert server.most_running <= 4


def test_a_third_program_waits_for_the_first_of_two_workers():
    codes = ("run(0.3)\nprint(1)\n", "run(0.1)\n", "run(0.1)\n", "run(0.15)\n")

    async def main():
        runner = SimulatedRunner(num_workers=2)
        return await asyncio.gather(
            runner.execute(Execute("", codes[:2])), runner.execute(Execute("", codes[2:]))
        )

    (first, second), end = run_virtual(main())
    assert [each.stdout for each in first] == ["1", ""]
    assert [each.seconds for each in second] == [0.1, 0.15]
    assert end == pytest.approx(0.1 + 0.1 + 0.15)
