"""A catalog model carried by a wheel: its GGUF file is found through the wheel's own list of files, checked against the
catalog's SHA-256, and converted.  The package is never imported."""

from importlib import metadata
from pathlib import Path

from explorer.core.errors import DamagedModelError, ModelNotFoundError
from explorer.models import gguf
from explorer.models.cache import cache_directory
from explorer.models.catalog import WheelModel
from explorer.models.files import sha256
from explorer.models.info import Progress


def locate(row: WheelModel) -> Path:
    """Path of the wheel's GGUF file; `ModelNotFoundError` with the command to run if it is not installed."""
    try:
        files = metadata.files(row.package) or []
    except metadata.PackageNotFoundError as error:
        raise ModelNotFoundError(
            f"{row.title} comes in the package {row.package}, which is not installed. Run: {row.install_hint}"
        ) from error
    for file in files:
        if file.name == row.file and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelNotFoundError(
        f"{row.package} is installed without {row.file}. Run: {row.install_hint} --force-reinstall"
    )


def converted(row: WheelModel, progress: Progress) -> Path:
    """The model's directory in the cache, made on first use."""
    folder = cache_directory() / f"{row.key}-{row.version}"
    if gguf.is_intact(folder):
        return folder
    progress(0.02, f"Checking {row.file}")
    path = locate(row)
    found = sha256([path])
    if found != row.sha256:
        raise DamagedModelError(
            f"{path} has SHA-256 {found[:12]}…, expected {row.sha256[:12]}…. Run: {row.install_hint} --force-reinstall"
        )
    return gguf.make_once(path, folder, progress)
