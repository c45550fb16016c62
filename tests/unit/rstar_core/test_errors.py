import re

import pytest

from rstar_core import errors
from rstar_core.errors import (
    CatalogBusyError,
    CatalogError,
    ConfigError,
    EngineError,
    EngineUnavailableError,
    RstarError,
    SearchError,
    is_transient,
)

DEFINED = {name: each for name, each in vars(errors).items() if isinstance(each, type)}


def test_every_error_descends_from_one_base_and_says_what_it_means():
    for each in DEFINED.values():
        assert issubclass(each, RstarError)
        assert each.__doc__


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    drawn = re.findall(r"^([│ ]*[├└]── )?(\w+Error)\b", errors.__doc__, flags=re.MULTILINE)
    assert {name for _, name in drawn} == set(DEFINED)
    parents = []
    for branch, name in drawn:
        depth = len(branch) // 4
        parents[depth:] = [name]
        if depth:
            assert DEFINED[name].__base__ is DEFINED[parents[depth - 1]]


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (EngineUnavailableError("later"), True),
        (CatalogBusyError("later"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (EngineError("never"), False),
        (CatalogError("never"), False),
        (ConfigError("never"), False),
        (SearchError("never"), False),
        (ValueError("never"), False),
        (MemoryError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error, transient):
    assert is_transient(error) is transient
