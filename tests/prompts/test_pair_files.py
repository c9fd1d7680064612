"""Files of pairs: good, bad, and partly bad."""

import json

import pytest

import explorer as ex
from explorer.core.errors import PairError
from explorer.prompts.pair_files import LARGEST, read_pair_path, read_pairs, write_pairs
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.unit

PAIR = ex.ContrastPair(PROMPT, TWIN, " a", " the")
ODD = ex.ContrastPair('He said "a, b"', 'He said "a, b"', " a", " the")


def read(tiny: ex.Model, content: bytes | str, name: str = "pairs.csv"):
    return read_pairs(content.encode() if isinstance(content, str) else content, name, tiny.tokenizer, tiny.info.n_ctx)


def test_what_is_written_is_read(tiny: ex.Model, tmp_path) -> None:
    found = read(tiny, write_pairs([PAIR, ODD]))
    assert found.pairs == (PAIR, ODD) and found.rows == (1, 2) and not found.refused
    path = tmp_path / "pairs.csv"
    path.write_text(write_pairs([PAIR]))
    assert read_pair_path(path, tiny.tokenizer, tiny.info.n_ctx).pairs == (PAIR,)
    with pytest.raises(PairError, match="cannot be read"):
        read_pair_path(tmp_path / "none.csv", tiny.tokenizer, 100)


def test_json_lines(tiny: ex.Model) -> None:
    lines = "\n".join(json.dumps(vars(pair)) for pair in (PAIR, ODD))
    assert read(tiny, lines, "pairs.jsonl").pairs == (PAIR, ODD)
    assert read(tiny, "\ufeff" + write_pairs([PAIR])).pairs == (PAIR,)


def test_bad_rows_are_named_and_the_others_run(tiny: ex.Model) -> None:
    rows = [ex.ContrastPair(f"{PROMPT} {number}", f"{TWIN} {number}", " a", " the") for number in range(16)]
    longer = ex.ContrastPair(PROMPT, TWIN + " to", " a", " the")
    several = ex.ContrastPair(PROMPT, TWIN, " interpretability", " the")
    empty = ex.ContrastPair(" ", TWIN, " a", " the")
    bare = ex.ContrastPair(PROMPT, TWIN, "", " the")
    found = read(tiny, write_pairs([*rows, longer, several, rows[3], empty, bare, PAIR]))
    assert found.pairs == (*rows, PAIR) and found.rows == (*range(1, 17), 22)
    reasons = dict(found.refused)
    assert set(reasons) == {17, 18, 20, 21} and found.duplicates == (19,)
    assert "same number of tokens" in reasons[17] and "must be one" in reasons[18]
    assert "only white space" in reasons[20] and "answer is empty" in reasons[21]
    assert "17 of 22 rows can be run; 4 cannot; 1 repeat" in found.summary
    assert sum(found.lengths.values()) == 17


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("clean,corrupt,answer\na,b,c\n", "x.csv", "lacks distractor; its columns are clean, corrupt, answer"),
        ("", "x.csv", "cannot be read as a table"),
        ("clean,corrupt,answer,distractor\n", "x.csv", "no rows"),
        ("{not json", "x.jsonl", "cannot be read as a table"),
        ('{"clean": "a"}', "x.jsonl", "lacks corrupt"),
        (b"clean,corrupt\xff\xfe", "x.csv", "not UTF-8"),
        (b"PK\x03\x04" + b"\x00" * 50, "x.csv", "Expected"),
        (b"x" * (LARGEST + 1), "x.csv", "Split it"),
        ('clean,corrupt,answer,distractor\n"a,b\n', "x.csv", "cannot be read as a table"),
    ],
)
def test_files_that_are_no_table_of_pairs(tiny: ex.Model, content, name: str, said: str) -> None:
    with pytest.raises(PairError, match=said):
        read(tiny, content, name)


def test_numbers_and_nulls_are_texts(tiny: ex.Model) -> None:
    line = json.dumps({"clean": "in 1732", "corrupt": "in 1701", "answer": " a", "distractor": None})
    assert dict(read(tiny, line, "x.jsonl").refused) == {1: "The distractor is empty."}
    assert read(tiny, "clean,corrupt,answer,distractor\nNA,NA, a, the\n").pairs == (
        ex.ContrastPair("NA", "NA", " a", " the"),
    )
