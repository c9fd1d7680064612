"""What the user calls features: labels and notes, a file a dictionary, kept apart from the dictionary itself."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from explorer.core.errors import ShelfError
from explorer.models.cache import data_directory
from explorer.models.dictionary import Dictionary

LONGEST = 2000


@dataclass(frozen=True)
class Label:
    label: str = ""
    note: str = ""
    description: str = ""
    """Made automatically, with its scores in `scored`."""
    scored: str = ""


class Labels:
    """The labels of one dictionary; every change is written at once, under a lock."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.path: Path = data_directory() / "labels" / f"{dictionary.identity[:16] or 'unnamed'}.json"

    def all(self) -> dict[int, Label]:
        """Every labelled feature; `ShelfError` for a file that cannot be read."""
        if not self.path.is_file():
            return {}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return {
                int(index): Label(**{name: str(value) for name, value in each.items()}) for index, each in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ShelfError(f"{self.path} cannot be read ({error}). Move it away to begin anew.") from error

    def get(self, index: int) -> Label:
        return self.all().get(index, Label())

    def put(self, index: int, label: Label) -> None:
        """Keep a label; an empty one is taken away."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                found = self.all() | {index: label}
                if label == Label():
                    del found[index]
                fresh = self.path.with_suffix(".new")
                short = {
                    str(number): {name: text[:LONGEST] for name, text in asdict(each).items()}
                    for number, each in found.items()
                }
                fresh.write_text(json.dumps(short, indent=1), encoding="utf-8")
                fresh.replace(self.path)
        except OSError as error:
            raise ShelfError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def search(self, text: str) -> list[int]:
        """Features whose label, note or description holds a text, in any case."""
        wanted = text.casefold()
        return [
            index
            for index, each in sorted(self.all().items())
            if wanted in f"{each.label} {each.note} {each.description}".casefold()
        ]
