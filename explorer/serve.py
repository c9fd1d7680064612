"""Start the Streamlit server in this process, with safe settings wherever it is started from."""

from pathlib import Path
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def options(host: str, port: int) -> dict[str, Any]:
    """Streamlit's settings: this machine only unless told otherwise, no usage statistics, no file watcher."""
    return {
        "server_address": host,
        "server_port": port,
        "server_headless": True,
        "server_allowedHosts": ["127.0.0.1", "localhost"] if host in LOOPBACK else [],
        "server_maxUploadSize": 10,
        "server_fileWatcherType": "none",
        "server_runOnSave": False,
        "browser_gatherUsageStats": False,
        "client_toolbarMode": "minimal",
        "client_showErrorDetails": "none",
        "runner_magicEnabled": False,
        "theme_light_primaryColor": "#2b7fd4",
        "theme_dark_primaryColor": "#4a98e6",
    }


def start(host: str, port: int, model: str) -> None:
    """Serve the app until interrupted; `model` loads in a thread meanwhile."""
    from streamlit.web import bootstrap

    from explorer.ui.models import POOL

    chosen = options(host, port)
    bootstrap.load_config_options(chosen)
    POOL.request(model)
    bootstrap.run(str(Path(__file__).parent / "app.py"), False, [], chosen)
