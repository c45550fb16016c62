"""The Hugging Face hub: is it there, and a snapshot of a repository."""

from __future__ import annotations

import os
from pathlib import Path

from rstar_core.errors import ModelError

_TIMEOUT_SECONDS = 5.0
# Only what a text model needs: no pickled weights, no other frameworks' files, no repository code.
_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "tokenizer*", "merges.txt", "vocab.txt"]


def hub_reachable() -> bool:
    """Whether the hub answers within a few seconds; proxies and HF_ENDPOINT are respected."""
    import httpx  # noqa: PLC0415 - a tenth of a second that naming a directory need not pay
    from huggingface_hub import constants  # noqa: PLC0415 - as above

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return False
    try:
        httpx.head(constants.ENDPOINT, timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return True


def download_snapshot(hub_id: str, directory: Path | None = None) -> tuple[Path, str]:
    """Fetch a repository's model files; returns where they are and their revision.

    Args:
        hub_id: `organisation/name`.
        directory: Where to put them; None means the hub's own cache, which also answers without a network.

    Raises:
        ModelError: The repository cannot be had.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is first imported
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import huggingface_hub  # noqa: PLC0415 - slow, and the settings above must come first

    try:
        if hub_reachable():
            revision = huggingface_hub.HfApi().model_info(hub_id, timeout=_TIMEOUT_SECONDS).sha or "main"
            path = huggingface_hub.snapshot_download(
                hub_id,
                revision=revision,
                local_dir=directory,
                allow_patterns=_PATTERNS,
                etag_timeout=_TIMEOUT_SECONDS,
            )
        else:
            path = huggingface_hub.snapshot_download(hub_id, allow_patterns=_PATTERNS, local_files_only=True)
            revision = Path(path).name
    except Exception as error:  # the hub raises a dozen unrelated types
        raise ModelError(
            f"Cannot get the model {hub_id} from the hub ({type(error).__name__}); check the name and the "
            f"network, or name a directory that holds it."
        ) from error
    return Path(path), revision
