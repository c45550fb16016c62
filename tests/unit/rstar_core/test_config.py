import pytest
from pydantic import ValidationError

from rstar_core.config import (
    BuiltinSource,
    CampaignConfig,
    EvaluationConfig,
    FileSource,
    PpmConfig,
    RoundConfig,
    SearchConfig,
    SftConfig,
)

SEARCH_ONLY = {"sft": None}


def campaign(*rounds, **changes):
    given = {"name": "demo", "sources": [{"kind": "builtin"}], "rounds": rounds or ({},), **changes}
    return CampaignConfig.model_validate(given)


def test_the_defaults_are_the_papers():
    search, sft, ppm, evaluation = SearchConfig(), SftConfig(), PpmConfig(), EvaluationConfig()
    assert (search.num_candidates, search.num_rollouts, search.max_depth, search.exploration) == (5, 8, 16, 2)
    assert search.annotation == "terminal"
    assert (sft.num_epochs, sft.learning_rate, sft.batch_size, sft.max_length) == (2, 7e-6, 128, 4096)
    assert sft.trajectories_per_problem == 2
    assert (ppm.num_epochs, ppm.learning_rate, ppm.batch_size, ppm.pairs_per_side) == (1, 7e-6, 512, 2)
    assert evaluation.num_candidates == 32
    assert evaluation.answer_rule == "best"
    assert [each.num_new_trees for each in RoundConfig().escalation] == [1]


def test_four_rounds_as_in_the_paper_are_a_campaign():
    ppm_search = {"annotation": "ppm", "num_candidates": 8, "num_rollouts": 16}
    config = campaign(
        {"prompt": "bootstrap", "ppm": {}},
        {"search": {"num_candidates": 8, "num_rollouts": 16}, "ppm": {}},
        {"search": ppm_search, "ppm": {}},
        {"search": {**ppm_search, "num_candidates": 16}},
    )
    assert [each.search.num_candidates for each in config.rounds] == [5, 8, 8, 16]


def test_the_kind_of_a_source_decides_its_fields():
    config = campaign(
        sources=[{"kind": "builtin", "seed": 3}, {"kind": "file", "path": "a.jsonl", "name": "a"}]
    )
    assert [type(source) for source in config.sources] == [BuiltinSource, FileSource]


def test_round_1_has_no_ppm_to_ask():
    with pytest.raises(ValidationError, match=r"rounds\.0\.search\.annotation .* round 1 has no PPM"):
        campaign({"search": {"annotation": "ppm"}})


def test_a_ppm_has_to_be_trained_in_the_round_before():
    with pytest.raises(ValidationError, match=r"rounds\.2\.search\.annotation .* round 2 trains no PPM"):
        campaign({"ppm": {}}, {}, {"search": {"annotation": "ppm"}})


def test_a_served_policy_cannot_be_fine_tuned_but_can_search_or_bootstrap():
    server = {"engine": "openai", "base_url": "http://localhost:8000/v1"}
    with pytest.raises(ValidationError, match="train from local weights"):
        campaign({"sft": {}}, policy=server)
    assert campaign(SEARCH_ONLY, policy=server).policy.engine == "openai"
    assert campaign(bootstrap=server).bootstrap.engine == "openai"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"shards": 3}, "shards"),
        ({"name": "Not A Name"}, "name"),
        ({"sources": []}, "sources"),
        ({"rounds": []}, "rounds"),
        ({"seed": -1}, "seed"),
        ({"shard_size": 0}, "shard_size"),
        ({"sources": [{"kind": "web"}]}, "sources.0"),
        ({"sources": [{"kind": "file", "name": "a"}]}, "sources.0.file.path"),
        ({"rounds": [{"search": {"num_candidates": 0}}]}, "rounds.0.search.num_candidates"),
        ({"rounds": [{"search": {"top_p": 0}}]}, "rounds.0.search.top_p"),
        ({"rounds": [{"search": {"candidates": 3}}]}, "rounds.0.search.candidates"),
        ({"rounds": [{"ppm": {"eval_fraction": 1.5}}]}, "rounds.0.ppm.eval_fraction"),
        ({"sandbox": {"minimum_isolation": "hope"}}, "sandbox.minimum_isolation"),
    ],
)
def test_what_is_not_allowed_is_refused_where_it_stands(changes, field):
    with pytest.raises(ValidationError) as refused:
        campaign(**changes)
    assert field in [".".join(map(str, error["loc"])) for error in refused.value.errors()]


def test_settings_cannot_be_changed_afterwards():
    config = campaign()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


def test_a_campaign_survives_json():
    config = campaign({"ppm": {}}, {"search": {"annotation": "ppm"}, "sft": None}, bootstrap={"model": "big"})
    assert CampaignConfig.model_validate_json(config.model_dump_json()) == config


def test_every_number_with_a_unit_or_a_figure_of_the_paper_explains_itself():
    bare = [
        f"{model.__name__}.{name}"
        for model in (SearchConfig, SftConfig, PpmConfig, EvaluationConfig)
        for name, info in model.model_fields.items()
        if not info.description
    ]
    assert bare == []
