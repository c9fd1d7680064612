"""A model by hub id: the only place from which a request leaves the machine, and only because the user named the id."""

import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from explorer.core.errors import ModelNotFoundError, NotDownloadedError
from explorer.models.catalog import CATALOG
from explorer.models.info import Progress

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt"]
PATIENCE = 1.5
"""Seconds to wait for an answer before the hub counts as out of reach (the hub library's own retries take 23)."""


def fetch(hub_id: str, progress: Progress, download: bool) -> Path:
    """Directory of the model `hub_id`: from the hub's local cache, else downloaded (no pickle files) if that is allowed."""
    if not HUB_ID.fullmatch(hub_id):
        raise ModelNotFoundError(f"{hub_id[:80]!r} is neither a catalog key, nor a directory, nor a hub id.{advice()}")
    try:
        return Path(snapshot_download(hub_id, allow_patterns=WANTED, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    if not download:
        raise NotDownloadedError(f"{hub_id!r} is a model of the Hugging Face hub that is not on this machine.")
    if not is_reachable():
        raise ModelNotFoundError(
            f"{hub_id!r} is not on this machine and the hub cannot be reached (offline). "
            f"Go online, or give the directory of a model you have.{advice()}"
        )
    progress(0.1, f"Downloading {hub_id}")
    try:
        return Path(snapshot_download(hub_id, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(f"The hub gave no model {hub_id!r}: {error}.{advice()}") from error


def is_reachable() -> bool:
    """Whether the hub answers a connection within `PATIENCE`; False at once under HF_HUB_OFFLINE."""
    if constants.is_offline_mode():
        return False
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlparse(proxy or constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)

    def connects() -> bool:
        with socket.create_connection((address.hostname or "", port), timeout=PATIENCE):
            return True

    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(connects).result(timeout=PATIENCE)
    except (OSError, TimeoutError):
        return False
    finally:
        pool.shutdown(wait=False)


def advice() -> str:
    first = list(CATALOG)[:4]
    return f" Models that need no network: {', '.join(first)} and {len(CATALOG) - len(first)} more (circuit-explorer models)."
