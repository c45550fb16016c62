"""How a question and its steps become the text that a policy or a PPM reads.

One rendering serves generation, training and scoring. A prompt is a tuple of pieces that are tokenised one
by one and concatenated, so the tokens of a child's prompt always extend its parent's exactly.
"""

from __future__ import annotations

from typing import Literal

from rstar_core.tags import (
    ANSWER_START,
    CODE_START,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    OUTPUT_START,
)

PromptStyle = Literal["bootstrap", "finetuned"]

PREAMBLE = "import math\nimport sympy\n"
"""First lines of every program: part of the prompt, so no candidate has to write them."""

_WORKED_EXAMPLES = (
    (
        "Mia has 3 boxes of 12 pencils. She gives 7 pencils away. How many pencils are left?",
        (
            "# Step 1: count the pencils in the boxes\n"
            "total = 3 * 12\n"
            f"{END_OF_STEP}\n"
            "# Step 2: take away the pencils that were given\n"
            "left = total - 7\n"
            f"{END_OF_STEP}\n"
            "# Now print the final answer\n"
            "print(left)\n"
            f"{END_OF_CODE}\n"
        ),
        "29",
    ),
    (
        "What is the remainder when 2^10 + 5 is divided by 7?",
        (
            "# Step 1: compute the number\n"
            "n = 2**10 + 5\n"
            f"{END_OF_STEP}\n"
            "# Now print the final answer\n"
            "print(n % 7)\n"
            f"{END_OF_CODE}\n"
        ),
        "0",
    ),
)


def output_block(stdout: str) -> str:
    """The block that shows the executor's output to the policy; written by us, never by a model."""
    return f"{OUTPUT_START}{stdout.rstrip()}{END_OF_OUTPUT}\n"


def last_output_line(text: str) -> str:
    """The last line of the last output block of a step's text."""
    block = text.rpartition(OUTPUT_START)[2].partition(END_OF_OUTPUT)[0]
    return block.strip().rpartition("\n")[2].strip()


def answer_step(answer: str) -> str:
    """The canonical text of the answer step."""
    return f"{ANSWER_START}The answer is \\boxed{{{answer}}}.{END_OF_ANSWER}"


def question_piece(question: str) -> str:
    """The template of a fine-tuned policy: the question alone, up to where the first step begins."""
    return f"Question: {question.strip()}\nSolution:\n{CODE_START}\n{PREAMBLE}"


def bootstrap_prefix() -> str:
    """Instructions and two worked examples; identical for every problem, so engines compute it once."""
    shots = "".join(
        question_piece(question) + code + output_block(answer) + answer_step(answer) + "\n\n"
        for question, code, answer in _WORKED_EXAMPLES
    )
    return (
        "Solve each question step by step with Python. Each step is a comment and its code, and ends with "
        f"{END_OF_STEP}. The last step prints the answer.\n\n" + shots
    )


def render(question: str, steps: tuple[str, ...], style: PromptStyle) -> tuple[str, ...]:
    """Pieces of the prompt that asks for the next step after `steps`."""
    head = (bootstrap_prefix(),) if style == "bootstrap" else ()
    return (*head, question_piece(question), *steps)
