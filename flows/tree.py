"""`rstar tree`: one search tree for a person to read, on the terminal or as a page, or for a program."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from flows.tree_page import tree_page
from flows.tree_text import tree_text
from flows.tree_view import tree_view
from infra.catalog.catalog import Catalog
from infra.tree_history import tree_history
from infra.workspace import Workspace
from rstar_core.errors import ArtifactError


def show_tree(
    campaign: str,
    start: str,
    *,
    round_id: int | None,
    tree_index: int | None,
    page: Path | None,
    as_json: bool = False,
) -> None:
    """Print the tree, as text or JSON, or write it to a page.

    Raises:
        CatalogError: There is no catalog, no such problem or no such tree.
        ReplayError: The tree's shard is not done and its log is damaged.
        ArtifactError: The page cannot be written.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        problem = catalog.find_problem(start)
        history = tree_history(
            catalog, Workspace(Path(campaign)), problem, round_id=round_id, tree_index=tree_index
        )
    view = tree_view(history)
    if page is None and as_json:
        said = {"facts": dict(view.facts), "note": view.note, "root": asdict(view.root)}
        print(json.dumps(said))
        return
    if page is None:
        Console(highlight=False).print(tree_text(view))
        return
    try:
        page.write_text(tree_page(view), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"the page cannot be written to {page}: {error.strerror}") from error
    print(f"tree {history.tree_index} of round {history.round.round_id} is in {page}")
