"""What the documents name exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
NAME = re.compile(r"`((?:rstar_core|infra|tasks|flows)(?:\.\w+)+)`")


@cache
def names_in(body):
    """Names that a module or class defines, each with its own body if it is a class."""
    found = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inner):
                found[name] = tuple(inner)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found[name] = ()
            case ast.Assign(targets=targets):
                found |= {each.id: () for each in targets if isinstance(each, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = ()
            case ast.Expr(value=ast.Constant(value=str(text))):  # attributes that a docstring lists
                found |= dict.fromkeys(re.findall(r"^    +(\w+): ", text, flags=re.MULTILINE), ())
    return found


@cache
def body_of(path):
    """The statements of a file; read, not imported, for torch alone takes seconds."""
    return tuple(ast.parse(path.read_text(encoding="utf-8")).body)


def resolves(dotted):
    place, parts = ROOT, dotted.split(".")
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if not parts:
        return True
    body = body_of(place / f"{parts[0]}.py") if (place / f"{parts[0]}.py").exists() else None
    for part in parts[1:]:
        body = None if body is None else names_in(body).get(part)
    return body is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_name_of_our_code_in_a_document_exists(document):
    named = NAME.findall(document.read_text(encoding="utf-8"))
    assert [name for name in named if not resolves(name)] == []
    assert len(set(named)) > 40 or document.name != "algorithm.md"


def test_a_name_that_does_not_exist_is_found_out():
    for name in ("rstar_core.search", "rstar_core.search.search", "rstar_core.tree.Node.q", "infra.sandbox"):
        assert resolves(name)
    for name in ("rstar_core.serch", "rstar_core.search.serch", "rstar_core.tree.Node.p", "infra.no.where"):
        assert not resolves(name)


def test_every_reason_for_a_drop_is_explained():
    from rstar_core.parsing import Defect
    from rstar_core.search import MISSING_CANDIDATE
    from rstar_core.types import ExecutionStatus

    text = (ROOT / "docs" / "algorithm.md").read_text(encoding="utf-8")
    failures = [f"code_{status}" for status in ExecutionStatus if status is not ExecutionStatus.OK]
    others = ["identical_sibling", "no_output", "tag_in_output", "answer_undecided", MISSING_CANDIDATE]
    assert [reason for reason in (*Defect, *failures, *others) if f"`{reason}`" not in text] == []


def test_every_file_that_the_algorithms_page_names_exists():
    text = (ROOT / "docs" / "algorithm.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:docs|configs|tests)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
