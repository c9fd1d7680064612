"""`load_dictionary`: by place, by folder, or from a release."""

from pathlib import Path

from explorer.engine.model import Model
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import PLACE, add_dictionary


def load_dictionary(model: Model, source: str | Path, sae_id: str = "", name: str = "") -> Dictionary:
    """A sparse dictionary of a model, checked against it; afterwards the model finds it at its place.

    Args:
        source: a place whose dictionary is on this machine (`L14.resid_post`), a folder that sae-lens wrote, or, with `sae_id`, a
            release of sae-lens or a hub repository (which is downloaded).
        name: tells it apart from another at its place.

    Raises `DictionaryError` (of another model or site: both widths are named), `UnsafeFileError` (weights as pickle).
    """
    if not sae_id and PLACE.fullmatch(str(source)):
        return model.dictionary(str(source))
    return model.dictionary(add_dictionary(str(source), model.info, sae_id, name).place)
