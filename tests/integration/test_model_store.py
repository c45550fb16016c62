"""Models that are pushed to a folder, pulled elsewhere and published: whole, unchanged, or not at all."""

import json
import shutil
from pathlib import Path

import pytest
import s3fs

from infra.catalog.catalog import Catalog
from infra.catalog.checking import differences
from infra.catalog.round_rows import ModelRow
from infra.models import store
from infra.models.forgetting import forget
from infra.models.layout import check_digest, digest_of_model, digest_of_weights
from infra.models.registry import campaign_model, locate, publish, push_model
from infra.models.resolve import resolve_model
from infra.services import PolicySpec, open_services
from rstar_core.config import SandboxConfig
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import ArtifactError, ModelError
from tests.integration.campaign_facts import model_row

MODEL_ID = "round-1/policy"


def quiet(_message):
    """Says nothing."""


@pytest.fixture
def campaign(tiny_model, tmp_path):
    """A campaign whose round 1 has trained a policy."""
    directory = shutil.copytree(tiny_model, tmp_path / "campaign" / "models" / "policy")
    digest = digest_of_model(directory)
    row = model_row(MODEL_ID, "policy", location=str(directory), digest=digest, metrics={"final_loss": 0.5})
    with Catalog.open(tmp_path / "campaign", create=True) as catalog:
        catalog.replace_round(ModelRow, 1, [row], role="policy")
    return str(tmp_path / "campaign")


def as_remote(path):
    """An address that is not a plain folder to `resolve_model`, of a place on this machine."""
    return f"file://{path}"


def test_a_pushed_model_is_pulled_as_it_was(campaign, tmp_path, monkeypatch):
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path / "cache"))
    address = push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    assert MODEL_ID in address
    assert push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet) == address
    pulled = resolve_model(as_remote(address))
    assert pulled.is_relative_to(tmp_path / "cache")
    original = campaign_model(campaign, MODEL_ID)
    assert digest_of_model(pulled) == original.digest
    assert {each.name for each in pulled.iterdir()} == {
        each.name for each in locate(campaign, MODEL_ID)[0].iterdir()
    }
    manifest = store.read_manifest(address)
    assert manifest.facts["metrics"] == {"final_loss": 0.5}
    assert "location" not in manifest.facts
    shutil.rmtree(tmp_path / "store")
    assert resolve_model(as_remote(address)) == pulled  # no network is needed for what is here
    with pytest.raises(ModelError, match="There is no whole model"):
        resolve_model(as_remote(address), tmp_path / "another-cache")


def test_a_push_that_was_cut_off_is_no_model_until_it_is_done_again(campaign, tmp_path, monkeypatch):
    put, done = store.ArtifactStore.put_file, []

    def break_down(self, source, *parts):
        if done:
            raise ArtifactError("the wire is cut")
        done.append(source)
        return put(self, source, *parts)

    with monkeypatch.context() as patched:
        patched.setattr(store.ArtifactStore, "put_file", break_down)
        with pytest.raises(ArtifactError, match="wire is cut"):
            publish(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    assert campaign_model(campaign, MODEL_ID).location.startswith(campaign)
    (folder,) = (tmp_path / "store" / "round-1").iterdir()
    with pytest.raises(ModelError, match="no whole model"):
        store.pull(as_remote(folder), tmp_path / "cache", quiet)
    with pytest.raises(ModelError, match="no whole model"):  # nor as a plain folder
        resolve_model(str(folder))
    assert push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet) == str(folder)
    assert resolve_model(str(folder)) == folder
    store.pull(as_remote(folder), tmp_path / "cache", quiet)


def test_a_file_that_was_changed_after_the_push_is_refused(campaign, tmp_path):
    address = push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    weights = tmp_path / "store" / MODEL_ID.split("/", maxsplit=1)[0]
    (weights,) = weights.rglob("model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors .* is not the file that was pushed"):
        store.pull(as_remote(address), tmp_path / "cache", quiet)
    weights.unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        store.pull(as_remote(address), tmp_path / "cache", quiet)
    assert not [each for each in (tmp_path / "cache" / "pulled").iterdir() if each.is_dir()]
    assert push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet) == address
    store.pull(as_remote(address), tmp_path / "cache", quiet)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_another_model_than_the_catalog_knows_is_neither_pushed_nor_served_nor_asked(
    campaign, tmp_path, cli, name
):
    row = campaign_model(campaign, MODEL_ID)
    with (locate(campaign, MODEL_ID)[0] / name).open("a") as file:
        file.write(" ")
    says = "is not the one that the catalog knows"
    with pytest.raises(ModelError, match=says):
        push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    assert not (tmp_path / "store").exists()
    assert says in cli.complaint("serve", "policy", MODEL_ID, "-c", campaign)
    assert "is not what it was" in cli("catalog", "check", "-c", campaign).stdout
    spec = PolicySpec(MODEL_ID, row.location, "finetuned", PolicyConfig(), row.digest)
    with pytest.raises(ModelError, match=says):
        open_services(spec, SandboxConfig())


def test_a_published_model_is_forgotten_where_it_was_trained_and_stays_where_it_was_pushed(
    campaign, tmp_path
):
    trained = shutil.copytree(locate(campaign, MODEL_ID)[0], Path(campaign) / "models" / MODEL_ID)
    address = publish(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    forget(campaign, MODEL_ID, quiet)
    assert not trained.exists()
    assert trained.with_name("policy.forgotten").is_dir()
    assert resolve_model(address) == Path(address)
    with pytest.raises(ModelError, match="There is no model"):
        forget(campaign, MODEL_ID, quiet)


def test_a_card_beside_a_model_does_not_make_it_another(campaign):
    directory, row = locate(campaign, MODEL_ID)
    (directory / "README.md").write_text("What we know of this model.")
    for record in ("training.json", "job.json"):
        (directory / record).write_text("{}")
    assert digest_of_model(directory) == row.digest


def test_a_digest_of_the_weights_alone_is_that_of_an_older_catalog(campaign):
    directory, _ = locate(campaign, MODEL_ID)
    check_digest(directory, digest_of_weights(directory))


def test_a_manifest_cannot_name_files_elsewhere(campaign, tmp_path):
    address = push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    (manifest,) = (tmp_path / "store").rglob(store.MANIFEST)
    content = json.loads(manifest.read_text())
    content["files"]["../../evil"] = next(iter(content["files"].values()))
    manifest.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="no plain file name"):
        store.pull(as_remote(address), tmp_path / "cache", quiet)
    del content["files"]["../../evil"]
    content["files"]["another.json"] = next(iter(content["files"].values()))
    manifest.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="does not list what its address names"):
        store.pull(as_remote(address), tmp_path / "cache", quiet)
    manifest.write_text("{")
    with pytest.raises(ModelError, match="cannot be read; push the model again"):
        store.pull(as_remote(address), tmp_path / "cache", quiet)
    assert push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet) == address
    store.pull(as_remote(address), tmp_path / "cache", quiet)


def test_a_pushed_model_is_pushed_on_and_hidden_files_stay_behind(campaign, tmp_path):
    (locate(campaign, MODEL_ID)[0] / ".DS_Store").write_bytes(b"of another system")
    first = publish(campaign, MODEL_ID, str(tmp_path / "first"), quiet)
    assert campaign_model(campaign, MODEL_ID).location == first
    second = publish(campaign, MODEL_ID, str(tmp_path / "second"), quiet)
    assert first.rpartition("@")[2] == second.rpartition("@")[2]
    pulled = store.pull(as_remote(second), tmp_path / "cache", quiet)
    assert {".DS_Store", store.MANIFEST}.isdisjoint(each.name for each in pulled.iterdir())


def test_a_model_that_was_pushed_from_here_is_not_fetched(campaign, tmp_path, monkeypatch):
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path / "cache"))
    address = push_model(campaign, MODEL_ID, as_remote(tmp_path / "store"), quiet)
    directory, row = locate(campaign, MODEL_ID)
    store.adopt(directory, as_remote(address), tmp_path / "cache")
    shutil.rmtree(tmp_path / "store")
    assert digest_of_model(resolve_model(as_remote(address))) == row.digest


def test_a_published_model_outlives_the_folder_that_it_was_trained_in(campaign, tmp_path, monkeypatch):
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path / "cache"))
    publish(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    trained = tmp_path / "campaign" / "models"
    shutil.rmtree(trained)
    with Catalog.open(campaign, read_only=True) as catalog:
        assert not list(differences(catalog))
    directory, row = locate(campaign, MODEL_ID)
    assert digest_of_model(directory) == row.digest
    shutil.rmtree(tmp_path / "store")
    with Catalog.open(campaign, read_only=True) as catalog:
        (found,) = differences(catalog)
    assert "round-1/policy at" in found
    assert "is not there" in found


def test_what_is_not_there_is_a_sentence(campaign, tmp_path):
    with pytest.raises(ModelError, match=r"There is no model round-7/ppm in .*; it has round-1/policy"):
        push_model(campaign, "round-7/ppm", str(tmp_path / "store"), quiet)
    with pytest.raises(ModelError, match="say where the model is to go with --to"):
        push_model(campaign, MODEL_ID, None, quiet)


def test_a_store_that_is_away_is_a_sentence(monkeypatch, tmp_path):
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()  # an earlier test's server is no more meant
    with pytest.raises(ArtifactError, match=r"s3://bucket/.* cannot be looked up: .*127\.0\.0\.1:9"):
        store.pull("s3://bucket/round-1/policy@0123456789ab", tmp_path, quiet)


def test_a_cache_that_cannot_be_written_is_a_sentence_and_stops_no_push(campaign, tmp_path, monkeypatch):
    blocked = tmp_path / "a-file"
    blocked.write_text("no folder")
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(blocked))
    address = push_model(campaign, MODEL_ID, str(tmp_path / "store"), quiet)
    store.adopt(locate(campaign, MODEL_ID)[0], as_remote(address), blocked)
    with pytest.raises(ModelError, match="name another folder in RSTAR_MODEL_DIR"):
        resolve_model(as_remote(address))
