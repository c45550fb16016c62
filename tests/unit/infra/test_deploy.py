"""The files of infra/deploy, each checked by the tool or the schema of those who will read it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from infra.training.launch import accelerate_launcher
from rstar_core.errors import TrainingError

DEPLOY = Path(__file__).parents[3] / "infra" / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = "1.34"
ENVIRONMENT = {"POSTGRES_PASSWORD": "one", "S3_KEY": "two", "S3_SECRET": "three"}
SCRIPTS = sorted((DEPLOY / "slurm").glob("*.sbatch"))


DOCKER, BASH = shutil.which("docker"), shutil.which("bash")
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")


def has_compose():
    """Whether Docker's own tool is here; it needs no daemon for this."""
    asked = DOCKER and subprocess.run([DOCKER, "compose", "version"], capture_output=True, check=False)
    return bool(asked) and asked.returncode == 0


def test_compose_agrees_with_itself():
    content = yaml.safe_load(COMPOSE.read_text())
    services, volumes = content["services"], {*content["volumes"]}
    for name, service in services.items():
        assert {*service.get("depends_on", {})} <= {*services}, name
        for other, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] == "service_healthy"
            assert "healthcheck" in services[other]
        for mount in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", mount).split(":")[0]
            assert source in volumes or source.startswith("."), mount
        image = service["image"]
        assert image == "rstar" or re.search(r":v?\d+\.\d+", image), f"{image} is not pinned"
    assert (COMPOSE.parent / "databases.sql").exists()
    dockerfile = COMPOSE.parent / services["setup"]["build"]["context"] / "infra/deploy/Dockerfile"
    assert dockerfile.resolve() == DEPLOY / "Dockerfile"


def test_every_variable_of_compose_has_a_line_in_the_example():
    named = {*re.findall(r"\$\{(\w+)", COMPOSE.read_text())}
    example = dict(
        line.split("=", 1)
        for line in (COMPOSE.parent / "example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert named == {*example}
    assert {name for name, value in example.items() if not value} == {*ENVIRONMENT}  # no password is shipped


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_docker_compose_accepts_the_file():
    done = subprocess.run(
        [DOCKER, "compose", "-f", COMPOSE, "config", "--quiet"],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def kubernetes_objects():
    yield from yaml.safe_load_all((DEPLOY / "kubernetes" / "factory.yaml").read_text())
    template = json.loads((DEPLOY / "kubernetes" / "job-template.json").read_text())
    values = {name: each.get("default") for name, each in template["variables"]["properties"].items()}
    values |= {"name": "run", "labels": {"a": "b"}, "env": [], "command": ["prefect", "flow-run", "execute"]}
    yield filled(template["job_configuration"]["job_manifest"], values)


def filled(part, values):
    """A template as Prefect fills it in: a whole value keeps its type, a part of a text becomes text."""
    if isinstance(part, dict):
        return {key: filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [filled(value, values) for value in part]
    if isinstance(part, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", part)):
        return values[whole[1]]
    if isinstance(part, str):
        return re.sub(r"\{\{ (\w+) \}\}", lambda found: str(values[found[1]]), part)
    return part


@pytest.mark.parametrize("content", list(kubernetes_objects()), ids=lambda each: each["kind"])
def test_kubernetes_accepts_each_object(content):
    kubernetes_validate.validate(content, KUBERNETES, strict=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_and_shellcheck_accept_each_script(script):
    assert SHELLCHECK, "it comes with the packages for development"
    subprocess.run([BASH, "-n", script], check=True)
    done = subprocess.run([SHELLCHECK, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "#SBATCH --requeue" in script.read_text()  # whatever is cut off goes on


@pytest.mark.parametrize("name", sorted(path.stem for path in (DEPLOY / "accelerate").glob("*.yaml")))
def test_accelerate_reads_each_configuration(name):
    from accelerate.commands.config.config_args import load_config_from_file

    launcher = accelerate_launcher(name)
    config = load_config_from_file(launcher[-1])
    assert config.num_processes >= 1
    assert config.compute_environment.value == "LOCAL_MACHINE"


def test_an_unknown_way_to_train_is_a_sentence_that_names_the_known_ones():
    assert accelerate_launcher(None) is None
    with pytest.raises(TrainingError, match=r"'fdsp', .* cpu_two, fsdp, single, zero3 nor a file"):
        accelerate_launcher("fdsp")
