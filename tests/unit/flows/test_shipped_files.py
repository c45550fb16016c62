"""The files that users start from: every configuration loads, every deployment's flow can be imported."""

from pathlib import Path

import pytest
import yaml

from infra.configuration import load_config
from infra.problems.families import FAMILIES
from rstar_core.types import Split

ROOT = Path(__file__).parents[3]


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
