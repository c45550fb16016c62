"""Whole trees, compared number by number with stored ones; tests/golden/README says how to regenerate."""

import json
import os
from pathlib import Path

import pytest

from rstar_core.config import SearchConfig

COLUMNS = (
    *("index", "parent", "depth", "prior", "children", "visits", "q_sum"),
    *("expanded", "terminal", "closed", "correct"),
)
GOLDEN = Path(__file__).parents[2] / "golden"
CONFIGS = {
    "bootstrap": (SearchConfig(num_candidates=5, num_rollouts=8), "5"),
    "ppm_augmented": (SearchConfig(num_candidates=4, num_rollouts=12, annotation="ppm"), "5"),
    "test_time": (SearchConfig(num_candidates=6, num_rollouts=4, annotation="ppm"), None),
    "shallow_output": (
        SearchConfig(num_candidates=6, num_rollouts=16, max_depth=3, answer_step="output"),
        "5",
    ),
}


def as_dict(node):
    columns = {name: getattr(node, name) for name in COLUMNS}
    step = node.step and {"kind": node.step.kind, "text": node.step.text}
    return {"step": step, **columns}


def as_json(tree):
    return {
        "nodes": [as_dict(node) for node in tree.nodes],
        "drops": dict(sorted(tree.drops.items())),
        "num_tokens": tree.num_tokens,
        "num_candidates": tree.num_candidates,
        "num_rollouts": tree.num_rollouts,
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_a_search_grows_the_stored_tree(world, name):
    config, reference = CONFIGS[name]
    grown = json.dumps(as_json(world(11).play(config, reference=reference, seed=11).tree), indent=1) + "\n"
    stored = GOLDEN / f"tree_{name}.json"
    if os.environ.get("RSTAR_REGENERATE_GOLDEN"):
        stored.write_text(grown, encoding="utf-8")
    assert json.loads(grown) == json.loads(stored.read_text(encoding="utf-8"))
