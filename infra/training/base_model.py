"""The model that a training starts from: the base model for the policy, that round's policy for the PPM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer

from infra.models.layout import check_directory, check_role, loading
from infra.tokens import check_tags

if TYPE_CHECKING:
    from pathlib import Path


def base_tokenizer(directory: Path) -> Any:  # noqa: ANN401  # transformers is untyped
    """Tokenizer of the model that training starts from, a policy.

    Raises:
        ModelError: It is none, cannot be read, or its tokenizer cannot spell the tags of the step format.
    """
    check_role(check_directory(directory), "policy")
    with loading(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory)
    check_tags(tokenizer, directory)
    return tokenizer
