"""From what a user names to the place of a catalog: a folder, an address, a configuration.

A campaign's folder whose catalog lies elsewhere holds `catalog.toml` with the two addresses, so that the
folder alone is enough to ask about it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from infra.artifacts import ArtifactStore
from infra.catalog.data_files import DataFiles
from infra.catalog.location import CatalogLocation
from infra.catalog.metadata import SqliteMetadata
from infra.catalog.transactions import patiently
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.metadata import Metadata
    from rstar_core.config import CatalogConfig

ADDRESS_FILE = "catalog.toml"
_SERVERS = ("postgresql://", "postgres://")


def locate(root: Path | str) -> CatalogLocation:
    """The catalog of a campaign's folder, or the one at a `postgresql://…?schema=…` address.

    Raises:
        CatalogError: The address is of another kind, or nobody knows where the files of the catalog are.
    """
    text = str(root)
    if text.startswith(_SERVERS):
        return _of_server(text)
    if "://" in text:
        raise CatalogError(
            f"{text} is no catalog; give a campaign's folder or postgresql://host/database?schema=name."
        )
    folder = Path(text).expanduser().absolute()
    metadata, data = _addresses(folder)
    return _place(text, folder, metadata, data)


def settle(folder: Path, name: str, config: CatalogConfig, *, keep: bool = True) -> CatalogLocation:
    """The catalog of a campaign in this folder, whose place is decided here once and for all.

    With `keep` false nothing is written down: for whoever only looks.

    Raises:
        CatalogError: The catalog that is there already has another place.
    """
    known = _addresses(folder)
    wanted = _wanted(name, config)
    if known == (None, None) and wanted != known:
        if (folder / "catalog.sqlite").exists():
            raise CatalogError(
                f"The campaign in {folder} has its catalog in that folder; remove [catalog] from the "
                f"configuration, or give another --root or name."
            )
        lines = [
            f'{key} = "{value}"\n' for key, value in zip(("metadata", "data"), wanted, strict=True) if value
        ]
        if keep:
            ArtifactStore(folder).write_text("".join(lines), ADDRESS_FILE)
    elif wanted != known:
        raise CatalogError(
            f"The campaign in {folder} has its catalog at {known[0] or folder} with its data in "
            f"{known[1] or folder}, but the configuration's [catalog] says otherwise; give another --root "
            f"or name."
        )
    return _place(str(folder), folder, *wanted)


def _wanted(name: str, config: CatalogConfig) -> tuple[str | None, str | None]:
    """Addresses as they are kept; each campaign has a schema and a prefix of its own."""
    metadata = data = None
    if config.metadata is not None:
        from infra.catalog.postgres import PostgresMetadata  # noqa: PLC0415 - loads only when it is needed

        schema = name.replace("-", "_")
        if schema[0].isdigit():
            schema = f"_{schema}"
        metadata = PostgresMetadata.from_address(config.metadata, schema=schema).full_address
    if config.data is not None:
        data = DataFiles.at(f"{config.data.rstrip('/')}/{name}").path
    return metadata, data


def _addresses(folder: Path) -> tuple[str | None, str | None]:
    """What the address file says; None means in the folder itself."""
    path = folder / ADDRESS_FILE
    try:
        known = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (OSError, ValueError) as error:
        raise CatalogError(
            f"{path} cannot be read ({error}); it holds the addresses of the catalog."
        ) from error
    return known.get("metadata"), known.get("data")


def _place(root: str, folder: Path, metadata: str | None, data: str | None) -> CatalogLocation:
    files = DataFiles.at(str(folder / "lake") if data is None else data)
    kept: Metadata = SqliteMetadata(folder)
    if metadata is not None:
        from infra.catalog.postgres import PostgresMetadata  # noqa: PLC0415 - as above

        kept = PostgresMetadata.from_address(metadata)
    return CatalogLocation(root, kept, files)


def _of_server(address: str) -> CatalogLocation:
    """A catalog by the address of its metadata, which knows where the files are."""
    from infra.catalog.postgres import PostgresMetadata  # noqa: PLC0415 - as above

    metadata = PostgresMetadata.from_address(address)
    data = patiently(metadata.data_path)
    if data is None:
        raise CatalogError(f"There is no catalog at {address}; make one with `rstar run CONFIG`.")
    return CatalogLocation(address, metadata, DataFiles.at(data))
