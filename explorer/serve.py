"""Start the Streamlit server in this process, with safe settings wherever it is started from."""

from pathlib import Path
from typing import Any

from explorer.access import LOOPBACK
from explorer.jobs.executors import ExecutorName


def options(host: str, port: int) -> dict[str, Any]:
    """Streamlit's settings: this machine only unless told otherwise, no usage statistics, no file watcher.

    No garbage collection after each run: with a model loaded it walks through some 500,000 objects, 0.2 s with the GIL held.
    """
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
        "runner_postScriptGC": False,
        "theme_light_primaryColor": "#2b7fd4",
        "theme_dark_primaryColor": "#4a98e6",
    }


def start(host: str, port: int, model: str, executor: ExecutorName = "local") -> None:
    """Serve the app until interrupted; `model` loads in a thread meanwhile; dataset runs go to the executor."""
    from streamlit.web import bootstrap

    from explorer.ui.models import POOL
    from explorer.ui.service import SERVICE

    chosen = options(host, port)
    bootstrap.load_config_options(chosen)
    POOL.request(model)
    SERVICE.executor = executor
    bootstrap.run(str(Path(__file__).parent / "app.py"), False, [], chosen)
