"""A loaded model: weights, tokenizer, backend, self-check and cache behind one small face."""

import os
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from explorer.core.errors import BridgeError, ModelError, NotFiniteError, SiteError
from explorer.core.provenance import Provenance
from explorer.core.sites import Feature, Kind, Site
from explorer.engine.backends import Backend, Bridge, Engine, largest_difference
from explorer.engine.cache import ByteCache
from explorer.engine.edits import AnyEdit, Tape, first_layer
from explorer.engine.fitting import address, compile_edits
from explorer.engine.forward import Start
from explorer.engine.interventions import Intervention, OnlyEdges, features_of
from explorer.models.adapter import boot_bridge
from explorer.models.decoder import Decoder
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import find_dictionary, in_double, parse_place
from explorer.models.families import UnsupportedError, read_decoder
from explorer.models.info import LoadedWeights, ModelInfo, Progress, SelfCheck
from explorer.models.loading import DType, load_weights
from explorer.models.tuned_lens import TunedLens, find_lens
from explorer.prompts.tokens import Bos, Tokens, single_token, token_text, tokenize

RUNS = ByteCache(256 << 20)
"""Runs of all models and all browsers of this process; each key begins with the model's identity."""
LOADING = threading.Lock()
"""One model is loaded at a time: transformers' loading changes global state, and two at once damage each other."""
CHECK_LIMITS: dict[str, float] = {"float64": 1e-3, "float32": 1e-3, "bfloat16": 1.0, "float16": 0.2}
"""Largest |Δ log-prob| that the self-check allows, by dtype: half precision rounds differently in every order of sums."""
PROBES = ("The capital of France is", "When Mary and John went to the store, John gave a drink to", "1, 2, 3, 4")


@dataclass(frozen=True, eq=False)
class Activations:
    """What was kept of one run of one prompt."""

    kept: dict[Kind, dict[int, Tensor]]
    """By kind and layer, shaped as `Kind` says without the batch axis."""
    final: Float[Tensor, "pos d_model"]
    """Residual stream after the last block."""
    first_changed: int
    """The first layer that interventions touch; `n_layers` for a run without any."""

    def nbytes(self) -> int:
        return self.final.nbytes + sum(tensor.nbytes for layers in self.kept.values() for tensor in layers.values())

    def stack(self, kind: Kind) -> Tensor:
        """[layer, ...] of a kind that was kept."""
        layers = self.kept[kind]
        return torch.stack([layers[layer] for layer in sorted(layers)])


class Model:
    """A language model that can be run under interventions, by any number of threads at once."""

    def __init__(self, weights: LoadedWeights, bridge: Any, backend: Backend, check: SelfCheck) -> None:
        self.info: ModelInfo = weights.info
        self.tokenizer = weights.tokenizer
        self.bridge = bridge
        """The `TransformerBridge` around the same weights: for experts, and the tests' oracle.  Not thread-safe."""
        self.check = check
        self.cache = RUNS
        self.runtime = backend
        """The code that runs the model."""

    @property
    def backend(self) -> Literal["engine", "bridge"]:
        """Which code runs the model."""
        return "engine" if self.runtime.name == "engine" else "bridge"

    def decoder(self, what: str) -> Decoder:
        """The weights, for what the engine alone can do; `BridgeError` (with `what`) where the bridge runs the model."""
        if isinstance(self.runtime, Engine):
            return self.runtime.decoder
        raise BridgeError(
            f"{what} needs the engine, and {self.info.title} {self.check.reason or 'runs on the bridge'}."
        )

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """What a cached run depends on beside its prompt: weights, configuration, precision, device and code."""
        info = self.info
        return info.weight_hash, info.config_hash, info.dtype, info.device, self.backend

    @cached_property
    def tuned_lens(self) -> TunedLens:
        """The model's tuned lens; `LensError` where none was trained, or the one found is of other weights."""
        return find_lens(self.info)

    @property
    def embeddings(self) -> Float[Tensor, "vocab d_model"]:
        """W_E: a row a token."""
        if isinstance(self.runtime, Engine):
            return self.runtime.decoder.embed
        return torch.as_tensor(self.bridge.W_E)

    @cached_property
    def embedding_sd(self) -> float:
        """Standard deviation of all entries of the token embeddings, as the stream gets them."""
        scale = self.runtime.decoder.embed_scale if isinstance(self.runtime, Engine) else 1.0
        return float(self.embeddings.double().std()) * scale

    @property
    def unit_bytes(self) -> int:
        """Bytes of one number of an activation."""
        dtype: torch.dtype = getattr(torch, self.info.dtype)
        return dtype.itemsize

    def run_key(self, tokens: Tokens, interventions: tuple[Intervention, ...] = ()) -> tuple[Hashable, ...]:
        """Under which the cache holds a run."""
        dictionaries = tuple(self.dictionary(site).identity for site in features_of(interventions))
        return self.identity, tuple(tokens.ids), tokens.bos, interventions, dictionaries

    def remember(self, key: tuple[Hashable, ...], make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """A value of this model from the shared cache, made if it is not there; `size` tells its bytes."""
        return self.cache.get_or_make((self.identity, *key), make, size)

    def tokenize(self, text: str, bos: Bos = "default") -> Tokens:
        """Tokens of a prompt; `PromptError` if it cannot be run."""
        return tokenize(self.tokenizer, text, self.info.n_ctx, bos)

    def single_token(self, text: str) -> int:
        """Id of an answer; `AnswerError` unless it is one token."""
        return single_token(self.tokenizer, text)

    def token_text(self, token_id: int) -> str:
        return token_text(self.tokenizer, token_id)

    def unembed(self, resid: Float[Tensor, "*pos d_model"]) -> Float[Tensor, "*pos vocab"]:
        """Logits of a residual stream: final norm, then W_U."""
        return self.runtime.unembed(resid)

    def activations(
        self, tokens: Tokens, interventions: tuple[Intervention, ...] = (), wanted: Iterable[Kind] = ()
    ) -> Activations:
        """Run a prompt and keep activations of the `wanted` kinds at every layer.

        Runs are cached.  A run under interventions starts at the first layer that they touch, from the cached run
        without them; below that layer the two hold the same tensors.
        """
        kinds = frozenset(wanted)
        key = self.run_key(tokens, interventions)
        found: Activations | None = self.cache.get(key)
        if found is not None:
            if kinds <= found.kept.keys():
                return found
            kinds = kinds.union(found.kept)
        made = self._run(tokens, interventions, kinds)
        self.cache.put(key, made, made.nbytes())
        return made

    def _run(self, tokens: Tokens, interventions: tuple[Intervention, ...], kinds: frozenset[Kind]) -> Activations:
        if any(isinstance(item, OnlyEdges) for item in interventions):
            from explorer.engine.circuit_run import run_circuit  # which needs a model itself

            return run_circuit(self, tokens, interventions, kinds)
        edits = self.edits(tokens, interventions)
        first = first_layer(edits, self.info.n_layers)
        tape = Tape(edits, kinds)
        start = None
        if edits and first > 0 and self.runtime.can_resume and "resid_post" in kinds:
            base = self.activations(tokens, (), kinds)
            start = Start(first, base.kept["resid_post"][first - 1][None])
            for kind in kinds:
                tape.kept[kind].update({layer: base.kept[kind][layer][None] for layer in range(first)})
        final = self.runtime.run(self.batch(tokens.ids), tape, start)[0]
        for edit in tape.missed():
            raise SiteError(f"L{edit.layer}.{edit.kind}: {self.info.title} has none.")
        if not torch.isfinite(final).all():
            raise NotFiniteError(self._first_not_finite(tokens, edits))
        kept = {kind: {layer: value[0] for layer, value in layers.items()} for kind, layers in tape.kept.items()}
        return Activations(kept, final, first)

    def _first_not_finite(self, tokens: Tokens, edits: tuple[AnyEdit, ...]) -> str:
        """Which activation of a run is the first that is no finite number, in words."""
        tape = Tape(edits, get_args(Kind))
        self.runtime.run(self.batch(tokens.ids), tape)
        for layer in range(self.info.n_layers):
            for kind, layers in tape.kept.items():
                if layer in layers and not torch.isfinite(layers[layer]).all():
                    return (
                        f"L{layer}.{kind} is the first activation of this run that is not finite (NaN or infinite). Use "
                        "smaller factors or coefficients, or load the model in float32."
                    )
        return "The residual stream after the last layer is not finite (NaN or infinite)."

    def edits(self, tokens: Tokens, interventions: tuple[Intervention, ...]) -> tuple[AnyEdit, ...]:
        """The interventions fitted to a prompt; `SiteError` or `InterventionError` for what does not fit."""

        def value(text: str, kind: Kind, layer: int) -> Tensor:
            return self._value(text, tokens, kind, layer)

        return compile_edits(interventions, self.info, tokens, value, lambda: self.embedding_sd, self.dictionary)

    def check_site(self, site: Site) -> None:
        """`SiteError` or `DictionaryError` unless this model has the site."""
        if isinstance(site, Feature):
            self.dictionary(site).feature(site.index)
        else:
            address(site, self.info)

    def dictionary(self, place: Feature | str) -> Dictionary:
        """The sparse dictionary of a feature, or of a place such as `L14.resid_post`; `DictionaryError` where there is none."""
        if isinstance(place, Feature):
            found = find_dictionary(self.info, place.layer, place.kind, place.dictionary)
        else:
            found = find_dictionary(self.info, *parse_place(place))
        dtype: torch.dtype = getattr(torch, self.info.dtype)
        return found if dtype != torch.float64 else in_double(found)

    def _value(self, text: str, like: Tokens, kind: Kind, layer: int) -> Tensor:
        """An activation of a reference prompt, run without interventions."""
        tokens = like if text == like.text else self.tokenize(text, like.bos)
        found = self.activations(tokens, (), (kind,)).kept[kind].get(layer)
        if found is None:
            raise SiteError(f"L{layer}.{kind}: {self.info.title} has none.")
        return found

    def batch(self, ids: Iterable[int]) -> Tensor:
        """[1, pos] on the model's device."""
        return torch.tensor([list(ids)], device=self.info.device)

    def provenance(
        self, tokens: Iterable[Tokens], interventions: tuple[Intervention, ...] = (), seed: int | None = None
    ) -> Provenance:
        """What a result needs to be computed again."""
        texts = tuple(tokens)
        return Provenance(
            model=self.info.key,
            weight_hash=self.info.weight_hash,
            backend=self.backend,
            self_check=self.check.max_difference,
            dtype=self.info.dtype,
            prompts=tuple(item.text for item in texts),
            token_ids=tuple(tuple(item.ids) for item in texts),
            interventions=interventions,
            seed=seed,
        )


def load_model(
    source: str = "smollm2",
    *,
    dtype: DType = "float32",
    device: str = "cpu",
    backend: Literal["auto", "bridge"] = "auto",
    download: bool = True,
    progress: Progress | None = None,
) -> Model:
    """Load a model by catalog key, directory or hub id, and check it.

    The engine runs it if its log-probabilities equal the bridge's on probe prompts; else the bridge does, behind a
    lock, and `model.check` says why.  `download=False` refuses a hub model that is not on this machine.
    Raises `ModelError` (not found, not downloaded, unsafe file format, damaged).
    """
    if progress is None:
        with tqdm(total=100, desc=f"Loading {source}", leave=False, disable=None) as bar:
            return load_model(
                source, dtype=dtype, device=device, backend=backend, download=download, progress=bar_progress(bar)
            )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if LOADING.locked():
        progress(0.0, "Waiting until another model is loaded")
    with LOADING:
        weights = load_weights(source, dtype, device, progress, download)
        progress(0.8, "Starting the bridge")
        bridge = boot_bridge(weights.hf_model, weights.tokenizer, weights.info.source)
        progress(0.9, "Comparing engine and bridge")
        runtime, check = choose_backend(weights, Bridge(bridge), allow_engine=backend == "auto")
    progress(1.0, "Ready")
    return Model(weights, bridge, runtime, check)


def bar_progress(bar: Any) -> Progress:
    def show(fraction: float, stage: str) -> None:
        bar.set_postfix_str(stage, refresh=False)
        bar.update(round(100 * fraction) - bar.n)

    return show


def choose_backend(weights: LoadedWeights, bridge: Bridge, allow_engine: bool) -> tuple[Backend, SelfCheck]:
    """The engine, if it covers the model and reproduces the bridge's own forward pass; else the bridge, with the reason.

    `ModelError` where not even the bridge's residual stream gives its own logits: then no view would be right.
    """
    limit, probes, device = CHECK_LIMITS[weights.info.dtype], probe_ids(weights), weights.info.device
    reason = "runs on the bridge, as asked for"
    if allow_engine:
        try:
            engine = Engine(read_decoder(weights.hf_model))
            difference = largest_difference(engine, bridge, probes, device)
            if difference <= limit:
                return engine, SelfCheck(difference, limit, len(probes))
            reason = f"runs on the bridge, because the engine does not reproduce it (|Δ log-prob| {difference:.1e})"
        except UnsupportedError as error:
            reason = f"runs on the bridge: {error}"
    difference = largest_difference(bridge, bridge, probes, device)
    if difference > limit:
        raise ModelError(
            f"{weights.info.title} ({weights.info.architecture}) cannot be shown: its final norm and unembedding do not give "
            f"its own logits (largest |Δ log-prob| {difference:.1e}, limit {limit:.0e}), so no view of it would be right."
        )
    return bridge, SelfCheck(difference, limit, len(probes), reason)


def probe_ids(weights: LoadedWeights) -> list[list[int]]:
    """Tokens of the probe prompts, and 16 tokens spread over the vocabulary (for tokenizers that know no English)."""
    spread = torch.linspace(0, weights.info.vocab_size - 1, 16).long().tolist()
    texts = [list(weights.tokenizer(text).input_ids) for text in PROBES]
    limit = weights.info.n_ctx
    return [ids[:limit] for ids in [*texts, spread] if ids and max(ids) < weights.info.vocab_size]
