"""The feature index: where in a corpus each feature fires, and how strongly, sparse and on disk.

    FOLDER/index.json         what was indexed, with which dictionary
    FOLDER/tokens.u32         [row, pos] token ids, memory-mapped
    FOLDER/shard-0007.safetensors    of up to 65,536 tokens:
        offset [feature + 1]  where a feature's entries begin         at    [entry] uint16, number of the token in the shard
        total, largest, count [feature]                               value [entry] float16, activation

An entry takes four bytes, so 10 million tokens at 32 features a token are 1.3 GB; a feature's entries lie together, so a dashboard
reads a few kilobytes of each shard.  Shards are written one after another and replaced in one move: a half-written index is resumed.
The first token of a row and every BOS are left out, as in training.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt32
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from tqdm.auto import tqdm

from explorer.core.errors import DictionaryError
from explorer.engine.model import Model
from explorer.engine.places import stretches, usable
from explorer.engine.sweep import never
from explorer.models.cache import alone, data_directory
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import text_of
from explorer.models.info import Progress
from explorer.training.texts import is_small_world, rows_for, text_digest

SHARD_TOKENS = 1 << 16
"""Most tokens of a shard: their numbers fit in 16 bits."""
AT_ONCE = 16
"""Rows that are run at once."""
ABOUT, TOKENS = "index.json", "tokens.u32"


@dataclass(frozen=True, eq=False)
class FeatureIndex:
    """A finished index, memory-mapped."""

    folder: Path
    about: dict[str, Any]

    @property
    def n_features(self) -> int:
        return int(self.about["features"])

    @property
    def row(self) -> int:
        return int(self.about["row"])

    @cached_property
    def tokens(self) -> UInt32[np.ndarray, "row pos"]:
        return np.memmap(self.folder / TOKENS, np.uint32, "r").reshape(-1, self.row)

    @cached_property
    def shards(self) -> list[Any]:
        """Open shards: arrays are read where they are asked for."""
        return [safe_open(self.folder / shard_name(number), "numpy") for number in range(self.n_shards)]

    @property
    def rows_of_shard(self) -> int:
        return SHARD_TOKENS // self.row

    @property
    def n_shards(self) -> int:
        return -(-len(self.tokens) // self.rows_of_shard)

    @cached_property
    def totals(self) -> dict[str, np.ndarray]:
        """`count`, `total` and `largest` of every feature."""
        parts = {
            name: np.stack([shard.get_tensor(name) for shard in self.shards]) for name in ("count", "total", "largest")
        }
        return {"count": parts["count"].sum(0), "total": parts["total"].sum(0), "largest": parts["largest"].max(0)}

    @property
    def n_tokens(self) -> int:
        """Tokens that were indexed."""
        return int(self.about["tokens"])

    @cached_property
    def offsets(self) -> list[np.ndarray]:
        return [shard.get_tensor("offset") for shard in self.shards]

    def entries(self, feature: int) -> tuple[Int[np.ndarray, " entry"], Float[np.ndarray, " entry"]]:
        """Where a feature fires (number of the token in the corpus, rows end to end), and its activations there."""
        at, values = [], []
        for number, (shard, offset) in enumerate(zip(self.shards, self.offsets, strict=True)):
            first, last = int(offset[feature]), int(offset[feature + 1])
            if first < last:
                at.append(shard.get_slice("at")[first:last].astype(np.int64) + number * self.rows_of_shard * self.row)
                values.append(shard.get_slice("value")[first:last].astype(np.float32))
        if not at:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        return np.concatenate(at), np.concatenate(values)

    def table(self) -> pd.DataFrame:
        """One row a feature: density (share of tokens at which it fires), mean activation where it fires, largest."""
        count = self.totals["count"]
        mean = np.divide(self.totals["total"], count, out=np.zeros(len(count)), where=count > 0)
        return pd.DataFrame(
            {
                "feature": np.arange(len(count)),
                "density": count / self.n_tokens,
                "mean": mean,
                "largest": self.totals["largest"],
            }
        )

    def by_token(self, token: int, n: int = 20) -> pd.DataFrame:
        """Features by their mean activation at a token, over all its places in the corpus."""
        return self.by_tokens([token], n)

    def by_tokens(self, tokens: Sequence[int], n: int | None = 20) -> pd.DataFrame:
        """Features by their mean activation at some tokens, with the share of these places at which they fire, and of their firing that
        is there."""
        total, fires = np.zeros(self.n_features), np.zeros(self.n_features, np.int64)
        places = 0
        for number, (shard, offset) in enumerate(zip(self.shards, self.offsets, strict=True)):
            first = number * self.rows_of_shard
            here = np.isin(self.tokens[first : first + self.rows_of_shard], tokens).ravel()
            places += int(here.sum())
            if not here.any() or not offset[-1]:
                continue
            hit = here[shard.get_tensor("at")]
            feature = np.repeat(np.arange(self.n_features), np.diff(offset))[hit]
            total += np.bincount(feature, shard.get_tensor("value")[hit].astype(np.float64), self.n_features)
            fires += np.bincount(feature, minlength=self.n_features)
        found = pd.DataFrame(
            {
                "feature": np.arange(self.n_features),
                "mean_here": total / max(places, 1),
                "fires_here": fires / max(places, 1),
                "share_of_firing": fires / np.maximum(self.totals["count"], 1),
            }
        )
        found = found[fires > 0].sort_values("mean_here", ascending=False).reset_index(drop=True)
        return found if n is None else found.head(n)

    def window(self, place: int, before: int = 24, after: int = 8) -> tuple[list[int], int]:
        """Tokens around a place of the corpus (within its row), and the number of the place among them."""
        row, column = divmod(place, self.row)
        first = max(0, column - before)
        return [int(token) for token in self.tokens[row, first : column + after + 1]], column - first


def shard_name(number: int) -> str:
    return f"shard-{number:04d}.safetensors"


def index_folder(model: Model, dictionary: Dictionary) -> Path:
    """Where the index of a dictionary lies."""
    return data_directory() / "indexes" / (dictionary.identity or "unnamed")[:16]


def feature_index(
    model: Model,
    place: str,
    *,
    text: Path | None = None,
    tokens: int = 200_000,
    seed: int = 1,
    folder: Path | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> FeatureIndex | None:
    """Index a corpus for the dictionary of a place; goes on where an earlier call stopped.  None if cancelled.

    `text`: a UTF-8 file; without, documents of the small world for its models, else the text that came with the dictionary, else what
    the model writes.  An index of another
    text or another dictionary in the folder is replaced.  Raises `TrainingError` (a text that is empty or unreadable),
    `DictionaryError`.
    """
    dictionary = model.dictionary(place)
    folder = folder or index_folder(model, dictionary)
    tell = progress or (lambda fraction, stage: None)
    about: dict[str, Any] = {
        "place": dictionary.place,
        "dictionary": dictionary.identity,
        "features": dictionary.n_features,
    }
    about |= {"text": text_digest(text), "wanted": tokens, "seed": seed, "row": min(96, model.info.n_ctx)}
    with alone(folder, tell, cancelled) as ours:
        return build(model, dictionary, folder, about, text, tell, cancelled) if ours else None


def build(
    model: Model,
    dictionary: Dictionary,
    folder: Path,
    about: dict[str, Any],
    text: Path | None,
    tell: Progress,
    cancelled: Callable[[], bool],
) -> FeatureIndex | None:
    """The shards that are missing, then the whole index; None if cancelled."""
    rows, about = begun(model, folder, about, text, tell)
    per_shard = SHARD_TOKENS // about["row"]
    todo = [number for number in range(-(-len(rows) // per_shard)) if not (folder / shard_name(number)).is_file()]
    with tqdm(
        total=len(rows),
        initial=per_shard * todo[0] if todo else len(rows),
        desc=f"index of {dictionary.place}",
        disable=None,
        unit="row",
    ) as bar:
        for number in todo:
            chunk = rows[number * per_shard : (number + 1) * per_shard]

            def said(done: int, number: int = number) -> None:
                ran = number * per_shard + done
                bar.update(ran - bar.n)
                tell(ran / len(rows), f"Indexing {about['tokens']:,} tokens")

            shard = make_shard(model, dictionary, chunk, said, cancelled)
            if shard is None:
                return None
            fresh = folder / "shard.new"
            save_file(shard, fresh)
            fresh.replace(folder / shard_name(number))
    return open_index(folder, dictionary)


def begun(
    model: Model, folder: Path, about: dict[str, Any], text: Path | None, tell: Progress
) -> tuple[Tensor, dict[str, Any]]:
    """The corpus's rows and the index's record: those that lie there, if they are of the same text and dictionary."""
    path = folder / ABOUT
    if path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        if all(old.get(name) == value for name, value in about.items()):
            written = np.memmap(folder / TOKENS, np.uint32, "r").reshape(-1, about["row"])
            return torch.from_numpy(written.astype(np.int64)), old
        path.unlink()
        for shard in folder.glob("shard-*.safetensors"):
            shard.unlink()
    count = -(-about["wanted"] // about["row"])
    kept = None if text is not None or is_small_world(model) else text_of(model.info, about["place"])
    if kept is not None and kept[1].shape[1] == about["row"]:
        source, rows = f"text held out from its training: {kept[0]}", kept[1]
    else:
        source, rows = rows_for(model, text, count, about["row"], about["seed"], tell)
    rows = rows[:count]
    folder.mkdir(parents=True, exist_ok=True)
    rows.numpy().astype(np.uint32).tofile(folder / TOKENS)
    full = about | {"source": source, "tokens": int(usable(rows, model.tokenizer.bos_token_id).sum())}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(full, indent=1), encoding="utf-8")
    fresh.replace(path)
    return rows, full


@torch.no_grad()
def make_shard(
    model: Model,
    dictionary: Dictionary,
    rows: Int[Tensor, "row pos"],
    said: Callable[[int], None],
    cancelled: Callable[[], bool],
) -> dict[str, np.ndarray] | None:
    """Entries of some rows, by feature; None if cancelled."""
    width, done = rows.shape[1], 0
    features, places, values = [], [], []
    for part in stretches(model, [(dictionary.reads, dictionary.layer)], dictionary.flat, rows, AT_ONCE):
        acts = dictionary.encode(part.source)
        token, fires = acts.nonzero(as_tuple=True)
        numbers = part.keep.flatten().nonzero()[:, 0] + done * width
        features.append(fires)
        places.append(numbers[token])
        values.append(acts[token, fires].float())
        done += len(part.rows)
        said(done)
        if cancelled():
            return None
    order = torch.argsort(torch.cat(features), stable=True)
    feature, place, value = (torch.cat(parts)[order].cpu().numpy() for parts in (features, places, values))
    n = dictionary.n_features
    count = np.bincount(feature, minlength=n)
    largest = np.zeros(n, np.float32)
    np.maximum.at(largest, feature, value)
    return {
        "offset": np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        "at": place.astype(np.uint16),
        "value": value.astype(np.float16),
        "count": count.astype(np.int64),
        "total": np.bincount(feature, value.astype(np.float64), n),
        "largest": largest,
    }


def open_index(folder: Path, dictionary: Dictionary) -> FeatureIndex:
    """A finished index of this dictionary; `DictionaryError` where there is none, or it is half written."""
    path = folder / ABOUT
    if not path.is_file():
        raise DictionaryError(
            f"{dictionary.place} has no index yet. Build one: circuit-explorer index MODEL --site {dictionary.place}"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        found = FeatureIndex(folder, about)
        complete = all((folder / shard_name(number)).is_file() for number in range(found.n_shards))
    except (OSError, ValueError, KeyError, ZeroDivisionError) as error:
        raise DictionaryError(f"{folder} holds no index that can be read ({error}). Build it anew.") from error
    if about.get("dictionary") != dictionary.identity:
        raise DictionaryError(f"{folder} is the index of another dictionary. Build one of {dictionary.place}.")
    if not complete:
        raise DictionaryError(
            f"The index of {dictionary.place} is half written. Build it again: it goes on where it stopped."
        )
    return found
