"""What a usable model directory holds, and the card that says where an embedded model came from."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from rstar_core.errors import ModelError, RstarError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CARD_NAME = "rstar_model.json"
_SHOWN_CHARACTERS = 200
_WEIGHTS = "model.safetensors"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_SERVED = {".json", ".model", ".txt", ".jinja"}
_RECORDS = {CARD_NAME, "job.json", "training.json", "rstar_manifest.json"}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Provenance of a model directory, stored as `rstar_model.json`.

    Attributes:
        name: Registry name.
        origin: Where the weights were taken from.
        licence: Licence of the weights, as an SPDX expression.
        version: Revision of the repository or version of the package.
        sha256: Digest of the weights file.
    """

    name: str
    origin: str
    licence: str
    version: str
    sha256: str


def missing_parts(directory: Path) -> list[str]:
    """Names of the parts that the directory lacks: configuration, weights, or shards of the weights."""
    missing = [] if (directory / "config.json").is_file() else ["config.json"]
    index = directory / _WEIGHTS_INDEX
    if (directory / _WEIGHTS).is_file():
        return missing
    if not index.is_file():
        return [*missing, _WEIGHTS]
    shards = _shards(index)
    if not shards:
        return [*missing, f"a {_WEIGHTS_INDEX} that names its shards"]
    return missing + sorted(shard for shard in shards if not (directory / shard).is_file())


def _shards(index: Path) -> set[str]:
    """Files that a weight index names; none if it cannot be read or any of them is no name."""
    try:
        shards = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
    return shards if all(isinstance(shard, str) and shard for shard in shards) else set()


def check_directory(directory: Path) -> Path:
    """The directory itself, if it can be loaded.

    Raises:
        ModelError: A part is missing.
    """
    missing = missing_parts(directory)
    if missing:
        raise ModelError(
            f"The model directory {directory} lacks {', '.join(missing)}; save the model there again with "
            f"save_pretrained, or name another directory."
        )
    return directory


@contextmanager
def loading(directory: Path) -> Iterator[None]:
    """Whatever goes wrong meanwhile is one sentence about the model in `directory`.

    Libraries raise errors of many kinds over a file that was cut off; all of them mean this.

    Raises:
        ModelError: Something went wrong.
    """
    try:
        yield
    except RstarError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS].rstrip(".") or type(error).__name__
        raise ModelError(
            f"The model in {directory} cannot be loaded ({said}); save or pull it again, or name another."
        ) from error


def read_config(directory: Path) -> dict[str, Any]:
    """The model's `config.json`.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        content = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"The configuration of the model in {directory} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"The configuration of the model in {directory} is no JSON object; save or pull the model again."
        )
    return content


def max_positions(directory: Path) -> int | None:
    """Tokens that the model has positions for; None if its configuration does not say it.

    Raises:
        ModelError: The configuration cannot be read, or says something that is no number of tokens.
    """
    positions = read_config(directory).get("max_position_embeddings") or None
    if isinstance(positions, bool) or not isinstance(positions, int | None) or (positions or 1) < 1:
        raise ModelError(
            f"The configuration of the model in {directory} has max_position_embeddings = {positions!r}, "
            "which is no number of tokens; save or pull the model again."
        )
    return positions


def digest_of_weights(directory: Path) -> str:
    """SHA-256 of the weights file, or of all shards in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def digest_of_model(directory: Path) -> str:
    """SHA-256 over the weights and every other file that decides what the model says.

    These are its configuration, its tokenizer and its templates; cards and records of training are not.
    """
    files = (
        path for path in sorted(directory.iterdir()) if path.suffix in _SERVED and path.name not in _RECORDS
    )
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    lines.append(f"{digest_of_weights(directory)}  weights")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def has_digest(directory: Path, digest: str) -> bool:
    """Whether this is the model of that digest; older catalogs have that of the weights alone."""
    return digest in {digest_of_model(directory), digest_of_weights(directory)}


def check_digest(directory: Path, digest: str) -> None:
    """Make sure that the model is the one that was trained.

    Raises:
        ModelError: It is another.
    """
    if not has_digest(directory, digest):
        raise ModelError(
            f"The model in {directory} is not the one that the catalog knows: its weights, configuration or "
            f"tokenizer differ (SHA-256 {digest_of_model(directory)[:12]}, not {digest[:12]}); put the right "
            "files back, or train it again after `rstar models forget`."
        )


def check_role(directory: Path, role: Literal["policy", "ppm"]) -> None:
    """Make sure that the model is a causal language model, or a one-label sequence classifier for a PPM.

    Raises:
        ModelError: It is something else.
    """
    config = read_config(directory)
    named, labels = config.get("architectures"), config.get("id2label")
    architecture = str(named[0]) if isinstance(named, list) and named else "model of unknown kind"
    if role == "policy":
        fits, wanted = architecture.endswith("ForCausalLM"), "policy"
    else:
        one_label = isinstance(labels, dict) and len(labels) == 1
        fits, wanted = architecture.endswith("ForSequenceClassification") and one_label, "step scorer"
    if not fits:
        raise ModelError(f"The model in {directory} is a {architecture}, not a {wanted}; name another one.")


def write_card(directory: Path, card: ModelCard) -> None:
    """Store the card in the directory."""
    (directory / CARD_NAME).write_text(json.dumps(asdict(card), indent=2) + "\n")


def read_card(directory: Path) -> ModelCard | None:
    """The directory's card; None if there is none or it is not ours."""
    try:
        return ModelCard(**json.loads((directory / CARD_NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None
