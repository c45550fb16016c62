"""The Parquet files of a catalog: a folder or an `s3://` prefix, seen through fsspec."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra.catalog.quoting import quoted
from rstar_core.errors import CatalogAwayError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFiles:
    """Where the data files are.

    Attributes:
        path: Absolute folder, or `s3://bucket/prefix`, with a slash at the end.
    """

    path: str

    @classmethod
    def at(cls, path: str) -> DataFiles:
        """The files under a folder or an `s3://` prefix.

        Raises:
            CatalogError: It is an address of another kind, or names no bucket.
        """
        if "://" not in path:
            return cls(f"{Path(path).expanduser().absolute()}/")
        if not path.startswith("s3://") or not urlsplit(path).netloc:
            raise CatalogError(
                f"The data of a catalog cannot lie at {path}; give a folder or s3://bucket/prefix."
            )
        return cls(f"{path.rstrip('/')}/")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return not self.path.startswith("s3://")

    @property
    def extensions(self) -> tuple[str, ...]:
        """DuckDB's extensions that read them."""
        return () if self.is_local else ("httpfs",)

    def prepare(self) -> None:
        """See that files can be kept there.

        Raises:
            CatalogError: The bucket is not there or may not be seen.
        """
        if not self.is_local:
            bucket = urlsplit(self.path).netloc
            with _explained(self.path):
                if not self._filesystem().exists(f"s3://{bucket}"):
                    raise CatalogError(f"There is no bucket {bucket} for {self.path}; make it first.")

    def secret_statement(self) -> str | None:
        """The SQL that tells DuckDB the credentials; it may not be shown to anybody.

        They come from where every S3 program looks: AWS_ACCESS_KEY_ID and its kin, a profile, a role.

        Raises:
            CatalogError: There are none.
        """
        if self.is_local:
            return None
        import botocore.session  # noqa: PLC0415 - half a second, for those who use S3

        found = botocore.session.get_session().get_credentials()
        if found is None:
            raise CatalogError(
                f"There are no credentials for {self.path}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                f"or AWS_PROFILE."
            )
        frozen = found.get_frozen_credentials()
        options = [f"KEY_ID {quoted(frozen.access_key)}", f"SECRET {quoted(frozen.secret_key)}"]
        if frozen.token:
            options.append(f"SESSION_TOKEN {quoted(frozen.token)}")
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION")
        endpoint, region = _server(tuple(os.environ.get(name) for name in names))
        options.append(f"REGION {quoted(region)}")
        if not endpoint.endswith(".amazonaws.com"):
            server = urlsplit(endpoint)
            options.append(f"ENDPOINT {quoted(server.netloc)}")
            options.append(f"USE_SSL {str(server.scheme == 'https').lower()}")
            options.append("URL_STYLE 'path'")
        scope = f"s3://{urlsplit(self.path).netloc}"
        return f"CREATE OR REPLACE SECRET catalog_data (TYPE s3, SCOPE {quoted(scope)}, {', '.join(options)})"

    def sizes(self) -> dict[str, int]:
        """Bytes of each Parquet file by its name below `path`.

        Raises:
            CatalogError: The place cannot be read.
        """
        with _explained(self.path):
            found = self._filesystem().find(self._base, detail=True)
        prefix = f"{self._base}/"
        return {
            name.removeprefix(prefix): int(facts["size"])
            for name, facts in sorted(found.items())
            if name.endswith(".parquet")
        }

    def address(self, name: str) -> str:
        """Where the file of this name is, for messages."""
        return f"{self.path}{name}"

    def open(self, name: str) -> Any:  # noqa: ANN401 - fsspec is untyped
        """The file of this name, open for reading."""
        return self._filesystem().open(f"{self._base}/{name}", "rb")

    def digest(self, name: str) -> str:
        """SHA-256 of the file of this name, hex."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                digest.update(block)
        return digest.hexdigest()

    @property
    def _base(self) -> str:
        return self.path.rstrip("/").removeprefix("s3://")

    def _filesystem(self) -> Any:  # noqa: ANN401 - fsspec is untyped
        import fsspec  # noqa: PLC0415 - s3fs loads only when it is needed

        filesystem = fsspec.filesystem("file" if self.is_local else "s3")
        filesystem.invalidate_cache()  # others write here too
        return filesystem


@lru_cache(maxsize=4)
def _server(_environment: tuple[str | None, ...]) -> tuple[str, str]:
    """Address and region of the S3 server as botocore reads them; the environment is the cache's key."""
    import botocore.session  # noqa: PLC0415 - as above

    session = botocore.session.get_session()
    region = session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
    client = session.create_client("s3", region_name=region)
    return str(client.meta.endpoint_url), str(region)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn an error of the store into one sentence that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise CatalogError(f"{path} is not there.") from error
    except CatalogError:
        raise
    except Exception as error:  # botocore's are no OSError, and cost half a second to name
        raise CatalogAwayError(f"{path} cannot be read ({str(error).rstrip('.')}); try again.") from error
