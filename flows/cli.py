"""The `rstar` command line. Every command imports what it needs when it runs, so `--help` is instant."""

from __future__ import annotations

import io
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, TextIO

import typer

from flows import server_cli
from flows.catalog_cli import catalog_app
from flows.models_cli import models_app
from flows.options import (
    DEMO_CAMPAIGN,
    AsCsv,
    AsJson,
    AtVersion,
    Campaign,
    ConfigFile,
    DryRun,
    Root,
    Seed,
    SummaryFile,
    form_of,
    load,
)
from flows.running import DEMO_CONFIG, prepare_environment, say_stopped
from flows.serve import serve
from rstar_core.errors import RstarError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A data factory for self-evolving mathematical reasoning.",
)
app.add_typer(models_app, name="models")
app.add_typer(catalog_app, name="catalog")
app.command()(server_cli.up)
app.command()(server_cli.setup)
app.command()(serve)


@app.command()
def demo(summary: SummaryFile = None, seed: Seed = None, root: Root = None, dry_run: DryRun = False) -> None:
    """Two rounds of self-evolution of a small real model on this machine; resumes what is there."""
    _run(DEMO_CONFIG, seed, root, summary, dry_run=dry_run)


@app.command()
def run(
    config: ConfigFile,
    summary: SummaryFile = None,
    seed: Seed = None,
    root: Root = None,
    dry_run: DryRun = False,
) -> None:
    """Run a campaign of rounds; resumes what is there."""
    _run(config, seed, root, summary, dry_run=dry_run)


@app.command()
def plan(
    config: ConfigFile,
    rates_from: Annotated[
        str | None, typer.Option("--campaign", "-c", help="Take rates that are not known here from this one.")
    ] = None,
    problems: Annotated[
        int | None, typer.Option(help="Training problems; counted without it.", min=0)
    ] = None,
    heldout: Annotated[int | None, typer.Option(help="Held-out problems, likewise.", min=0)] = None,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs at work; those of this machine without it.", min=0)
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Of all generation, whatever was measured.", min=0.001)
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Shards, rollouts, tokens and hours of a campaign before they are spent; done and left."""
    from flows.planning import print_plan  # noqa: PLC0415 - see the module's docstring
    from infra.plan import Given  # noqa: PLC0415 - as above

    given = Given(problems, heldout, gpus, tokens_per_second)
    print_plan(load(config, None, root), given, rates_from, as_json=as_json)


@app.command()
def ingest(config: ConfigFile, root: Root = None, dry_run: DryRun = False) -> None:
    """Read the problem sources of a configuration into its catalog."""
    from flows.ingest import ingest_flow  # noqa: PLC0415 - see the module's docstring
    from flows.running import session  # noqa: PLC0415 - as above

    loaded = load(config, None, root)
    if dry_run:
        from flows.dry_run import of_ingest  # noqa: PLC0415 - as above

        print(of_ingest(loaded))
        return
    with session():
        counts = ingest_flow(loaded)
    print(f"{counts['found']} problems found, {counts['added']} new, {counts['dropped']} rows dropped")


@app.command()
def evaluate(
    config: ConfigFile,
    label: Annotated[str, typer.Argument(help="base, r1, r2, … or system2.")],
    root: Root = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Forget what was found before. If that run stops, go on without it."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Evaluate one model of a campaign on the held-out problems; what is done is not done again."""
    from flows.asking import print_sql  # noqa: PLC0415 - see the module's docstring
    from flows.evaluate import evaluate_flow, round_of_label  # noqa: PLC0415 - as above
    from flows.running import session  # noqa: PLC0415 - as above
    from infra.services import close_services  # noqa: PLC0415 - as above
    from infra.workspace import Workspace  # noqa: PLC0415 - as above

    loaded = load(config, None, root)
    round_id = round_of_label(label, len(loaded.rounds))
    if dry_run:
        from flows.dry_run import of_evaluation  # noqa: PLC0415 - as above

        print(of_evaluation(loaded, round_id, label, again=again))
        return
    try:
        with session():
            if again:
                print("evaluated again; if this run stops, go on without --again", file=sys.stderr)
            evaluate_flow(loaded, round_id, label, again=again)
    finally:
        close_services()
    query = f"FROM evaluation_summary WHERE label = '{label}' OR starts_with(label, '{label}-')"
    print_sql(str(Workspace.of(loaded).root), query)


@app.command()
def coverage(
    campaign: Campaign = DEMO_CAMPAIGN,
    by: Annotated[str, typer.Option(help="tier, source or rollouts.")] = "tier",
    round_id: Annotated[int | None, typer.Option("--round", help="Only this round.", min=1)] = None,
    at: AtVersion = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Share of the training problems that have a correct trajectory."""
    from flows.asking import print_coverage  # noqa: PLC0415 - see the module's docstring

    print_coverage(campaign, by=by, round_id=round_id, at=at, form=form_of(as_json, as_csv))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL over the catalog, for example 'from coverage'.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    at: AtVersion = None,
    allow_write: Annotated[
        bool, typer.Option("--allow-write", help="Run statements that change it, all of them or none.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Ask the catalog anything; it changes nothing and reads no other file unless you allow it."""
    from flows.asking import change_by_sql, print_sql  # noqa: PLC0415 - see the module's docstring

    if allow_write:
        change_by_sql(campaign, query)
        return
    print_sql(campaign, query, at=at, form=form_of(as_json, as_csv))


@app.command()
def shards(
    campaign: Campaign = DEMO_CAMPAIGN,
    round_id: Annotated[int | None, typer.Option("--round", help="Only this round.", min=0)] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Each shard that is not done, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shards by round and kind: pending, running, done, failed."""
    from flows.asking import print_sql  # noqa: PLC0415 - see the module's docstring

    query = "FROM shard_status"
    if missing:
        query = """
            SELECT round_id AS "round", shard_id, kind, status, attempt, num_problems AS problems, error
            FROM (FROM shards WHERE status <> 'done')"""
    if round_id is not None:
        query = f'FROM ({query}) WHERE "round" = {round_id}'
    print_sql(campaign, f'FROM ({query}) ORDER BY "round", kind', form=form_of(as_json))


@app.command()
def retry(
    config: ConfigFile,
    round_id: Annotated[int, typer.Option("--round", help="Of this round.", min=0)],
    shard: Annotated[list[str] | None, typer.Option(help="Only this shard; may be repeated.")] = None,
    root: Root = None,
    dry_run: DryRun = False,
) -> None:
    """Run the shards of a round that failed or are missing, and nothing else of the campaign."""
    from flows.retry import of_retry, retry_flow  # noqa: PLC0415 - see the module's docstring
    from flows.running import session  # noqa: PLC0415 - as above

    loaded = load(config, None, root)
    if dry_run:
        print(of_retry(loaded, round_id, shard))
        return
    with session():
        count = retry_flow(loaded, round_id, shard)
    print(f"{count} shards done" if count else "nothing is missing")


@app.command()
def versions(campaign: Campaign = DEMO_CAMPAIGN, as_json: AsJson = False) -> None:
    """The catalog's named versions: one for each stage that was finished."""
    from flows.asking import print_sql  # noqa: PLC0415 - see the module's docstring

    query = "SELECT tag, version, message, created_at FROM versions ORDER BY version"
    print_sql(campaign, query, form=form_of(as_json))


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="Tag or number of the older version.")],
    other: Annotated[str, typer.Argument(help="Tag or number of the newer version.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    as_json: AsJson = False,
) -> None:
    """What changed between two versions: rows of each table, problems solved and lost."""
    from flows.asking import print_difference  # noqa: PLC0415 - see the module's docstring

    print_difference(campaign, one, other, as_json=as_json)


@app.command()
def lineage(
    model: Annotated[str, typer.Argument(help="Id of a model, for example round-1/policy.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    as_json: AsJson = False,
) -> None:
    """Where a model came from: data and its version, shards, models, settings, seeds, code."""
    from flows.asking import print_lineage  # noqa: PLC0415 - see the module's docstring

    print_lineage(campaign, model, as_json=as_json)


@app.command()
def suspects(campaign: Campaign = DEMO_CAMPAIGN, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Unsolved problems whose trajectories agree on another answer than the reference."""
    from flows.asking import print_sql  # noqa: PLC0415 - see the module's docstring

    print_sql(campaign, "FROM suspects", form=form_of(as_json, as_csv))


@app.command()
def decide(
    problem: Annotated[str, typer.Argument(help="Id of a problem, or a unique beginning of one.")],
    decision: Annotated[str, typer.Argument(help="keep, fix or drop.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    answer: Annotated[str | None, typer.Option(help="The right answer, for fix.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.")] = "",
) -> None:
    """Decide about a suspect; the next round that is planned honours it."""
    from flows.asking import decide as write_decision  # noqa: PLC0415 - see the module's docstring

    write_decision(campaign, problem, decision, answer=answer, reason=reason)


@app.command()
def export(
    what: Annotated[str, typer.Argument(help="sft, pairs or trajectories.")],
    round_id: Annotated[int, typer.Option("--round", help="Of this round.", min=1)],
    campaign: Campaign = DEMO_CAMPAIGN,
    form: Annotated[str, typer.Option("--format", help="parquet, jsonl or hf.")] = "parquet",
    folder: Annotated[Path | None, typer.Option("--out", help="A new folder for it.")] = None,
    at: AtVersion = None,
) -> None:
    """Training data for other programs, in TRL's field names, with a card that describes it."""
    from flows.asking import export_data  # noqa: PLC0415 - see the module's docstring

    export_data(campaign, what, round_id=round_id, form=form, folder=folder, at=at)


@app.command("import")
def import_data(
    files: Annotated[list[Path], typer.Argument(help="Files of released rStar-Math training data.")],
    round_id: Annotated[int, typer.Option("--round", help="Into this round, which has no data yet.", min=1)],
    campaign: Campaign = DEMO_CAMPAIGN,
    source: Annotated[str, typer.Option(help="Name of the source.")] = "released",
    licence: Annotated[str, typer.Option(help="Licence of the source.")] = "unknown",
) -> None:
    """Released training data ({query, response} or {prompt, pos, neg}) into a round; again adds nothing."""
    from flows.asking import import_files  # noqa: PLC0415 - see the module's docstring

    import_files(campaign, files, round_id=round_id, source=source, licence=licence)


@app.command()
def tree(
    problem: Annotated[str, typer.Argument(help="Id of a problem, or a unique beginning of one.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    round_id: Annotated[
        int | None, typer.Option("--round", help="Its tree of this round; the newest without it.", min=1)
    ] = None,
    tree_index: Annotated[
        int | None, typer.Option("--tree", help="Which tree of that round; the first without it.", min=0)
    ] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write a page to this file instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """One search tree: each step with its figures, what failed, and what was chosen for training."""
    from flows.tree import show_tree  # noqa: PLC0415 - see the module's docstring

    show_tree(campaign, problem, round_id=round_id, tree_index=tree_index, page=page, as_json=as_json)


@app.command()
def solve(
    question: Annotated[str, typer.Argument(help="The question.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    trees: Annotated[int | None, typer.Option(help="Trees; the campaign's without it.", min=1)] = None,
    rollouts: Annotated[int | None, typer.Option(help="Rollouts of each tree, likewise.", min=1)] = None,
    candidates: Annotated[int | None, typer.Option(help="Candidates per step, likewise.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question by search with the newest policy and PPM of a campaign (System 2)."""
    from flows.solve import solve_question  # noqa: PLC0415 - see the module's docstring

    given = {"num_trees": trees, "num_rollouts": rollouts, "num_candidates": candidates}
    changes = {name: value for name, value in given.items() if value is not None}
    solve_question(campaign, question, changes, as_json=as_json)


@app.command("exec")
def execute(
    timeout_seconds: Annotated[float, typer.Option(help="Limit of one program.", min=0.001)] = 5.0,
    memory_mb: Annotated[int, typer.Option(help="Memory of one program.", min=64)] = 512,
    workers: Annotated[int, typer.Option(help="Programs at a time.", min=1)] = 2,
) -> None:
    """Run programs from standard input in the sandbox: JSON lines in, JSON lines out, in order."""
    from infra.sandbox.filter import run_exec_filter  # noqa: PLC0415 - see the module's docstring
    from infra.sandbox.sandbox import Sandbox  # noqa: PLC0415 - as above
    from rstar_core.config import SandboxConfig  # noqa: PLC0415 - as above

    config = SandboxConfig(timeout_seconds=timeout_seconds, memory_mb=memory_mb, num_workers=workers)
    with Sandbox(config) as sandbox:
        run_exec_filter(*_text_streams(), sandbox)


@app.command()
def grade() -> None:
    """Check answers from standard input: JSON lines in, JSON lines out, in order."""
    from infra.grading.answer_check import AnswerCheck  # noqa: PLC0415 - see the module's docstring
    from infra.grading.filter import run_grade_filter  # noqa: PLC0415 - as above

    with AnswerCheck() as answer_check:
        run_grade_filter(*_text_streams(), answer_check)


def _text_streams() -> tuple[TextIO, TextIO]:
    """Standard input and output as UTF-8; bytes that are no text come in as half characters."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "strict")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    return sys.stdin, sys.stdout


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What works on this machine, and what to do about the rest."""
    from flows.doctor import print_checks  # noqa: PLC0415 - see the module's docstring

    if not print_checks(as_json=as_json):
        raise typer.Exit(1)


def _run(path: Path, seed: int | None, root: str | None, summary: Path | None, *, dry_run: bool) -> None:
    from flows.dry_run import of_campaign  # noqa: PLC0415 - see the module's docstring
    from flows.running import run_campaign  # noqa: PLC0415 - as above

    config = load(path, seed, root)
    if dry_run:
        print(of_campaign(config))
    else:
        run_campaign(config, summary)


def main() -> None:
    """Run a command; a known error is one sentence on standard error and exit code 1."""
    prepare_environment()
    try:
        app()
    except RstarError as error:
        print(f"rstar: {error}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):  # DuckDB's word for an interrupt
            raise
        say_stopped()
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:  # typer's word for an interrupt
            say_stopped()
        raise


if __name__ == "__main__":
    main()
