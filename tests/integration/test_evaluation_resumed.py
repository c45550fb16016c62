"""An evaluation that stops in the middle goes on from its log, and its log goes when it is done."""

from dataclasses import replace

import pytest

from infra.configuration import load_config
from infra.services import open_services
from infra.workspace import Workspace
from rstar_core.errors import EngineUnavailableError
from tasks import evaluation
from tasks.evaluation import evaluate_shard, plan_evaluation
from tasks.ingest import ingest_problems


class Asked:
    """The policy, which keeps what it is asked and falls away after so many requests."""

    def __init__(self):
        self.requests, self.left, self.policy = [], 10_000, None

    async def propose(self, request):
        self.left -= 1
        if self.left < 0:
            raise EngineUnavailableError("the server is gone")
        self.requests.append(request)
        return await self.policy.propose(request)


@pytest.fixture
def asked(monkeypatch):
    asked = Asked()

    def opened(*arguments):
        services = open_services(*arguments)
        asked.policy = services.policy
        return replace(services, policy=asked)

    monkeypatch.setattr(evaluation, "open_services", opened)
    return asked


@pytest.fixture
def begun(write_config, tmp_path, asked):
    """A campaign, and a shard of its evaluation of the base model that was stopped in the middle."""
    config = load_config(write_config(tmp_path, trains=False))
    ingest_problems.fn(config)
    first = plan_evaluation.fn(config, 0, "base")[0]
    asked.left = 6
    with pytest.raises(EngineUnavailableError):
        evaluate_shard.fn(config, 0, first, "base")
    asked.left = 10_000
    return config, first


def rows(config):
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        return catalog.sql(
            "SELECT problem_id, label, correct, answer, num_tokens FROM evaluations ORDER BY ALL"
        )[1]


def logs(config):
    return [each.name for each in (Workspace.of(config).root / "logs").rglob("*.log*")]


def test_no_request_is_sent_twice_and_the_answers_are_those_of_an_undisturbed_run(begun, asked):
    config, first = begun
    assert logs(config) == [f"{first}.log"]
    evaluate_shard.fn(config, 0, first, "base")
    resumed, whole = rows(config), len(asked.requests)
    assert len(set(asked.requests)) == whole > 6
    assert logs(config) == []

    asked.requests.clear()
    assert plan_evaluation.fn(config, 0, "base", again=True)[0] == first
    evaluate_shard.fn(config, 0, first, "base")
    assert len(asked.requests) == whole
    assert rows(config) == resumed


def test_with_other_settings_or_asked_for_again_it_begins_anew(begun, asked):
    config, first = begun
    plan_evaluation.fn(config, 0, "base", again=True)
    assert logs(config) == []
    asked.left = 6
    with pytest.raises(EngineUnavailableError):
        evaluate_shard.fn(config, 0, first, "base")

    asked.left = 10_000
    asked.requests.clear()
    (round_one, *more) = config.rounds
    deeper = round_one.model_copy(
        update={"search": round_one.search.model_copy(update={"max_step_tokens": 7})}
    )
    changed = config.model_copy(update={"rounds": (deeper, *more)})
    evaluate_shard.fn(changed, 0, first, "base")
    assert len(rows(config)) == len({each[0] for each in rows(config)})
    begins = [each for each in asked.requests if not each.steps]
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        (shard,) = [each for each in catalog.shards(0, kind="evaluate:base") if each.shard_id == first]
    assert len(begins) == shard.num_problems
