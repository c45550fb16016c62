import re
from collections import defaultdict

import pytest

from infra.catalog.rows import ShardRow
from infra.driver import Services
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.evaluation import evaluate_problems, evaluation_jobs
from infra.grading.fake import ExactGrader
from infra.ppm import ScriptedScorer
from infra.pulse import Pulse
from infra.sandbox.fake import ScriptedRunner, printed
from infra.system2 import ask_trees, group_answers
from rstar_core.budget import greedy_search, system2_search
from rstar_core.config import EvaluationConfig, SearchConfig
from rstar_core.types import Problem, Split, Tier, Verdict

SEARCH = SearchConfig(max_depth=5)
SYSTEM2 = system2_search(SEARCH, EvaluationConfig(num_candidates=3, num_rollouts=2))
PROBLEMS = [
    Problem(f"p{number}", f"Guess {number}?", str(number % 4), Tier.MATH, "s", "l", Split.HELDOUT)
    for number in range(12)
]
SHARD = ShardRow(2, "evaluate-0", "evaluate:system2", 1, "running", 12, tuple(p.problem_id for p in PROBLEMS))


def run_arithmetic(prefix, code):
    return printed(re.findall(r"x = (\d)", prefix)[-1] if "print(x)" in code else "")


def score(request, candidate):
    return len("".join(request.steps) + candidate) % 21 / 10 - 1


def services(grader=None, policy=random_arithmetic):
    return Services(
        ScriptedPolicy(policy), ScriptedRunner(run_arithmetic), grader or ExactGrader(), ScriptedScorer(score)
    )


def unhurried():
    return Pulse("evaluate-0", timeout_seconds=600, stall_seconds=600)


def evaluated(num_trees, rule="best", config=SYSTEM2, world=None):
    """Rows by label and problem; every label has one row of each problem."""
    world = world or services()
    jobs = evaluation_jobs(PROBLEMS, config, label="system2", seed=1, num_trees=num_trees)
    rows = evaluate_problems(PROBLEMS, jobs, world, SHARD, label="system2", pulse=unhurried(), rule=rule)
    found = defaultdict(dict)
    for row in rows:
        assert row.problem_id not in found[row.label]
        found[row.label][row.problem_id] = row
    assert all(len(by_problem) == len(PROBLEMS) for by_problem in found.values())
    return found


def right(rows):
    return sum(row.correct is True for row in rows.values())


@pytest.mark.parametrize("config", [SYSTEM2, greedy_search(SEARCH)], ids=["system2", "greedy"])
def test_one_tree_has_one_label(config):
    assert set(evaluated(1, config=config)) == {"system2"}


def test_one_run_of_several_trees_reports_every_rule_and_what_the_first_trees_say():
    found = evaluated(5)
    assert set(found) == {
        *("system2", "system2-majority", "system2-weighted", "system2-maj@2", "system2-maj@4"),
        *("system2-pass@1", "system2-pass@2", "system2-pass@4", "system2-pass@5"),
    }
    bounds = [right(found[f"system2-pass@{count}"]) for count in (1, 2, 4, 5)]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]
    assert all(right(rows) <= bounds[-1] for rows in found.values())
    for problem in PROBLEMS:
        tokens = [found[f"system2-pass@{count}"][problem.problem_id].num_tokens for count in (1, 2, 4, 5)]
        assert tokens == sorted(tokens)
        assert tokens[-1] == found["system2"][problem.problem_id].num_tokens
        assert found["system2-pass@5"][problem.problem_id].answer is None


def test_the_configured_rule_is_system2_and_the_verdicts_are_those_of_the_answers():
    by_best, by_majority = evaluated(5), evaluated(5, rule="majority")

    def answers(rows):
        return {problem_id: (row.answer, row.correct) for problem_id, row in rows.items()}

    assert answers(by_majority["system2"]) == answers(by_best["system2-majority"])
    assert answers(by_majority["system2-best"]) == answers(by_best["system2"])
    assert answers(by_majority["system2-weighted"]) == answers(by_best["system2-weighted"])
    assert answers(by_best["system2"]) != answers(by_best["system2-majority"])
    references = {problem.problem_id: problem.answer for problem in PROBLEMS}
    for problem_id, (answer, correct) in answers(by_best["system2"]).items():
        assert correct is (answer == references[problem_id])


def test_the_first_tree_alone_is_the_run_with_one_tree():
    alone, first = evaluated(1)["system2"], evaluated(3)["system2-pass@1"]
    assert {key: row.correct for key, row in alone.items()} == {
        key: row.correct for key, row in first.items()
    }


def test_without_an_answer_nothing_is_right():
    found = evaluated(2, world=services(policy=lambda request: ["no tag"] * request.num_candidates))
    for rows in found.values():
        assert {(row.answer, row.correct, row.num_trajectories) for row in rows.values()} == {
            (None, False, 0)
        }


class Undecided(ExactGrader):
    """Says nothing of what is not equal."""

    async def grade(self, request):
        return tuple(Verdict(each.correct or None, "exact", 0.0) for each in await super().grade(request))


def test_an_answer_that_cannot_be_decided_is_neither_right_nor_wrong():
    found = evaluated(3, world=services(Undecided()))
    for rows in found.values():
        assert {row.correct for row in rows.values()} <= {True, None}
    assert None in {row.correct for row in found["system2-pass@3"].values()}


class Numbers(ExactGrader):
    """Compares by value; what is no number cannot be compared."""

    async def grade(self, request):
        self.requests.append(request)

        def same(one, other):
            try:
                return float(one) == float(other)
            except ValueError:
                return None

        return tuple(Verdict(same(each, request.reference), "value", 0.0) for each in request.predictions)


async def test_answers_are_grouped_by_the_answer_check_and_the_incomparable_stay_apart():
    grader = Numbers()
    groups = await group_answers(["0.5", "x", "2", ".50", "x", "2.0", "y"], grader)
    assert groups == {"0.5": "0.5", ".50": "0.5", "2": "2", "2.0": "2", "x": "x", "y": "y"}
    assert len(grader.requests) <= 4
    assert await group_answers([], grader) == {}


async def test_a_ballot_counts_who_agrees_and_knows_no_reference():
    world = services()
    ballot = await ask_trees("p", "Guess?", SYSTEM2, world, [1, 2, 3, 4, 5, 6])
    assert [grown.job.reference for grown in ballot.grown] == [None] * 6
    chosen = ballot.elect("majority")
    votes = [vote.answer for vote in ballot.votes]
    assert ballot.agreeing(chosen) == votes.count(chosen.answer) == max(map(votes.count, votes))
    assert ballot.elect("majority", num_trees=1).tree == 0
