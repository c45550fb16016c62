"""The files that users start from: every configuration loads, every deployment's flow can be imported."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from infra.configuration import load_config
from infra.problems.families import FAMILIES
from rstar_core.types import Split

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path):
    assert load_config(path).rounds


def test_the_demo_is_as_large_as_promised_and_has_several_families_in_each_tier():
    config = load_config(ROOT / "configs" / "demo.toml")
    assert len(config.rounds) == 2
    sizes = {source.split: source.num_problems for source in config.sources}
    assert sizes[Split.TRAIN] >= 32
    assert sizes[Split.HELDOUT] >= 48
    tiers = [FAMILIES[name].tier for name in config.sources[0].families]
    assert all(tiers.count(tier) >= 2 for tier in ("gsm", "math", "olympiad"))
    assert config.sources[0].families == config.sources[1].families


# Candidates per step, rollouts, annotation, prompt, and the escalations as (new trees, rollouts), by round.
PAPERS_ROUNDS = [
    (5, 8, "terminal", "bootstrap", [(1, 16)]),
    (8, 16, "terminal", "finetuned", [(1, 16)]),
    (8, 16, "ppm", "finetuned", [(1, 16)]),
    (16, 16, "ppm", "finetuned", [(0, 64), (0, 128), (2, None)]),
]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_papers_campaign_has_the_papers_numbers_up_to_its_round(number):
    config = load_config(ROOT / "configs" / "paper" / f"round{number}.toml")
    assert [
        (
            each.search.num_candidates,
            each.search.num_rollouts,
            each.search.annotation,
            each.prompt,
            [(effort.num_new_trees, effort.num_rollouts) for effort in each.escalation],
        )
        for each in config.rounds
    ] == PAPERS_ROUNDS[:number]
    for each in config.rounds:
        search, sft, ppm = each.search, each.sft, each.ppm
        assert (search.max_depth, search.exploration, search.answer_step) == (16, 2.0, "policy")
        assert search.rollouts_in_flight == 1
        assert (sft.num_epochs, sft.max_length, sft.batch_size) == (2, 4096, 128)
        assert (sft.learning_rate, sft.schedule, sft.trajectories_per_problem) == (7e-6, "linear", 2)
        assert (ppm.num_epochs, ppm.batch_size, ppm.learning_rate, ppm.pairs_per_side) == (1, 512, 7e-6, 2)
    evaluation = config.evaluation
    assert (evaluation.num_candidates, evaluation.num_trees, evaluation.num_rollouts) == (32, 64, 1)
    assert evaluation.num_problems is None
    assert (config.policy.engine, config.policy.model) == ("transformers", "Qwen/Qwen2.5-Math-7B")
    assert (config.bootstrap.engine, config.bootstrap.model) == (
        "openai",
        "deepseek-ai/DeepSeek-Coder-V2-Instruct",
    )
    assert config.policy.max_sequences >= evaluation.num_candidates
    assert [source.synthetic for source in config.sources].count(True) == 1
    assert sum(source.split is Split.HELDOUT for source in config.sources) == 8


def test_the_papers_files_are_one_campaign_in_which_each_goes_on_where_the_one_before_ended():
    texts = [(ROOT / "configs" / "paper" / f"round{number}.toml").read_text() for number in (1, 2, 3, 4)]
    bodies = [text[text.index("name = ") :] for text in texts]
    for before, after in pairwise(bodies):
        assert after.startswith(before)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_every_number_of_the_papers_campaign_says_where_it_comes_from(number):
    lines = (ROOT / "configs" / "paper" / f"round{number}.toml").read_text().splitlines()
    bare = [
        line
        for line in lines
        if re.match(r"\w+ = -?\d", line) and "#" not in line and not line.startswith("seed")
    ]
    assert bare == []


@pytest.mark.parametrize(
    "deployment",
    yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"],
    ids=lambda deployment: deployment["name"],
)
def test_every_deployment_names_a_flow_that_imports(deployment):
    from prefect.flows import load_flow_from_entrypoint

    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == deployment["name"]


def test_no_file_names_a_package_registry():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert all("==" in line for line in lock.splitlines())
