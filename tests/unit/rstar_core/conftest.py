"""Plain functions that answer what a search asks, and a world whose replies depend on a seed alone."""

import hashlib
import random
import re
from dataclasses import dataclass

import pytest

from rstar_core.config import SearchConfig
from rstar_core.requests import Execute, Grade, Propose, Score, Together
from rstar_core.search import search
from rstar_core.types import Completion, Execution, ExecutionStatus, Verdict


class FirstOfTied(random.Random):
    """A stream whose draws are easy to follow by hand: ties go to the first, seeds count up from 1."""

    def __init__(self):
        super().__init__(0)
        self.drawn = 0

    def choice(self, seq):
        return seq[0]

    def randint(self, _low, _high):
        self.drawn += 1
        return self.drawn


@dataclass
class Played:
    """A finished tree, and the requests and replies that made it."""

    tree: object
    requests: list
    replies: list

    def of(self, kind):
        return [request for request in self.requests if isinstance(request, kind)]


def run_code(_prefix, code):
    """`print(…)` prints what stands in it, `raise` fails, everything else runs in silence."""
    if "raise" in code:
        return Execution(ExecutionStatus.ERROR, "", "ValueError: no", 0.0)
    printed = re.search(r"print\((.*)\)", code)
    return Execution(ExecutionStatus.OK, f"{printed[1]}\n" if printed else "", "", 0.0)


def grade_exactly(prediction, reference):
    """Equal strings are correct; a question mark cannot be decided."""
    return Verdict(None if "?" in prediction else prediction == reference, "exact", 0.0)


def reply_to(request, propose, execute, score, grade):
    """The reply to any request; `propose(request)` gives texts or completions, `score(text)` a float."""
    match request:
        case Together(requests):
            return tuple(reply_to(each, propose, execute, score, grade) for each in requests)
        case Propose():
            return tuple(
                Completion(each, len(each.split()), finished=True) if isinstance(each, str) else each
                for each in propose(request)
            )
        case Execute(prefix, candidates):
            return tuple(execute(prefix, code) for code in candidates)
        case Score(_, steps, candidates):
            return tuple(score("".join(steps) + text) for text in candidates)
        case Grade(predictions, expected):
            return tuple(grade(prediction, expected) for prediction in predictions)


def drive(config, propose, *, execute=run_code, score=None, grade=grade_exactly, reference="5", rng=None):
    """Run a search to its end, answered as `reply_to` does."""
    searching = search("How many?", reference, config, rng or FirstOfTied())
    requests, replies, reply = [], [], None
    while True:
        try:
            request = searching.send(reply)
        except StopIteration as end:
            return Played(end.value, requests, replies)
        requests.append(request)
        reply = reply_to(request, propose, execute, score, grade)
        replies.append(reply)


class World:
    """Replies that look like a weak model's and depend on the request and the world's seed alone."""

    def __init__(self, seed=0, *, percent_bad=30):
        self.seed, self.percent_bad = seed, percent_bad

    def propose(self, request):
        return [
            self._candidate(request, self._draw("candidate", request.seed, index, *request.steps))
            for index in range(request.num_candidates)
        ]

    def execute(self, prefix, code):
        if "raise" in code:
            return Execution(ExecutionStatus.ERROR, "", "ValueError: no", 0.0)
        total = sum(int(digit) for digit in re.findall(r"x \+= (\d)", prefix + code))
        return Execution(ExecutionStatus.OK, f"{total}\n" if "print(x)" in code else "", "", 0.0)

    def score(self, text):
        return self._draw("score", text) % 201 / 100 - 1

    def grade(self, prediction, reference):
        return grade_exactly(prediction, reference)

    def reply(self, request):
        return reply_to(request, self.propose, self.execute, self.score, self.grade)

    def play(self, config, *, reference="5", seed=0):
        return drive(
            config,
            self.propose,
            execute=self.execute,
            score=self.score,
            grade=self.grade,
            reference=reference,
            rng=random.Random(seed),
        )

    def _candidate(self, request, draw):
        bad, draw = draw % 100 < self.percent_bad, draw // 100
        if request.steps and "<end_of_code>" in request.steps[-1]:
            printed = re.search(r"<output>(.*?)<end_of_output>", request.steps[-1])[1]
            wrong = ("the answer is obvious<end_of_answer>", "\\boxed{?}<end_of_answer>", "no tag")
            return wrong[draw % 3] if bad else f"<answer>\\boxed{{{printed}}}<end_of_answer>"
        if bad:
            return ("raise ValueError\n<end_of_step>", "no tag", "x += 0\n<end_of_code>", "<end_of_step>")[
                draw % 4
            ]
        if request.steps and draw % 2:
            return f"# Now print the final answer {draw % 3}\nprint(x)\n<end_of_code>"
        return f"# Step {len(request.steps) + 1}\nx += {draw % 5}\n<end_of_step>"

    def _draw(self, *parts):
        label = "/".join(str(part) for part in (self.seed, *parts))
        return int.from_bytes(hashlib.sha256(label.encode()).digest()[:6], "big")


@pytest.fixture(scope="session")
def play():
    return drive


@pytest.fixture(scope="session")
def world():
    return World


@pytest.fixture(scope="session")
def settings():
    """Small searches: `settings(num_rollouts=3)`."""

    def build(**changes):
        small = {"num_candidates": 2, "num_rollouts": 1, "num_proposals": 1, "max_depth": 6}
        return SearchConfig(**{**small, **changes})

    return build
