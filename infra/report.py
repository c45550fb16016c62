"""The outcome of a campaign in figures and in prose, read from its catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.catalog.round_rows import EvaluationRow, StageRow
from rstar_core.metrics import paired_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Summary:
    """What a campaign achieved; the fields of the `--summary` file that the catalog knows.

    Attributes:
        heldout: Per label: correct, n, pass_at_1 and its 95 % interval.
        coverage: Rows of the view `coverage`.
        stages: Wall seconds per stage, all rounds; `round-1/search` and so on.
        costs: What stages have cost, in the currency of the prices; only those that cost anything.
        tokens_per_second: Generated tokens over wall time of all search stages; None before any search.
        busy_share: Share of that wall time in which the engine was working.
        rise: Change of pass@1 from base to the last policy on the same problems, with its interval.
        families: Per source and label: (correct, n).
    """

    heldout: dict[str, dict[str, float]]
    coverage: list[dict[str, Any]]
    stages: dict[str, float]
    costs: dict[str, float]
    tokens_per_second: float | None
    busy_share: float | None
    rise: dict[str, float] | None
    families: dict[str, dict[str, tuple[int, int]]]

    def as_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


def summarise(catalog: Catalog) -> Summary:
    """Read the figures of a campaign, finished or not."""
    _, records = catalog.sql(
        "SELECT label, correct, n, pass_at_1, low, high FROM evaluation_summary ORDER BY label"
    )
    heldout = {
        label: {"correct": correct, "n": n, "pass_at_1": share, "low": low, "high": high}
        for label, correct, n, share, low, high in records
    }
    stages = catalog.fetch(StageRow, order_by="round_id, finished_at")
    searches = [row.detail for row in stages if "wall_seconds" in row.detail]
    wall = sum(each["wall_seconds"] for each in searches)
    evaluations = catalog.fetch(EvaluationRow, order_by="source, label, problem_id")
    return Summary(
        heldout=dict(sorted(heldout.items(), key=lambda item: _label_order(item[0]))),
        coverage=catalog.coverage(),
        stages={_name(row): row.seconds for row in stages},
        costs={_name(row): row.detail["cost"] for row in stages if row.detail.get("cost")},
        tokens_per_second=sum(each["generated_tokens"] for each in searches) / wall if wall else None,
        busy_share=sum(each["busy_seconds"] for each in searches) / wall if wall else None,
        rise=_rise(evaluations),
        families=_families(evaluations),
    )


def markdown(summary: Summary, *, name: str, seed: int) -> str:
    """The written report."""
    parts = [f"# Campaign {name}, seed {seed}\n"]
    if summary.heldout:
        parts += ["## Held-out problems\n", _heldout_table(summary)]
    if summary.rise:
        rise = summary.rise
        parts.append(
            f"From base to {_last_policy(summary.heldout)}: {100 * rise['difference']:+.1f} points on the "
            f"same problems, 95 % interval {100 * rise['low']:+.1f} to {100 * rise['high']:+.1f}.\n"
        )
    if summary.families:
        parts += ["## Held-out problems by source\n", _family_table(summary)]
    parts += ["## Coverage of the training problems\n", coverage_table(summary.coverage)]
    parts += ["## Stages\n", _stage_table(summary)]
    if summary.costs:
        parts.append(f"All stages together have cost {sum(summary.costs.values()):.2f}.\n")
    if summary.tokens_per_second is not None and summary.busy_share is not None:
        parts.append(
            f"Search generated {summary.tokens_per_second:.0f} tokens/s; the engine was busy "
            f"{100 * summary.busy_share:.0f} % of that time.\n"
        )
    return "\n".join(parts)


def coverage_table(rows: Sequence[dict[str, Any]]) -> str:
    """Coverage as a markdown table."""
    lines = ["| round | tier | problems | solved | coverage |", "| ---: | --- | ---: | ---: | ---: |"]
    lines += [
        f"| {row['round']} | {row['tier']} | {row['problems']} | {row['solved']} "
        f"| {100 * row['coverage']:.1f} % |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _stage_table(summary: Summary) -> str:
    """Seconds of each stage, and what it has cost if any has cost something."""
    lines = ["| stage | seconds | cost |", "| --- | ---: | ---: |"]
    for name, seconds in summary.stages.items():
        cost = f"{summary.costs[name]:.2f}" if name in summary.costs else ""
        lines.append(f"| {name} | {seconds:.1f} | {cost} |")
    if not summary.costs:
        lines = [line.rsplit(" |", 2)[0] + " |" for line in lines]
    return "\n".join(lines) + "\n"


def _heldout_table(summary: Summary) -> str:
    lines = ["| policy | correct | n | pass@1 | 95 % interval |", "| --- | ---: | ---: | ---: | --- |"]
    lines += [
        f"| {label} | {row['correct']} | {row['n']} | {100 * row['pass_at_1']:.1f} % "
        f"| {100 * row['low']:.1f} to {100 * row['high']:.1f} |"
        for label, row in summary.heldout.items()
    ]
    return "\n".join(lines) + "\n"


def _family_table(summary: Summary) -> str:
    labels = [label for label in summary.heldout if "@" not in label]  # one column for each k is too wide
    lines = [f"| source | {' | '.join(labels)} |", "| --- |" + " ---: |" * len(labels)]
    for source, results in summary.families.items():
        counts = [results.get(label) for label in labels]
        cells = [f"{count[0]}/{count[1]}" if count else "" for count in counts]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _families(rows: Sequence[EvaluationRow]) -> dict[str, dict[str, tuple[int, int]]]:
    families: dict[str, dict[str, tuple[int, int]]] = {}
    for row in rows:
        correct, n = families.setdefault(row.source, {}).get(row.label, (0, 0))
        families[row.source][row.label] = (correct + (row.correct is True), n + 1)
    return families


def _rise(rows: Sequence[EvaluationRow]) -> dict[str, float] | None:
    by_label: dict[str, dict[str, bool]] = {}
    for row in rows:
        by_label.setdefault(row.label, {})[row.problem_id] = row.correct is True
    last = _last_policy(by_label)
    if last is None or "base" not in by_label:
        return None
    common = sorted(by_label["base"].keys() & by_label[last].keys())
    if not common:
        return None
    before, after = ([by_label[label][each] for each in common] for label in ("base", last))
    difference, low, high = paired_difference(before, after)
    return {"difference": difference, "low": low, "high": high}


def _last_policy(labels: dict[str, Any]) -> str | None:
    rounds = [label for label in labels if label.startswith("r") and label[1:].isdigit()]
    return max(rounds, key=lambda label: int(label[1:]), default=None)


def _name(row: StageRow) -> str:
    return f"round-{row.round_id}/{row.stage}"


def _label_order(label: str) -> tuple[int, int]:
    if label == "base":
        return 0, 0
    return (1, int(label[1:])) if label[1:].isdigit() else (2, 0)
