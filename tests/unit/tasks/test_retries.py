"""Whatever runs for long is tried again in the same way, and only after what can pass by itself."""

import itertools

import pytest
from prefect.states import Completed, Failed

from rstar_core.errors import ConfigError, EngineStoppedError, EngineUnavailableError, ShardTimeoutError
from tasks.evaluation import evaluate_shard
from tasks.maintenance import maintain_catalog
from tasks.options import RETRIES, retry_if_transient
from tasks.search import search_shard


@pytest.mark.parametrize("task", [search_shard, evaluate_shard, maintain_catalog], ids=lambda task: task.name)
def test_the_waits_grow_exponentially_and_are_not_the_same_for_all(task):
    waits = task.retry_delay_seconds
    assert task.retries == len(waits) == RETRIES
    ratios = {later / earlier for earlier, later in itertools.pairwise(waits)}
    assert ratios == {4.0}
    assert task.retry_jitter_factor > 0
    assert task.retry_condition_fn is retry_if_transient


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (EngineUnavailableError("away"), True),
        (ShardTimeoutError("silent"), True),
        (ConnectionResetError(), True),
        (ConfigError("wrong"), False),
        (EngineStoppedError("the cap is reached"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_can_pass_is_tried_again(error, again):
    assert retry_if_transient(search_shard, None, Failed(data=error)) is again


def test_what_succeeded_is_not_tried_again():
    assert not retry_if_transient(search_shard, None, Completed(data=1))
