"""Where everything of a campaign lies: one folder with the catalog, the data sets, the models, the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.artifacts import ArtifactStore
from infra.catalog.catalog import Catalog
from infra.catalog.places import locate, settle
from infra.log_mirror import LogMirror
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from infra.catalog.location import CatalogLocation
    from rstar_core.config import CampaignConfig


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of one campaign; all other paths follow from it."""

    root: Path
    config: CampaignConfig | None = None

    @classmethod
    def of(cls, config: CampaignConfig) -> Workspace:
        """`{config.root}/{config.name}`.

        Raises:
            ConfigError: The root is not a local folder.
        """
        if "://" in config.root:
            raise ConfigError(
                f"root '{config.root}' is not a folder; training needs local files, give a path"
            )
        return cls(Path(config.root).expanduser().resolve() / config.name, config)

    def open_catalog(self, *, read_only: bool = False, at: int | None = None) -> Catalog:
        """The campaign's catalog, made if it is missing and may be written; or a snapshot of it."""
        return Catalog.open(self.location(), create=not read_only and at is None, read_only=read_only, at=at)

    def look(self) -> Catalog | None:
        """The campaign's catalog for reading, or None if there is none yet; nothing is made or written."""
        location = self.location(keep=False)
        return Catalog.open(location, read_only=True) if location.exists else None

    def location(self, *, keep: bool = True) -> CatalogLocation:
        """The place of the campaign's catalog; decided once, by its configuration, and kept in its folder.

        Raises:
            CatalogError: The configuration names another place than the catalog has.
        """
        if self.config is None:
            return locate(self.root)
        return settle(self.root, self.config.name, self.config.catalog, keep=keep)

    def claim(self, work: str) -> AbstractContextManager[None]:
        """Be the only one who does this work of the campaign, for example `round-2`.

        Raises:
            CatalogClaimedError: Somebody else does it now.
        """
        location = self.location()
        location.prepare()
        return location.claim(work)

    def dataset(self, round_id: int, name: str) -> Path:
        """File of a training set, for example `datasets/round-1/sft.jsonl`."""
        return self.root / "datasets" / f"round-{round_id}" / f"{name}.jsonl"

    def model(self, round_id: int, role: str) -> Path:
        """Directory of a trained model, for example `models/round-1/policy`."""
        return self.root / "models" / f"round-{round_id}" / role

    def log_mirror(self) -> LogMirror | None:
        """Where the logs are kept for other machines: beside the catalog's data, if that is in S3."""
        files = self.location().files
        if files.is_local:
            return None
        # Not below the data's own prefix: maintenance removes what its catalog does not know there.
        return LogMirror(ArtifactStore(f"{files.path.rstrip('/')}.logs"), self.root / "logs")

    def log(self, round_id: int, shard_id: str) -> Path:
        """Replay log of a shard, for example `logs/round-1/search-00000.log`."""
        return self.root / "logs" / f"round-{round_id}" / f"{shard_id}.log"

    @property
    def report(self) -> Path:
        """The written report."""
        return self.root / "report.md"
