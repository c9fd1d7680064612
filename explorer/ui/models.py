"""Loaded models of this process: loaded once in a thread of their own, shared by all browsers."""

import gc
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import streamlit as st

from explorer.core.errors import ExplorerError, NotDownloadedError
from explorer.engine.model import Model, load_model

KEEP = 2
"""Models held at once; the least recently used one goes first."""


@dataclass
class Loading:
    """A load under way, or its outcome."""

    source: str
    download: bool = False
    """Whether the user asked for this model, so that the hub may be called."""
    fraction: float = 0.0
    stage: str = "Starting"
    model: Model | None = None
    error: str | None = None
    not_downloaded: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        try:
            self.model = load_model(self.source, download=self.download, progress=self.show)
            gc.freeze()  # what is loaded stays: the collector need not walk through it at every turn
        except ExplorerError as error:
            self.error = str(error)
            self.not_downloaded = isinstance(error, NotDownloadedError)
        except MemoryError:
            self.error = "The machine has too little memory for this model."
        except Exception as error:  # a library's own failure must reach the page as a sentence
            self.error = f"The model could not be loaded ({type(error).__name__}: {error})."
        finally:
            self.done.set()

    def show(self, fraction: float, stage: str) -> None:
        self.fraction, self.stage = fraction, stage


class ModelPool:
    """The process's models; safe between threads."""

    def __init__(self) -> None:
        self._loads: OrderedDict[str, Loading] = OrderedDict()
        self._lock = threading.Lock()

    def request(self, source: str, download: bool = False) -> Loading:
        """The load of a model: under way, finished, or failed; starts it if there is none.

        One that failed for want of permission to download is started again when the permission is there.
        """
        with self._lock:
            found = self._loads.get(source)
            if found is None or (found.not_downloaded and download):
                load = self._loads[source] = Loading(source, download)
                threading.Thread(target=load.run, name=f"load {source}", daemon=True).start()
                self._drop_oldest()
            self._loads.move_to_end(source)
            return self._loads[source]

    def forget(self, source: str) -> None:
        """Drop a load, so that the next request tries again."""
        with self._lock:
            self._loads.pop(source, None)

    def _drop_oldest(self) -> None:
        finished = [source for source, load in self._loads.items() if load.done.is_set()]
        while len(self._loads) > KEEP and finished:
            self._loads.pop(finished.pop(0))
            gc.unfreeze()  # so that the next collection finds the dropped model too


POOL = ModelPool()


ASKED = "_asked_models"
"""Models that this browser's user chose or confirmed.  An address alone must not make the app call the hub."""


def ask(source: str) -> None:
    """The user wants this model, from the hub if need be."""
    st.session_state[ASKED] = {*st.session_state.get(ASKED, ()), source}


def model(source: str) -> Model | None:
    """The model, when it is there; shows progress while it loads, and a message in place where it fails."""
    load = POOL.request(source, source in st.session_state.get(ASKED, ()))
    place = st.empty()  # always there, so that what follows keeps its place on the page
    if not load.done.wait(0.05):
        while not load.done.wait(0.1):
            seconds = time.monotonic() - load.started
            place.progress(min(1.0, load.fraction), f"Loading the model: {load.stage} ({seconds:.0f} s)")
        place.empty()
    if load.error is not None:
        with st.container(key="model_error"):
            st.error("The model is not loaded.", icon=":material/error:")
            st.text(load.error)
            if load.not_downloaded:
                st.button("Download it from the hub", key="download_model", on_click=ask, args=(source,))
            else:
                st.button("Try again", key="retry_model", on_click=POOL.forget, args=(source,))
    return load.model
