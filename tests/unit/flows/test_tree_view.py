import random
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from flows.tree_page import tree_page
from flows.tree_text import tree_text
from flows.tree_view import tree_view
from flows.visible import first_line, visible
from infra.catalog.rows import RoundRow, ShardRow
from infra.tree_history import TreeHistory
from infra.tree_marks import Marks
from rstar_core.audit import Rejected
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Problem, Split, Step, StepKind, Tier

HOSTILE = "\x1b[2J\x9b31m\u202e\ud800</pre><img src=x onerror=alert(1)>[red]'\"&"
LONG = "\n".join(f"line_{number} = {'1' * 200}" for number in range(9))


def grown_tree():
    """A long step (1), a dead end (2), one never tried (3); below 1 a program (4) and its answer (5)."""
    tree = Tree()
    tree.extend(
        0,
        [Step(StepKind.CODE, f"{text}\n<end_of_step>\n") for text in (LONG, "x = 2", "x = 3")],
        [0.5, 0.0, -0.25],
    )
    program = f"print(1)\n<end_of_code>\n<output>{HOSTILE}\nlast<end_of_output>\n"
    tree.extend(1, [Step(StepKind.FINAL_CODE, program)], [0.75])
    tree.extend(4, [Step(StepKind.ANSWER, f"<answer>{HOSTILE} \\boxed{{{HOSTILE}}}.<end_of_answer>")], [1.0])
    tree.end(2, Terminal.DEAD_END)
    tree.end(5, Terminal.ANSWER, correct=True)
    for node, (visits, q) in {0: (3, 1.0), 1: (2, 2.0), 2: (1, -1.0), 4: (2, 2.0), 5: (2, 2.0)}.items():
        tree.visits[node], tree.q_sum[node] = visits, q
    return tree


def history(**changes):
    problem = Problem("0123456789abcdef", f"Why {HOSTILE}?", HOSTILE, Tier.MATH, HOSTILE, "none", Split.TRAIN)
    round_row = RoundRow(
        2, "c", {}, "h", 1, "round-1/policy", "/m/round-1/ppm", "done", datetime.now(UTC), None
    )
    failures = [Rejected("code_error", f"{HOSTILE}\n<end_of_step>\n", HOSTILE)] * 2
    failures += [Rejected("code_timeout", f"y = {number}\n<end_of_step>\n", "") for number in range(6)]
    failures += [Rejected("identical_sibling", "x = 2\n<end_of_step>\n", "")] * 3
    values = {
        "problem": problem,
        "round": round_row,
        "shard": ShardRow(2, "search-00000", "search", 1, "done", 1, (problem.problem_id,)),
        "tree_index": 0,
        "tree_indices": (0, 3),
        "seed": 7,
        "tree": grown_tree(),
        "num_rollouts": 3,
        "num_tokens": 1,
        "num_candidates": 20,
        "num_failed": 8,
        "scored": True,
        "rejected": {0: failures},
        "note": "",
        "marks": Marks({1: [1, 2], 4: [1], 5: [1]}, frozenset({1, 5}), frozenset({2})),
    }
    return TreeHistory(**{**values, **changes})


def printed(view, width=100):
    console = Console(width=width, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(tree_text(view))
    return capture.get()


def test_what_cannot_be_seen_is_replaced_and_the_rest_stays():
    assert visible("a\tb\né ★ x̂") == "a\tb\né ★ x̂"
    assert visible("\x1b[0m\x00\x7f\r") == "␛[0m␀␡␍"
    assert visible("\x9b\u202e\ud800\u2028\u200b") == "�" * 5
    assert first_line("\n \n  a\x07b \nc") == "a␇b"
    assert first_line(" \n") == ""


def test_every_line_fits_the_width_and_long_steps_are_cut():
    text = printed(tree_view(history()))
    assert max(map(len, text.splitlines())) <= 100
    assert "line_2" in text
    assert "line_3" not in text
    assert "… 6 more lines" in text


def test_a_line_says_visits_q_score_outcome_ranks_and_side():
    text = printed(tree_view(history()))
    assert re.search(r"#1  N 2  Q \+1\.00  PPM \+0\.50  ok  ★1  ★2  ⊕", text)
    assert re.search(r"#2  N 1  Q -1\.00  PPM \+0\.00  ok, then a dead end  ⊖", text)
    assert re.search(r"#3  N 0  Q +–  +PPM -0\.25  ok", text)
    assert "question  3 repeats" in text
    assert "there is also --tree 3" in text
    assert "policy round-1/policy, PPM round-1/ppm" in text
    assert "1 token," in text


def test_without_a_ppm_no_score_is_shown():
    assert "PPM +" not in printed(tree_view(history(scored=False)))
    assert "no PPM" in printed(tree_view(history(scored=False)))


def test_failed_candidates_stand_with_their_reason_and_many_are_counted():
    text = printed(tree_view(history()))
    assert "✗ 2 × error: ␛[2J" in text
    assert text.count("✗ timeout") == 3
    assert "✗ 3 more failed" in text
    page = tree_page(tree_view(history()))
    assert "✗ 8 candidates failed" in page
    assert page.count("<b>timeout</b>") == 6


@pytest.mark.parametrize("draw", [lambda view: printed(view, 300), tree_page], ids=["terminal", "page"])
def test_hostile_text_is_neutral(draw):
    text = draw(tree_view(history(note=HOSTILE)))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    text.encode()


def test_the_page_escapes_everything_that_a_model_wrote_and_asks_for_nothing():
    page = tree_page(tree_view(history(note=HOSTILE)))
    assert "<img" not in page
    assert "&lt;/pre&gt;&lt;img src=x onerror=alert(1)&gt;[red]&#x27;&quot;&amp;" in page
    assert not re.search(r"<(script|link|iframe|object|form|a)\b|url\(|https?:", page)
    assert "default-src 'none'" in page
    for tag in ("details", "summary", "pre", "ul", "li", "span", "dl"):
        assert page.count(f"<{tag}") == page.count(f"</{tag}>")


def test_the_page_opens_what_was_visited_and_marks_what_was_chosen():
    page = tree_page(tree_view(history()))
    assert page.count('<details class="chosen" open>') == 2  # and the answer, which is closed
    assert page.count('<details class="idle"><summary>') == 1
    assert page.count('<pre class="output">') == 1


def test_a_deep_tree_is_drawn():
    tree, node = Tree(), 0
    rng = random.Random(1)
    for _ in range(254):
        (node,) = tree.extend(node, [Step(StepKind.CODE, f"x = {rng.random()}\n<end_of_step>\n")], [0.0])
    view = tree_view(history(tree=tree, rejected=None, marks=Marks({}, frozenset(), frozenset())))
    assert "#254" in tree_page(view)
    assert printed(view)
