"""Models in a folder or in S3, for other machines: pushed whole or not at all, pulled only unchanged.

A pushed model is a folder whose name holds the digest of its files. Its manifest lists each with size and
SHA-256 and is written last: without one there is no model there, whatever else there is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from infra.artifacts import ArtifactStore
from infra.models.layout import check_digest, check_directory
from rstar_core.errors import ModelError
from rstar_core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST = "rstar_manifest.json"
_PULLED = "pulled"
_PUSHED = re.compile(r"@[0-9a-f]{12}$")


class PushedFile(Settings):
    """One file of a pushed model."""

    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Settings):
    """What a pushed model is, and what it is made of."""

    model_id: str = Field(description="Its name in its campaign, for example `round-2/policy`.")
    digest: str = Field(description="SHA-256 of its weights, configuration and tokenizer, hex.")
    facts: dict[str, Any] = Field(description="Its row in the campaign's table `models`.")
    files: dict[str, PushedFile] = Field(min_length=1)


def is_address(name: str) -> bool:
    """Whether a model's name is the address of a pushed one that is not on this machine."""
    return "://" in name


def is_pushed(location: str) -> bool:
    """Whether a place is named as `push` names those of models."""
    return bool(_PUSHED.search(location.rstrip("/")))


def push(
    directory: Path,
    destination: str,
    model_id: str,
    digest: str,
    facts: dict[str, Any],
    say: Callable[[str], None],
) -> str:
    """Copy a model to `{destination}/{model_id}@{digest of its files}` and return that address.

    One that is there already is left as it is; one that was cut off is completed.

    Args:
        directory: Where it lies.
        destination: Folder or `s3://bucket/prefix`.
        model_id: Its name in its campaign.
        digest: What `digest_of_model` must say of it, hex.
        facts: What else the manifest is to say of it.
        say: Told about each stage in one sentence.

    Raises:
        ModelError: A part of it is missing, or it is another.
        ArtifactError: It cannot be written there.
    """
    check_digest(check_directory(directory), digest)
    paths = {path.name: path for path in _files_of(directory)}
    files = {name: _describe(path) for name, path in paths.items()}
    store, folder = ArtifactStore(destination), f"{model_id}@{_name_of(files)}"
    address = store.path(folder)
    if _is_whole(store, folder, files):
        say(f"{address} is there already.")
        return address
    store.remove(folder, MANIFEST)
    say(f"Pushing {_megabytes(files)} to {address}.")
    for name, path in paths.items():
        store.put_file(path, folder, name)
    manifest = Manifest(model_id=model_id, digest=digest, facts=facts, files=files)
    store.write_text(manifest.model_dump_json(indent=1) + "\n", folder, MANIFEST)
    return address


def adopt(directory: Path, address: str, cache: Path) -> None:
    """Let a model that was pushed from here be found here without a download, if that costs nothing."""
    target = _place(address, cache)
    with suppress(OSError, ModelError), _locked(target):  # else it is fetched when it is needed
        if target.exists():
            return
        work = _fresh(target)
        for path in _files_of(directory):
            os.link(path, work / path.name)
        work.rename(target)


def read_manifest(address: str) -> Manifest:
    """What lies at the address.

    Raises:
        ModelError: Nothing does, nothing whole, or not what the address says.
        ArtifactError: The place does not answer.
    """
    store = ArtifactStore(address)
    if not store.exists(MANIFEST):
        raise ModelError(f"There is no whole model at {address}; push it (again) with `rstar models push`.")
    try:
        manifest = Manifest.model_validate_json(store.read_bytes(MANIFEST))
    except ValidationError as error:
        raise ModelError(f"{address}/{MANIFEST} cannot be read; push the model again.") from error
    strange = [name for name in manifest.files if name != Path(name).name or not _travels(name)]
    if strange:
        raise ModelError(f"{address}/{MANIFEST} names {strange[0]!r}, which is no plain file name.")
    if not address.rstrip("/").endswith(f"@{_name_of(manifest.files)}"):
        raise ModelError(f"{address}/{MANIFEST} does not list what its address names; push the model again.")
    return manifest


def pull(address: str, cache: Path, say: Callable[[str], None]) -> Path:
    """The directory in the cache that holds what lies at the address, fetched and checked if it is not there.

    The address names the files' digest, so what is in the cache needs no network.

    Args:
        address: As `push` returned it.
        cache: Folder of the models of this machine.
        say: Told about each stage in one sentence.

    Raises:
        ModelError: Nothing whole lies there, or a file is not the one that was pushed.
        ArtifactError: The place does not answer.
    """
    target = _place(address, cache)
    with _locked(target):
        if target.is_dir():
            return target
        manifest = read_manifest(address)
        say(f"Fetching {_megabytes(manifest.files)} from {address}.")
        work = _fresh(target)
        try:
            for name, described in manifest.files.items():
                _fetch(ArtifactStore(address), name, described, work / name)
            check_digest(work, manifest.digest)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def check_pushed(directory: Path) -> Path:
    """A folder that models are pushed to holds whole ones and others: the directory itself, if it is whole.

    Raises:
        ModelError: Its name is that of a pushed model, and its push was cut off.
    """
    if is_pushed(directory.name):
        read_manifest(str(directory))
    return directory


def _is_whole(store: ArtifactStore, folder: str, files: dict[str, PushedFile]) -> bool:
    """Whether the manifest there lists these files and they have their sizes."""
    try:
        there = read_manifest(store.path(folder)).files
    except ModelError:
        return False
    sizes = store.sizes(folder)
    return there == files and all(sizes.get(name) == each.num_bytes for name, each in files.items())


def _fetch(store: ArtifactStore, name: str, described: PushedFile, path: Path) -> None:
    if not store.exists(name):
        raise ModelError(f"The model at {store.root} lacks {name}; push it again with `rstar models push`.")
    store.get_file(path, name)
    if _describe(path) != described:
        raise ModelError(
            f"{name} of the model at {store.root} is not the file that was pushed (SHA-256 differs); "
            "nothing was kept; remove that model and push it again with `rstar models push`."
        )


def _files_of(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_file() and _travels(path.name)]


def _travels(name: str) -> bool:
    """Whether a file of this name belongs to a model; hidden ones are those of file systems and tools."""
    return bool(name) and not name.startswith(".") and name != MANIFEST


def _name_of(files: dict[str, PushedFile]) -> str:
    """Short digest of names and contents."""
    lines = "".join(f"{each.sha256}  {name}\n" for name, each in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def _place(address: str, cache: Path) -> Path:
    return cache / _PULLED / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:24]


def _fresh(target: Path) -> Path:
    """An empty folder beside the target; what a killed pull left there goes."""
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process of this machine at a time fetches a model; the others wait for it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.with_name(f".{target.name}.lock").open("w")
    except OSError as error:
        raise ModelError(
            f"Models cannot be kept in {target.parent} ({error.strerror}); "
            "name another folder in RSTAR_MODEL_DIR."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _megabytes(files: dict[str, PushedFile]) -> str:
    return f"{sum(each.num_bytes for each in files.values()) / 1e6:,.0f} MB"


def _describe(path: Path) -> PushedFile:
    with path.open("rb") as file:
        return PushedFile(
            num_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest()
        )
