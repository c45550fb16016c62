"""The page that an operator opens at night quotes commands that exist and messages that the code has."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli import app

PROJECT = Path(__file__).parents[3]
PAGE = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
CODE = "".join(
    re.sub(r'"\n\s*f?"', "", path.read_text(encoding="utf-8"))
    for package in ("flows", "tasks", "infra", "rstar_core")
    for path in (PROJECT / package).rglob("*.py")
)
COMMANDS = sorted({tuple(found.split()) for found in re.findall(r"`?rstar ((?:catalog )?[a-z]+)", PAGE)})
QUOTED = re.findall(r"^\| (`[^|]*`)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_exists(words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z-]+", PAGE))))
def test_each_option_exists(option):
    name = option.removeprefix("--").replace("-", "_")
    assert f'"{option}"' in CODE or f"{name}: " in CODE


@pytest.mark.parametrize("message", re.findall(r"`([^`]+)`", " ".join(QUOTED)))
def test_each_message_is_one_that_the_code_gives(message):
    """Compared in pieces: numbers, names and what an ellipsis stands for are filled in."""
    filled_in = r"…|_total|{.*}|policy server|search-\d+|\d+|(?<=of )search|process|runs/demo|host-a|seed"
    pieces = re.split(filled_in, message)
    for piece in pieces:
        words = piece.strip(" ().,:'")
        assert len(words) < 5 or words in CODE, words
