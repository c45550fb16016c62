"""What scripted policies of the search's tests write."""


def code(text):
    return f"{text}\n<end_of_step>"


def final(value):
    return f"# Now print the final answer\nprint({value})\n<end_of_code>"


def boxed(value):
    return f"<answer>The answer is \\boxed{{{value}}}.<end_of_answer>"


def printed(steps):
    return steps[-1].split("<output>")[1].split("<end_of_output>")[0]


def answers_what_was_printed(request):
    return [boxed(printed(request.steps))] * request.num_candidates


def one_step_then(*finals):
    """A policy: straight to the final code that prints one of `finals`, then that answer."""

    def propose(request):
        return answers_what_was_printed(request) if request.steps else [final(value) for value in finals]

    return propose
