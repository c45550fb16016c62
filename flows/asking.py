"""Answers from the catalog, as tables for people and JSON for programs."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.tables import print_table
from infra.catalog.catalog import Catalog
from infra.catalog.history import difference, lineage
from infra.catalog.questions import change
from infra.models.registry import campaign_model
from infra.models.resolve import list_models
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence


_FEW = 5
Form = Literal["table", "json", "csv"]


def print_coverage(campaign: str, *, by: str, round_id: int | None, at: str | None, form: Form) -> None:
    """Coverage by tier, source or rollouts, now or at a version.

    Raises:
        CatalogError: There is no catalog or no such version, or `by` is none of these.
    """
    with open_at(campaign, at) as catalog:
        rows = catalog.coverage(round_id, by=by)
    _print_rows(rows, form=form)


def print_sql(campaign: str, query: str, *, at: str | None = None, form: Form = "table") -> None:
    """The result of a query, now or at a version.

    Raises:
        CatalogError: There is no catalog or no such version, or the query is wrong or would write.
    """
    with open_at(campaign, at) as catalog:
        columns, records = catalog.sql(query)
    _print_rows([dict(zip(columns, record, strict=True)) for record in records], columns, form=form)


def change_by_sql(campaign: str, statements: str) -> None:
    """Run statements that change the catalog, all of them or none.

    Raises:
        CatalogError: There is no catalog, or a statement is wrong.
    """
    with Catalog.open(campaign) as catalog:
        count = change(catalog.connection, catalog.location, statements)
    print(f"{count} rows changed")


def open_at(campaign: str, at: str | None) -> Catalog:
    """The catalog for reading, or the version of it that a tag or number names.

    Raises:
        CatalogError: There is no catalog or no such version.
    """
    newest = Catalog.open(campaign, read_only=True)
    if at is None:
        return newest
    with newest:
        snapshot = newest.snapshot_of(at)
    return Catalog.open(campaign, read_only=True, at=snapshot)


def print_difference(campaign: str, one: str, other: str, *, as_json: bool) -> None:
    """What changed from one version to another.

    Raises:
        CatalogError: A version does not exist, or the first is the newer one.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        found = difference(catalog, one, other)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    rows = [{"table": name, "added": a, "removed": r} for name, (a, r) in found.tables.items()]
    _print_rows(rows, ("table", "added", "removed"), form="table")
    for what, problems in (("newly solved", found.newly_solved), ("no longer solved", found.newly_lost)):
        shown = ", ".join(problems[:_FEW]) + (", …" if len(problems) > _FEW else "")
        print(f"{what}: {len(problems)}{f' ({shown})' if problems else ''}")


def print_lineage(campaign: str, model_id: str, *, as_json: bool) -> None:
    """Everything that made a model, and what was made with it.

    Raises:
        CatalogError: There is no such model.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        facts = lineage(catalog, model_id)
    if as_json:
        print(json.dumps(facts, default=str))
        return
    rows = [
        {"what": name, "value": _words(value)} for name, value in facts.items() if value not in (None, [])
    ]
    _print_rows(rows, ("what", "value"), form="table")


def decide(campaign: str, problem: str, decision: str, *, answer: str | None, reason: str) -> None:
    """Write down what is to become of a problem whose reference is in doubt.

    Raises:
        CatalogError: There is no such problem, or the decision is none.
    """
    with Catalog.open(campaign) as catalog:
        problem_id = catalog.find_problem(problem).problem_id
        from_round = catalog.decide(problem_id, decision, answer=answer, reason=reason)
    print(f"{decision} {problem_id}, from round {from_round} on")


def print_models(campaign: str, *, as_json: bool) -> None:
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
        row["location"] = row["location"].removeprefix(f"{Path(campaign).resolve()}/")
    _print_rows(trained, form="table")
    _print_rows(pulled, form="table")


def print_model(campaign: str, model_id: str, *, as_json: bool) -> None:
    """Everything the catalog knows of one model.

    Raises:
        CatalogError: There is no catalog.
        ModelError: There is no such model; the error names those that are there.
    """
    row = asdict(campaign_model(campaign, model_id))
    if as_json:
        print(json.dumps(row, default=str))
        return
    metrics = row.pop("metrics")
    _print_rows(
        [{"field": name, "value": value} for name, value in row.items() if value is not None], form="table"
    )
    _print_rows([{"metric": name, "value": metrics[name]} for name in sorted(metrics)], form="table")


def _print_rows(rows: Sequence[dict[str, Any]], columns: Sequence[str] = (), *, form: Form) -> None:
    names = list(columns) or list(rows[0] if rows else ())
    if form == "json":
        print(json.dumps(list(rows), default=str))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in rows)
    elif names:
        print_table(names, [[row[name] for name in names] for row in rows])
    else:
        print("nothing yet")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_words(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, list):
        return ", ".join(_words(each).replace("\n", " ") for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def export_data(
    campaign: str, what: str, *, round_id: int, form: str, folder: Path | None, at: str | None
) -> None:
    """Write a round's training data for other programs.

    Raises:
        CatalogError: There is nothing to export, or it cannot be written.
    """
    from infra.exports import export  # noqa: PLC0415 - pyarrow loads only when it is needed

    target = folder or Path(f"{_name(campaign)}-round-{round_id}-{what}")
    with open_at(campaign, at) as catalog:
        count = export(catalog, what, round_id, form, target)
    print(f"{count} {what} of round {round_id} in {target}")


def import_files(campaign: str, files: Sequence[Path], *, round_id: int, source: str, licence: str) -> None:
    """Add released training data to a round, each file as a whole or not at all.

    Raises:
        SourceError: A file cannot be read; those before it are in the catalog.
        CatalogError: The round has data of its own, or the catalog cannot be written.
    """
    from infra.imports import import_file  # noqa: PLC0415 - pyarrow loads only when it is needed

    with Catalog.open(campaign, create="://" not in campaign) as catalog:
        for path in files:
            done = import_file(catalog, path, round_id, source, licence)
            if done.known:
                print(f"{path}: imported before, nothing to do")
                continue
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(done.dropped.items()))
            print(
                f"{path}: {done.examples} examples, {done.pairs} pairs, {done.problems} new problems, "
                f"{sum(done.dropped.values())} dropped{f' ({reasons})' if reasons else ''}"
            )


def print_differences(campaign: str, *, checksums: bool, as_json: bool) -> int:
    """Every way in which the catalog and its files disagree; the exit code, 1 if there is any.

    Raises:
        CatalogError: There is no catalog.
    """
    from infra.catalog.checking import differences  # noqa: PLC0415 - pyarrow loads only when it is needed

    with Catalog.open(campaign, read_only=True) as catalog:
        found = list(differences(catalog, checksums=checksums))
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(found) or "the catalog and its files agree")
    return int(bool(found))


def _name(campaign: str) -> str:
    """Last part of a folder or of an address without its question mark."""
    return Path(campaign.replace("?schema=", "/")).name
