"""The tree is the architecture: a folder imports only folders above it, and each library has its home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "explorer"
LAYERS = (
    "core",
    "models",
    "prompts",
    "engine",
    "metrics",
    "circuits",
    "analyses",
    "training",
    "features",
    "plots",
    "jobs",
    "findings",
    "resources",
    "access",
    "lessons",
    "ui",
    "serve",
    "commands",
    "finding_commands",
    "feature_commands",
    "cli",
    "app",
)
RANK = {folder: rank for rank, folder in enumerate(LAYERS)}
HOME = {  # library -> the only places that may import it
    "transformer_lens": {"models/adapter.py"},
    "plotly": {"plots"},
    "sae_lens": {"models/saelens.py"},
    "sqlalchemy": {"findings"},
    "streamlit": {"ui", "app.py", "serve.py"},
    "transformers": {"models", "training/networks.py"},
}
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_PAGE = 400, 60, 80


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports, so that the layer can be read"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken_rules(package: Path) -> Iterator[str]:
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package)
        here = where.parts[0].removesuffix(".py")
        if here == "__init__":  # the public face may name anything
            continue
        for name in sorted(set(imported_names(path))):
            top, *rest = name.split(".")
            if top in HOME and not HOME[top] & {where.parts[0], where.as_posix()}:
                yield f"{where}: {top} belongs in {sorted(HOME[top])}"
            if top != package.name or not rest:
                continue
            if rest[0] != here and RANK.get(rest[0], -1) >= RANK[here]:
                yield f"{where}: {here} may not import {rest[0]} (same layer or below it in the list)"
            if here == rest[0] == "analyses":
                yield f"{where}: analyses do not import each other"


def test_folders_import_only_what_lies_above_them() -> None:
    assert list(broken_rules(PACKAGE)) == []


def test_every_folder_has_a_layer() -> None:
    found = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert found == set(RANK)


@pytest.mark.parametrize("page", sorted((ROOT / "pages").glob("*.py")), ids=lambda page: page.stem)
def test_pages_stay_thin(page: Path) -> None:
    assert {name.split(".")[0] for name in imported_names(page)} <= {"streamlit", "explorer"}
    assert len(page.read_text().splitlines()) <= LONGEST_PAGE


def test_files_and_functions_stay_short() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= LONGEST_FILE, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{path}: {node.name}"


def test_public_functions_have_docstrings() -> None:
    import explorer as ex

    for name in ex.__all__:
        assert getattr(ex, name).__doc__, f"ex.{name} has no docstring"


def test_the_rule_catches_a_breach(tmp_path: Path) -> None:
    package = tmp_path / "explorer"
    (package / "analyses").mkdir(parents=True)
    (package / "analyses" / "lens.py").write_text("import plotly\nfrom explorer.plots import lens\n")
    assert list(broken_rules(package)) == [
        "analyses/lens.py: analyses may not import plots (same layer or below it in the list)",
        "analyses/lens.py: plotly belongs in ['plots']",
    ]
