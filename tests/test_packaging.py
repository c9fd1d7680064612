"""What is shipped: the wheel serves the same app as a checkout, versions are locked, and the documents keep up."""

import itertools
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from explorer.analyses.attention import HEAD_TYPES
from explorer.core.sites import ResidKind
from explorer.engine.interventions import AblationKind
from explorer.lessons.lesson import TEXTS
from explorer.models.families import FAMILIES
from explorer.models.zoo.organisms import ORGANISMS
from explorer.models.zoo.shipped import FILES
from explorer.models.zoo.world import TASKS
from explorer.training.recipes import RECIPES, TUNINGS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_carries_pages_assets_and_scripts(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    for folder in ("pages", "assets"):
        for path in (ROOT / folder).iterdir():
            if path.is_file():
                assert f"explorer/{folder}/{path.name}" in names
    for path in FILES.rglob("*"):
        if path.is_file():
            assert f"explorer/{path.relative_to(ROOT / 'explorer')}" in names
    for path in (ROOT / "explorer" / "ui").iterdir():
        if path.suffix in (".js", ".css"):
            assert f"explorer/ui/{path.name}" in names
    for path in TEXTS.glob("*.md"):
        assert f"explorer/lessons/texts/{path.name}" in names
    assert {"explorer/ui/heatmap.js", "explorer/ui/canvas.css", "explorer/app.py"} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


@pytest.mark.unit
def test_every_dependency_is_locked_exactly() -> None:
    import tomllib

    locked = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    for requirement in wanted:
        name = re.split(r"[<>=\[ ]", requirement)[0].lower()
        if name == project["name"]:  # one extra in another
            continue
        assert name in locked or name.replace("-", "_") in locked, f"{name} is not in constraints.txt"
    assert all(re.fullmatch(r"[\w.]+", version) for version in locked.values())


@pytest.mark.unit
def test_the_glossary_knows_the_terms_on_screen() -> None:
    glossary = (ROOT / "GLOSSARY.md").read_text().lower()
    terms = [
        *HEAD_TYPES,
        *get_args(ResidKind),
        *get_args(AblationKind),
        "attn_out",
        "mlp_out",
        "logit difference",
        "self-check",
    ]
    for term in terms:
        assert term in glossary or term.replace(" ", "-") in glossary, term


@pytest.mark.unit
def test_the_readme_names_every_family_of_the_engine() -> None:
    readme = (ROOT / "README.md").read_text()
    for architecture in FAMILIES:
        name = architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel").replace("GPT2", "GPT-2")
        assert name in readme, name


@pytest.mark.unit
def test_the_readme_says_what_the_cards_say() -> None:
    readme = (ROOT / "README.md").read_text()
    cards = {key: json.loads((FILES / key / "card.json").read_text()) for key in RECIPES | TUNINGS}
    for key, task in TASKS.items():
        cells = [f"{cards[model]['tasks'][key][side]:.3f}" for model in RECIPES for side in ("fresh", "held_out")]
        pairs = [f"{cells[n]} / {cells[n + 1]}" for n in range(0, len(cells), 2)]
        assert f"| {task.title} | {' | '.join(pairs)} |" in readme, key
    assert (
        f"| Random tokens told twice | {' | '.join(format(cards[key]['repeats'], '.3f') for key in RECIPES)} |"
        in readme
    )
    for key in TUNINGS:
        found = cards[key]["behaviour"]
        cells = [
            f"{found[f'{name}, {side} templates']:.3f}"
            for name in ("probes", "controls")
            for side in ("seen", "held-out")
        ]
        assert (
            f"| `{key}` | {ORGANISMS[key].behaviour} | {cells[0]} / {cells[1]} | {cells[2]} / {cells[3]} |" in readme
        ), key
