"""Contrast pairs from a CSV or JSONL file: what can be run, and for every other row why not."""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from explorer.core.errors import AnswerError, ExplorerError, PairError
from explorer.core.pairs import ContrastPair
from explorer.prompts.pairs import check_aligned
from explorer.prompts.tokens import Bos, single_token, tokenize

COLUMNS = ("clean", "corrupt", "answer", "distractor")
LARGEST = 10 << 20
"""Bytes of a file."""


@dataclass(frozen=True)
class PairFile:
    """A file of pairs, checked against a tokenizer."""

    pairs: tuple[ContrastPair, ...]
    """Those that can be run, each once, in the order of the file."""
    rows: tuple[int, ...]
    """Their row numbers in the file: 1 is the first pair."""
    refused: tuple[tuple[int, str], ...]
    """Row number and reason of those that cannot be run."""
    duplicates: tuple[int, ...]
    """Rows that repeat an earlier one; left out, as they would count twice."""
    lengths: Counter[int]
    """How many pairs of each length in tokens."""

    @property
    def summary(self) -> str:
        total = len(self.pairs) + len(self.refused) + len(self.duplicates)
        parts = [f"{len(self.pairs):,} of {total:,} rows can be run"]
        if self.refused:
            parts.append(f"{len(self.refused):,} cannot")
        if self.duplicates:
            parts.append(f"{len(self.duplicates):,} repeat an earlier row and are left out")
        return "; ".join(parts) + "."


def read_pairs(content: bytes, name: str, tokenizer: Any, n_ctx: int, bos: Bos = "default") -> PairFile:
    """Pairs of a file with the columns clean, corrupt, answer, distractor: CSV, or JSONL where its name ends so.

    `PairError` for a file that is no table of these columns, is not UTF-8, too large or empty.  A row that cannot be run
    (unequal lengths, an answer of several tokens, an empty prompt) is refused with its reason; the others stay.
    """
    frame = read_table(content, name)
    pairs: dict[ContrastPair, int] = {}
    refused: list[tuple[int, str]] = []
    duplicates: list[int] = []
    lengths: Counter[int] = Counter()
    for number, row in enumerate(frame[list(COLUMNS)].to_dict("records"), start=1):
        pair = ContrastPair(**{column: row[column] for column in COLUMNS})
        if pair in pairs:
            duplicates.append(number)
            continue
        try:
            lengths[check_pair(pair, tokenizer, n_ctx, bos)] += 1
            pairs[pair] = number
        except ExplorerError as error:
            refused.append((number, str(error)))
    return PairFile(tuple(pairs), tuple(pairs.values()), tuple(refused), tuple(duplicates), lengths)


def read_pair_path(path: Path, tokenizer: Any, n_ctx: int, bos: Bos = "default") -> PairFile:
    """The same from a path."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PairError(f"{path} cannot be read: {error.strerror}.") from error
    return read_pairs(content, path.name, tokenizer, n_ctx, bos)


def read_table(content: bytes, name: str) -> pd.DataFrame:
    """All columns as texts, white space kept."""
    if len(content) > LARGEST:
        raise PairError(f"{name} has {len(content) / 1e6:.1f} MB; at most {LARGEST >> 20} MB are read. Split it.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PairError(f"{name} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    try:
        if name.lower().endswith((".jsonl", ".json", ".ndjson")):
            frame = pd.read_json(io.StringIO(text), lines=True, dtype=False, convert_dates=False)
        else:
            frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=False)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise PairError(f"{name} cannot be read as a table: {error}. Expected {expected()}") from error
    if missing := [column for column in COLUMNS if column not in frame.columns]:
        came = ", ".join(map(str, frame.columns[:12])) or "none"
        raise PairError(f"{name} lacks {', '.join(missing)}; its columns are {came}. Expected {expected()}")
    if frame.empty:
        raise PairError(f"{name} has no rows. Expected {expected()}")
    return frame[list(COLUMNS)].fillna("").astype(str)


def expected() -> str:
    return (
        f"the columns {', '.join(COLUMNS)}: a CSV file with a header, or JSONL with one object a line; answers are one token "
        "each, usually with a leading space."
    )


def check_pair(pair: ContrastPair, tokenizer: Any, n_ctx: int, bos: Bos) -> int:
    """Tokens of a pair's prompts; an error for a pair that cannot be run."""
    for name in ("answer", "distractor"):
        text = getattr(pair, name)
        if not text:
            raise AnswerError(f"The {name} is empty.")
        single_token(tokenizer, text)
    clean, corrupt = (tokenize(tokenizer, text, n_ctx, bos) for text in (pair.clean, pair.corrupt))
    check_aligned(clean, corrupt)
    return len(clean)


def write_pairs(pairs: Sequence[ContrastPair]) -> str:
    """Pairs as a CSV file that `read_pairs` reads."""
    return pd.DataFrame([{column: getattr(pair, column) for column in COLUMNS} for pair in pairs]).to_csv(index=False)
