"""Where pages and assets lie: inside an installed package, or beside it in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def pages_directory() -> Path:
    return directory("pages")


def assets_directory() -> Path:
    return directory("assets")


def directory(name: str) -> Path:
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
