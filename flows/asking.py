"""Answers from the catalog, as tables for people and JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flows.tables import print_table
from infra.catalog.catalog import Catalog
from infra.models.resolve import list_models
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def print_coverage(campaign: Path, *, by: str, round_id: int | None, as_json: bool) -> None:
    """Coverage by tier or source.

    Raises:
        CatalogError: There is no catalog, or `by` is neither.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        rows = catalog.coverage(round_id, by=by)
    _print_rows(rows, as_json=as_json)


def print_sql(campaign: Path, query: str, *, as_json: bool) -> None:
    """The result of a query.

    Raises:
        CatalogError: There is no catalog, or the query is wrong or would write.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        columns, records = catalog.sql(query)
    _print_rows([dict(zip(columns, record, strict=True)) for record in records], columns, as_json=as_json)


def print_models(campaign: Path, *, as_json: bool) -> None:
    """The campaign's models, and those that lie ready on this machine."""
    pulled = [{"model": each.name, "location": str(each.path)} for each in list_models() if each.present]
    try:
        with Catalog.open(campaign, read_only=True) as catalog:
            columns, records = catalog.sql(
                'SELECT "round", role, model_id, num_examples, n, pass_at_1, low, high, location '
                "FROM model_history"
            )
        trained = [dict(zip(columns, record, strict=True)) for record in records]
    except CatalogError:  # a machine's models may be asked for before any campaign
        trained = []
    if as_json:
        print(json.dumps({"campaign": trained, "pulled": pulled}, default=str))
        return
    for row in trained:
        row["location"] = row["location"].removeprefix(f"{campaign.resolve()}/")
    _print_rows(trained, as_json=False)
    _print_rows(pulled, as_json=False)


def _print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str] = (), *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), default=str))
        return
    names = list(columns) or list(rows[0] if rows else ())
    if not names:
        print("nothing yet")
        return
    print_table(names, [[row[name] for name in names] for row in rows])
