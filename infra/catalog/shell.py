"""The catalog in DuckDB's own shell, for reading."""

from __future__ import annotations

import os
import subprocess
from importlib.resources import files
from typing import TYPE_CHECKING

from infra.catalog.connection import opening_statements
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.location import CatalogLocation


def open_shell(location: CatalogLocation) -> int:
    """Run the shell until its user leaves it and return its exit code; it reads SQL from a pipe too.

    Raises:
        CatalogError: There is no catalog, or the shell is not installed.
    """
    if not location.exists:
        raise location.missing()
    try:
        program = files("duckdb_cli") / "duckdb"
    except ModuleNotFoundError as error:
        raise CatalogError("DuckDB's shell is not installed; run `pip install duckdb-cli`.") from error
    statements = [*opening_statements(location, read_only=True), "USE lake"]
    # Credentials may be among the statements: they go through memory without a name, not through arguments.
    handle = os.memfd_create("rstar-shell")
    try:
        os.write(handle, "".join(f"{each};\n" for each in statements).encode())
        command = [str(program), "-unsigned", "-init", f"/proc/self/fd/{handle}"]
        return subprocess.run(command, pass_fds=(handle,), check=False).returncode
    finally:
        os.close(handle)
