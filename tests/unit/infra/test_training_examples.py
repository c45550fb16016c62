import json

import pytest

from infra.tokens import choose_pad_id, encode_pieces, keep_newest
from infra.training.examples import IGNORED, encode_pair, encode_sft, read_rows, split_by_problem
from infra.training.job import PairRow, SftRow
from rstar_core.errors import TrainingError
from rstar_core.prompts import answer_step, output_block, question_piece
from rstar_core.tags import END_OF_CODE


class LetterTokenizer:
    """One id a letter; as much of a fast tokenizer as training uses."""

    eos_token_id, pad_token_id, unk_token_id = 2, 2, 0

    def encode(self, text, *, add_special_tokens):
        assert not add_special_tokens
        return [ord(letter) for letter in text]

    def __call__(self, text, *, add_special_tokens, return_offsets_mapping):
        assert return_offsets_mapping
        ids = self.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": ids, "offset_mapping": [(i, i + 1) for i in range(len(ids))]}


TOKENIZER = LetterTokenizer()


def pair(problem_id="p", question="Question: what?", positive="good", negative="bad"):
    return PairRow(
        problem_id=problem_id,
        group=f"{problem_id}:1",
        prefix_pieces=(question, "step one. "),
        positive_pieces=(positive,),
        negative_pieces=(negative,),
        weight=0.25,
    )


def test_the_ids_of_a_longer_prompt_start_with_those_of_the_shorter_one():
    shorter = encode_pieces(TOKENIZER, ("ab", "c"))
    assert encode_pieces(TOKENIZER, ("ab", "c", "de"))[: len(shorter)] == shorter


def test_the_loss_sees_the_solution_but_neither_the_prompt_nor_the_executors_output():
    code = f"# Now print\nprint(7)\n{END_OF_CODE}\n"
    row = SftRow(
        problem_id="p",
        pieces=(question_piece("What is 3 + 4?"),),
        completion_pieces=("a = 7\n", code + output_block("7"), answer_step("7")),
    )
    example = encode_sft(TOKENIZER, row)
    learnt = "".join(chr(label) for label in example.labels if label != IGNORED)
    assert learnt == "a = 7\n" + code + answer_step("7") + chr(TOKENIZER.eos_token_id)
    seen = "".join(map(chr, example.input_ids))
    assert seen == "".join((*row.pieces, *row.completion_pieces)) + chr(TOKENIZER.eos_token_id)
    assert all(
        label in (IGNORED, token) for token, label in zip(example.input_ids, example.labels, strict=True)
    )


def test_an_output_that_holds_the_tags_itself_is_masked_as_a_whole():
    block = output_block("<output>x<end_of_output> <end_of_output>")
    example = encode_sft(TOKENIZER, SftRow(problem_id="p", pieces=("q",), completion_pieces=("c\n" + block,)))
    assert [chr(label) for label in example.labels if label != IGNORED] == ["c", "\n", "\x02"]


def test_a_pair_that_is_too_long_loses_the_front_of_the_question_and_keeps_the_newest_step():
    encoded = encode_pair(TOKENIZER, pair(question="Question: " + "x" * 100), max_length=20)
    assert "".join(map(chr, encoded.positive_ids)) == "xxxxxx" + "step one. " + "good"
    assert "".join(map(chr, encoded.negative_ids)) == "xxxxxxx" + "step one. " + "bad"
    assert keep_newest([1, 2, 3], 5) == [1, 2, 3]


def test_no_problem_is_on_both_sides_of_the_split_and_the_side_is_the_same_in_every_round():
    rows = [pair(problem_id=f"p{i % 50}") for i in range(200)]
    train, held_out = split_by_problem(rows, 0.2)
    assert {row.problem_id for row in train}.isdisjoint(row.problem_id for row in held_out)
    assert len(train) + len(held_out) == 200
    assert 0.05 < len(held_out) / 200 < 0.4
    again = split_by_problem(rows[:20], 0.2)[1]
    assert {row.problem_id for row in again} <= {row.problem_id for row in held_out}


def test_a_set_too_small_to_split_is_all_training():
    rows = [pair(problem_id="p1"), pair(problem_id="p2")]
    assert split_by_problem(rows, 1.0) == (rows, [])
    assert split_by_problem(rows, 0.0) == (rows, [])


def test_a_set_of_one_problem_cannot_be_split():
    rows = [pair(), pair()]
    with pytest.raises(TrainingError, match="All 2 rows are of one problem"):
        split_by_problem(rows, 0.1)
    assert split_by_problem(rows, 0.0) == (rows, [])


def test_padding_is_not_the_end_of_sequence_where_the_vocabulary_has_another_token():
    assert choose_pad_id(TOKENIZER) == 0


def test_json_lines_and_parquet_hold_the_same_rows(tmp_path):
    import polars as pl

    rows = [pair(problem_id=f"p{i}").model_dump(mode="json") for i in range(3)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    pl.DataFrame(rows).write_parquet(tmp_path / "pairs.parquet")
    from_json = read_rows(tmp_path / "pairs.jsonl", PairRow)
    assert from_json == read_rows(tmp_path / "pairs.parquet", PairRow)
    assert len(from_json) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ('{"problem_id": "p"}', "row 1"),
        ("not json", "cannot be read"),
    ],
)
def test_a_training_set_that_cannot_be_used_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(TrainingError, match=message):
        read_rows(path, SftRow)
    with pytest.raises(TrainingError, match="cannot be read"):
        read_rows(tmp_path / "absent.jsonl", SftRow)
