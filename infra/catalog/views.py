"""The views engineers query. Each answers one question; its comment is the question's answer in words.

Only shards that are done count. Evaluation shards (kind `evaluate:…`) never count as coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

_Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class View:
    """One view.

    Attributes:
        name: Its name.
        comment: What a row of it means.
        query: Its SELECT.
    """

    name: str
    comment: str
    query: str


def _wilson(sign: str) -> str:
    """One end of the Wilson score interval at 95 % for `correct` of `n`, as SQL."""
    share, square = "(correct / n)", f"{_Z * _Z}"
    centre = f"{share} + {square} / (2 * n)"
    half = f"{_Z} * sqrt({share} * (1 - {share}) / n + {square} / (4 * n * n))"
    return f"greatest(0, least(1, ({centre} {sign} {half}) / (1 + {square} / n)))"


def _evaluation(*keys: str) -> str:
    """Pass@1 with its interval, grouped by the keys."""
    columns = ", ".join(keys)
    return f"""
        SELECT *, correct / n AS pass_at_1, {_wilson("-")} AS low, {_wilson("+")} AS high
        FROM (
            SELECT round_id AS "round", {columns}, count(*) AS n,
                count(*) FILTER (WHERE correct) AS correct,
                count(*) FILTER (WHERE correct IS NULL) AS undecided,
                sum(num_tokens)::BIGINT AS num_tokens, sum(seconds) AS seconds
            FROM evaluations GROUP BY ALL
        ) ORDER BY "round", {columns}"""  # noqa: S608 — the keys are the constants below


OUTCOMES = View(
    "outcomes",
    "Per round and training problem that a done shard tried: trajectories, correct ones, solved or not.",
    """
    SELECT round_id AS "round", problem_id, any_value(tier) AS tier, any_value(source) AS source,
        sum(num_trajectories)::BIGINT AS num_trajectories, sum(num_correct)::BIGINT AS num_correct,
        sum(num_correct) > 0 AS solved
    FROM outcome_changes GROUP BY round_id, problem_id HAVING sum(tries) > 0
    """,
)

COVERAGE = View(
    "coverage",
    "Per round and tier (and all): training problems tried by done shards, how many got a correct trajectory"
    " in this round, and their share.",
    """
    SELECT round_id AS "round", coalesce(tier, 'all') AS tier, sum(tried)::BIGINT AS problems,
        sum(solved)::BIGINT AS solved, sum(solved) / sum(tried) AS coverage
    FROM outcome_changes GROUP BY GROUPING SETS ((round_id, tier), (round_id)) HAVING sum(tried) > 0
    ORDER BY "round", list_position(['gsm', 'math', 'olympiad', 'other', 'all'], coalesce(tier, 'all'))
    """,
)

COVERAGE_BY_SOURCE = View(
    "coverage_by_source",
    "Coverage per round and problem source.",
    """
    SELECT round_id AS "round", source, sum(tried)::BIGINT AS problems, sum(solved)::BIGINT AS solved,
        sum(solved) / sum(tried) AS coverage
    FROM outcome_changes GROUP BY round_id, source HAVING sum(tried) > 0 ORDER BY "round", source
    """,
)

COVERAGE_CURVE = View(
    "coverage_curve",
    "Per round, tier (and all) and number of rollouts spent on a problem (1, 2, 4, 8, … and all that were):"
    " training problems tried, how many had a correct trajectory by then, and their share. The trees of a"
    " problem count one after the other; null where it was not written down when a solution was found.",
    """
    WITH done AS (
        SELECT round_id, shard_id FROM shards WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
    ), spent AS (
        SELECT round_id, problem_id, tree_index, num_rollouts, coalesce(sum(num_rollouts) OVER (
            PARTITION BY round_id, problem_id ORDER BY tree_index
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS before
        FROM trees SEMI JOIN done USING (round_id, shard_id)
    ), solved AS (
        SELECT round_id, problem_id, min(before + found_at_rollout) AS at_rollout,
            bool_or(found_at_rollout IS NULL) AS unknown
        FROM (FROM trajectories SEMI JOIN done USING (round_id, shard_id) WHERE correct)
        JOIN spent USING (round_id, problem_id, tree_index) GROUP BY round_id, problem_id
    ), steps AS (
        SELECT round_id, unnest([2**n FOR n IN range(40) IF 2**n < most] || [most])::BIGINT AS rollouts
        FROM (SELECT round_id, max(before + num_rollouts) AS most FROM spent GROUP BY round_id)
    )
    SELECT *, solved / problems AS coverage FROM (
        SELECT o."round", coalesce(o.tier, 'all') AS tier, rollouts, count(*) AS problems,
            CASE WHEN bool_or(unknown) THEN NULL
                ELSE count(*) FILTER (WHERE at_rollout <= rollouts) END AS solved
        FROM outcomes o LEFT JOIN solved s ON s.round_id = o."round" AND s.problem_id = o.problem_id
        JOIN steps ON steps.round_id = o."round"
        GROUP BY GROUPING SETS ((o."round", o.tier, rollouts), (o."round", rollouts))
    ) ORDER BY "round", list_position(['gsm', 'math', 'olympiad', 'other', 'all'], tier), rollouts
    """,
)

# First by problem alone: grouping the rounds of all problems takes twice as long as the whole of this.
UNSOLVED = View(
    "unsolved",
    "Training problems that were tried and that no round solved.",
    """
    WITH left_over AS (
        SELECT problem_id FROM outcome_changes
        GROUP BY problem_id HAVING sum(num_correct) = 0 AND sum(tries) > 0
    ), tried AS (
        SELECT problem_id, round_id, sum(num_trajectories) AS num_trajectories
        FROM outcome_changes SEMI JOIN left_over USING (problem_id)
        GROUP BY problem_id, round_id HAVING sum(tries) > 0
    )
    SELECT problem_id, question, answer, tier, source, num_rounds, last_round, num_trajectories
    FROM (
        SELECT problem_id, count(*) AS num_rounds, max(round_id) AS last_round,
            sum(num_trajectories)::BIGINT AS num_trajectories
        FROM tried GROUP BY problem_id
    ) JOIN problems USING (problem_id)
    """,
)

SUSPECTS = View(
    "suspects",
    "Unsolved problems where at least two wrong trajectories and more than half of them agree on one other"
    " answer: the reference may be wrong (19 of 20 were, in the paper). With the newest decision about each.",
    """
    WITH votes AS (
        SELECT problem_id, answer, count(*) AS votes, avg(mean_q) AS mean_q,
            count(DISTINCT (round_id, tree_index)) AS num_trees
        FROM trajectories SEMI JOIN (
            SELECT round_id, shard_id FROM shards
            WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
        ) USING (round_id, shard_id)
        SEMI JOIN unsolved USING (problem_id)
        GROUP BY problem_id, answer
    ), agreed AS (
        SELECT problem_id, arg_max(answer, votes) AS agreed_answer, max(votes) AS num_agreeing,
            arg_max(num_trees, votes) AS num_trees, arg_max(mean_q, votes) AS mean_q,
            sum(votes)::BIGINT AS num_trajectories
        FROM votes GROUP BY problem_id
    ), decided AS (
        SELECT problem_id, arg_max(decision, decided_at) AS decision FROM decisions GROUP BY problem_id
    )
    SELECT problem_id, question, problems.answer AS reference, agreed_answer,
        num_agreeing / num_trajectories AS agreement, num_agreeing, num_trajectories, num_trees, mean_q,
        decision, tier, source
    FROM agreed JOIN problems USING (problem_id) LEFT JOIN decided USING (problem_id)
    WHERE num_agreeing >= 2 AND num_agreeing * 2 > num_trajectories
    ORDER BY agreement DESC, num_trajectories DESC, problem_id
    """,
)

COVERAGE_CHANGES = View(
    "coverage_changes",
    "Per round and tier (and all): problems that no earlier round had solved, problems that an earlier round"
    " had solved and this one tried and did not, and all that were solved so far.",
    """
    WITH first AS (
        SELECT problem_id, min("round") AS first_round FROM outcomes WHERE solved GROUP BY problem_id
    ), counted AS (
        SELECT "round", coalesce(tier, 'all') AS tier,
            count(*) FILTER (WHERE solved AND first_round = "round") AS newly_solved,
            count(*) FILTER (WHERE NOT solved AND first_round < "round") AS newly_lost
        FROM outcomes LEFT JOIN first USING (problem_id)
        GROUP BY GROUPING SETS (("round", tier), ("round"))
    )
    SELECT "round", tier, newly_solved, newly_lost,
        sum(newly_solved) OVER (PARTITION BY tier ORDER BY "round")::BIGINT AS ever_solved
    FROM counted ORDER BY "round", list_position(['gsm', 'math', 'olympiad', 'other', 'all'], tier)
    """,
)

COSTS = View(
    "costs",
    "Per round and tier (and all): trees, rollouts, tokens and tree seconds of the search, and tokens and"
    " seconds for each problem that no earlier round had solved; null where there was none.",
    """
    WITH spent AS (
        SELECT round_id AS "round", coalesce(tier, 'all') AS tier, count(*) AS trees,
            sum(num_rollouts)::BIGINT AS rollouts, sum(num_tokens)::BIGINT AS num_tokens,
            sum(seconds) AS seconds
        FROM trees JOIN problems USING (problem_id) SEMI JOIN (
            SELECT round_id, shard_id FROM shards
            WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
        ) USING (round_id, shard_id)
        GROUP BY GROUPING SETS ((round_id, tier), (round_id))
    )
    SELECT "round", tier, trees, rollouts, num_tokens, seconds, newly_solved,
        num_tokens / nullif(newly_solved, 0) AS tokens_per_newly_solved,
        seconds / nullif(newly_solved, 0) AS seconds_per_newly_solved
    FROM spent LEFT JOIN coverage_changes USING ("round", tier)
    ORDER BY "round", list_position(['gsm', 'math', 'olympiad', 'other', 'all'], tier)
    """,
)

BEST_TRAJECTORIES = View(
    "best_trajectories",
    "Per round and training problem its correct trajectories, each text once, from the best (rank 1) on: the"
    " higher mean Q, then the higher smallest Q, then the shorter text. The first 2 train the policy.",
    """
    WITH correct AS (
        SELECT round_id, shard_id, problem_id, tree_index, trajectory_index, mean_q, min_q, text
        FROM trajectories SEMI JOIN (
            SELECT round_id, shard_id FROM shards
            WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
        ) USING (round_id, shard_id)
        WHERE correct
        QUALIFY row_number() OVER (PARTITION BY round_id, problem_id, text
            ORDER BY mean_q DESC, min_q DESC) = 1
    )
    SELECT round_id AS "round", problem_id, row_number() OVER (PARTITION BY round_id, problem_id
            ORDER BY mean_q DESC, min_q DESC, length(text), text DESC) AS rank,
        shard_id, tree_index, trajectory_index, mean_q, min_q
    FROM correct
    """,
)

SHARD_STATUS = View(
    "shard_status",
    "Per round and kind: shards by status, problems, wall seconds and tokens of the finished ones.",
    """
    SELECT round_id AS "round", kind, count(*) AS shards,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'done') AS done,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        sum(num_problems)::BIGINT AS problems, sum(seconds) AS seconds, sum(num_tokens)::BIGINT AS num_tokens
    FROM shards GROUP BY ALL ORDER BY "round", kind
    """,
)

EVALUATION_SUMMARY = View(
    "evaluation_summary",
    "Per round and label: held-out problems, correct and undecided ones, pass@1 and its Wilson 95 % interval;"
    " an undecided problem counts as not solved.",
    _evaluation("label"),
)

EVALUATION_BY_SOURCE = View(
    "evaluation_by_source",
    "The same as evaluation_summary, per problem source.",
    _evaluation("label", "source"),
)

MODEL_HISTORY = View(
    "model_history",
    "Models in the order they were made, with the held-out pass@1 of the policies (labels base, r1, r2, …).",
    """
    SELECT models.round_id AS "round", role, model_id, base_model, num_examples, n, pass_at_1, low, high,
        metrics, location, digest, created_at
    FROM models LEFT JOIN evaluation_summary ON (role = 'base' AND label = 'base')
        OR (role = 'policy' AND label = 'r' || models.round_id
            AND evaluation_summary."round" = models.round_id)
    ORDER BY models.round_id NULLS FIRST, created_at
    """,
)

VIEWS = (
    OUTCOMES,
    COVERAGE,
    COVERAGE_BY_SOURCE,
    COVERAGE_CURVE,
    UNSOLVED,
    SUSPECTS,
    COVERAGE_CHANGES,
    COSTS,
    BEST_TRAJECTORIES,
    SHARD_STATUS,
    EVALUATION_SUMMARY,
    EVALUATION_BY_SOURCE,
    MODEL_HISTORY,
)
"""In the order of creation: a view may use the ones before it."""
