"""Where dictionaries lie, and how one is found: the user's own before those that ship.

A folder is sae-lens' (`cfg.json`, `sae_weights.safetensors`) and, if it was trained here, `card.json` and some held-out text.  It is named as its place,
`L14.resid_post`, or `L14.resid_post~NAME` for another at the same place.
"""

import json
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from explorer.core.errors import DictionaryError
from explorer.core.sites import FeatureKind, place_name
from explorer.models.cache import data_directory
from explorer.models.dictionary import Dictionary, check_fits, kinds, place_of
from explorer.models.files import check_header, sha256
from explorer.models.info import ModelInfo
from explorer.models.saelens import CONFIG, WEIGHTS, read_folder, read_release, save_folder
from explorer.models.zoo.shipped import FILES

CARD, TEXT = "card.json", "text.safetensors"
PLACE = re.compile(r"L(\d{1,4})\.([a-z_]+?)(?:~([\w.-]{1,64}))?")
SHIPPED = FILES / "dictionaries"


def own_folder(info: ModelInfo) -> Path:
    """Where dictionaries of a model lie that were trained or added here: by the model's weights."""
    return data_directory() / "dictionaries" / info.weight_hash[:16]


def homes(info: ModelInfo) -> tuple[Path, Path]:
    """Where dictionaries of a model lie: the user's own first."""
    return own_folder(info), SHIPPED / info.title


def folder_of(info: ModelInfo, place: str) -> Path | None:
    """The folder of the dictionary at a place; asked for every run with a feature in its stack."""
    return next((home / place for home in homes(info) if (home / place / WEIGHTS).is_file()), None)


def folders(info: ModelInfo) -> dict[str, Path]:
    """Every dictionary of a model: place -> folder, in the order of layers."""
    found: dict[str, Path] = {}
    for home in homes(info):
        if home.is_dir():
            for folder in home.iterdir():
                if PLACE.fullmatch(folder.name) and (folder / WEIGHTS).is_file():
                    found.setdefault(folder.name, folder)
    return dict(sorted(found.items(), key=lambda item: (parse_place(item[0])[0], item[0])))


def parse_place(text: str) -> tuple[int, FeatureKind, str]:
    """Layer, kind and name of `L14.resid_post`, `L2.transcoder` or `L14.resid_post~NAME`; also of `resid_post.14`."""
    if turned := re.fullmatch(r"([a-z_]+)\.(\d{1,4})", text):
        text = f"L{turned[2]}.{turned[1]}"
    match = PLACE.fullmatch(text)
    known = {str(kind): kind for kind in kinds()}
    if match is None or match[2] not in known:
        raise DictionaryError(
            f"{text[:60]!r} is no place of a dictionary. Expected for example L14.resid_post; known are {', '.join(known)}."
        )
    return int(match[1]), known[match[2]], match[3] or ""


def find_dictionary(info: ModelInfo, layer: int, kind: FeatureKind, name: str = "") -> Dictionary:
    """The dictionary of a place; `DictionaryError` where there is none, or it does not fit."""
    place = place_name(layer, kind, name)
    folder = folder_of(info, place)
    if folder is None:
        raise DictionaryError(
            f"There is no dictionary at {place} of {info.title}. Train one: circuit-explorer train-sae {info.key} --site {place}"
        )
    return read_dictionary(folder, info, name)


def read_dictionary(folder: Path, info: ModelInfo, name: str = "") -> Dictionary:
    """A dictionary's folder, checked against the model; `DictionaryError`, `UnsafeFileError`."""
    stamps = tuple(path.stat().st_mtime_ns for path in (folder / WEIGHTS, folder / CARD) if path.is_file())
    return _read(folder, stamps, info, name)


@lru_cache(maxsize=16)
def _read(folder: Path, stamps: tuple[int, ...], info: ModelInfo, name: str) -> Dictionary:
    sae = read_folder(folder)
    return checked(sae, info, name, card_of(folder), sha256([folder / WEIGHTS, folder / CONFIG]))


@lru_cache(maxsize=4)
def in_double(dictionary: Dictionary) -> Dictionary:
    """A copy for models in float64."""
    return dictionary.to(torch.float64)


def checked(sae: Any, info: ModelInfo, name: str, card: dict[str, Any], identity: str) -> Dictionary:
    layer, kind = place_of(sae)
    flags = getattr(sae.cfg.metadata, "model_from_pretrained_kwargs", None) or {}
    centred = bool(flags.get("center_writing_weights")) and kind.startswith("resid")
    return check_fits(Dictionary(sae, layer, kind, name, identity, card, centred), info)


def card_of(folder: Path) -> dict[str, Any]:
    """What a folder's card says; empty if it has none."""
    path = folder / CARD
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DictionaryError(f"{path} cannot be read as JSON ({error}).") from error
    return card if isinstance(card, dict) else {}


def write_text(rows: Int[Tensor, "row pos"], source: str, folder: Path) -> None:
    """Keep some text with a dictionary, as tokens."""
    narrow = torch.uint16 if int(rows.max()) < 1 << 16 else torch.int32
    save_file({"rows": rows.to(narrow).contiguous()}, folder / TEXT, {"source": source})


def text_of(info: ModelInfo, place: str) -> tuple[str, Int[Tensor, "row pos"]] | None:
    """The text that lies with a dictionary: where it comes from, and its rows."""
    folder = folder_of(info, place_name(*parse_place(place)))
    if folder is None or not (folder / TEXT).is_file():
        return None
    check_header(folder / TEXT)
    with safe_open(folder / TEXT, framework="pt") as file:
        return str((file.metadata() or {}).get("source", "")), file.get_tensor("rows").long()


def add_dictionary(source: str, info: ModelInfo, sae_id: str = "", name: str = "") -> Dictionary:
    """Keep a dictionary for a model, from a folder or (with `sae_id`) a release of sae-lens or a hub repository.

    It is checked first; afterwards it is found at its place, under `name` if another is there already.
    """
    if name and not re.fullmatch(r"[\w.-]{1,64}", name):
        raise DictionaryError(f"{name[:40]!r} is no name: letters, digits, '_', '.' and '-', at most 64.")
    if sae_id:
        sae = read_release(source, sae_id)
        found = checked(sae, info, name, {}, "")
        target = own_folder(info) / found.place
        save_folder(sae, target)
    else:
        folder = Path(source)
        found = read_dictionary(folder, info, name)
        target = own_folder(info) / found.place
        if target.resolve() != folder.resolve():
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return read_dictionary(target, info, name)
