from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def open_page(tiny_directories) -> Callable[..., AppTest]:
    """A page on the tiny Llama, at an address."""

    def go(page: str, model: str | None = None, **params) -> AppTest:
        app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60)
        app.query_params["model"] = str(tiny_directories["llama"]) if model is None else model
        for name, value in params.items():
            app.query_params[name] = value
        return app.run()

    return go


def words(app: AppTest) -> str:
    """Everything that the page says."""
    parts = [*app.markdown, *app.caption, *app.text, *app.error, *app.warning, *app.info, *app.header]
    return "\n".join(str(part.value) for part in parts) + "\n".join(item.proto.body for item in app.get("html"))
