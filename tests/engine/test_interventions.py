"""What each intervention means: identities, order, both backends, and what is refused."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explorer.core.errors import InterventionError, NotFiniteError, SiteError, StateError
from explorer.core.records import from_record, to_record
from explorer.core.sites import (
    AttnOut,
    Edge,
    Embed,
    Head,
    HeadPart,
    KeyValue,
    Logits,
    MlpIn,
    MlpOut,
    Neuron,
    Resid,
    parse_site,
)  # fmt: skip
from explorer.engine.backends import Bridge
from explorer.engine.edits import Tape
from explorer.engine.interventions import (
    TYPES,
    Ablate,
    EdgePatch,
    Freeze,
    Patch,
    Scale,
    Steer,
    overridden,
)  # fmt: skip
from explorer.engine.model import Model, load_model
from explorer.engine.run import run
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, FAMILIES, SHAPE
from tests.toys import TOYS, bridge, native, toy

pytestmark = pytest.mark.reference

LAYERS, D_MODEL = SHAPE["layers"], SHAPE["d_model"]
layers = st.integers(0, LAYERS - 1)
heads = st.integers(0, SHAPE["heads"] - 1)
parts = st.builds(HeadPart, layers, heads, st.sampled_from(("q", "z")))
patterns = st.builds(HeadPart, layers, heads, st.just("pattern"))
first_kv = st.builds(KeyValue, layers, st.just(0), st.sampled_from(("k", "v")))
neurons = st.builds(Neuron, layers, st.integers(0, 39))
wide = st.one_of(
    st.builds(AttnOut, layers),
    st.builds(MlpOut, layers),
    st.builds(Resid, layers, st.sampled_from(("resid_pre", "resid_mid", "resid_post"))),
)
sites = st.one_of(st.builds(Head, layers, heads), parts, first_kv, neurons, wide)
positions = st.none() | st.lists(st.integers(-8, 7), min_size=1, max_size=3).map(tuple)
factors = st.floats(-2, 2)
items = st.one_of(
    st.builds(Ablate, sites | patterns, st.just("zero"), positions),
    st.builds(Ablate, sites, st.just("mean"), positions, st.just((PROMPT, TWIN))),
    st.builds(Ablate, sites | patterns, st.just("resample"), positions, st.just((TWIN,))),
    st.builds(Patch, sites | patterns, st.just(TWIN), positions),
    st.builds(Scale, sites | patterns, factors, positions),
    st.builds(
        Steer, wide, st.lists(st.floats(-1, 1), min_size=D_MODEL, max_size=D_MODEL).map(tuple), factors, positions
    ),
    st.builds(Steer, neurons, st.just((1.0,)), factors, positions),
    st.builds(Freeze, sites | patterns, positions),
)
stacks = st.lists(items, min_size=1, max_size=4).map(tuple)


def fits(model: Model, stack) -> bool:
    return not (model.info.parallel and any(item.site == Resid(item.site.layer, "resid_mid") for item in stack))


@pytest.mark.parametrize("family", COVERED)
@given(stack=stacks)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stacks_mean_the_same_on_engine_and_bridge(tiny_models, family: str, stack) -> None:
    model = tiny_models[family]
    if not fits(model, stack):
        return
    tokens = model.tokenize(PROMPT)
    edits, batch, oracle = model.edits(tokens, stack), model.batch(tokens.ids), Bridge(model.bridge)
    ours = model.unembed(model.runtime.run(batch, Tape(edits, ())))
    theirs = oracle.unembed(oracle.run(batch, Tape(edits, ())))
    scale = max(1.0, float(ours.abs().max()))
    assert (ours - theirs).abs().max() < 1e-5 * scale
    # the cached path starts at the first layer that the stack touches; it must not change a number
    resumed = model.unembed(model.activations(tokens, stack, ("resid_post",)).final)
    assert (ours[0] - resumed).abs().max() < 1e-12 * scale


@pytest.mark.parametrize("name", TOYS)
def test_toys_without_norms_or_mlps_equal_transformer_lens(name: str) -> None:
    model, oracle = toy(name), bridge(name)
    tokens = torch.tensor([model.tokenize(PROMPT).ids])
    ours = Tape((), ("z", "pattern", "resid_post", "q", "v"))
    final = model.runtime.run(tokens, ours)
    with torch.no_grad():
        logits, cache = oracle.run_with_cache(tokens)
        assert (model.unembed(final) - logits).abs().max() < 1e-9
        assert (native(name)(tokens) - logits).abs().max() < 1e-9
        for layer in range(LAYERS):
            for kind, key in (
                ("z", "attn.hook_z"),
                ("pattern", "attn.hook_pattern"),
                ("resid_post", "hook_resid_post"),
            ):
                theirs = cache[f"blocks.{layer}.{key}"].reshape(ours.kept[kind][layer].shape)
                assert (ours.kept[kind][layer] - theirs).abs().max() < 1e-9, (kind, layer)


def logits(model: Model, *stack, text: str = PROMPT) -> torch.Tensor:
    return model.unembed(model.activations(model.tokenize(text), tuple(stack), ("resid_post",)).final)


def kept(model: Model, kind: str, layer: int, *stack) -> torch.Tensor:
    return model.activations(model.tokenize(PROMPT), tuple(stack), (kind, "resid_post")).kept[kind][layer]


ONE_OF_EACH = [
    Head(1, 2), HeadPart(1, 2, "q"), HeadPart(1, 2, "z"), HeadPart(1, 2, "pattern"), KeyValue(1, 0, "k"), KeyValue(1, 0, "v"),
    Neuron(1, 5), AttnOut(1), MlpOut(1), Resid(1, "resid_pre"), Resid(1, "resid_mid"), Resid(1, "resid_post"),
]  # fmt: skip


@pytest.mark.parametrize("site", ONE_OF_EACH, ids=str)
def test_own_values_are_a_no_op(tiny: Model, site) -> None:
    base = logits(tiny)
    for item in (
        Patch(site, PROMPT),
        Patch(site, PROMPT, (2, 5)),
        Freeze(site),
        Scale(site, 1.0),
        Scale(site, 1.0, (3,)),
    ):
        assert (logits(tiny, item) - base).abs().max() < 1e-12, item
    assert (logits(tiny, Scale(site, 0.0)) - logits(tiny, Ablate(site))).abs().max() < 1e-12
    assert (
        logits(tiny, Patch(site, TWIN)) - logits(tiny, Ablate(site, "resample", reference=(TWIN,)))
    ).abs().max() < 1e-12
    assert (logits(tiny, Ablate(site)) - base).abs().max() > 1e-6, "the site matters"


def test_a_patch_of_the_stream_is_the_other_run_from_there_on(tiny: Model) -> None:
    assert (logits(tiny, Patch(Resid(0, "resid_pre"), TWIN)) - logits(tiny, text=TWIN)).abs().max() < 1e-12
    everything = [Patch(Head(layer, head), TWIN) for layer in range(3) for head in range(4)]
    everything += [Patch(MlpOut(layer), TWIN) for layer in range(3)] + [Patch(Resid(0, "resid_pre"), TWIN)]
    assert (logits(tiny, *everything) - logits(tiny, text=TWIN)).abs().max() < 1e-12


def test_a_patch_after_its_last_use_changes_nothing(tiny: Model) -> None:
    for site in (Head(2, 1), MlpOut(2), AttnOut(2), HeadPart(2, 1, "q")):
        assert (logits(tiny, Patch(site, TWIN, (9,)))[-1] - logits(tiny)[-1]).abs().max() < 1e-12


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def test_values_that_interventions_write(tiny: Model) -> None:
    vector = torch.linspace(-1, 1, D_MODEL, dtype=torch.float64)
    base, steered = (
        kept(tiny, "mlp_out", 1, *stack) for stack in ((), (Steer(MlpOut(1), tuple(vector.tolist()), 3.0, (4,)),))
    )
    assert far(steered[4], base[4] + 3 * vector) < 1e-12 and far(steered[:4], base[:4]) < 1e-12
    assert far(kept(tiny, "z", 1, Scale(Head(1, 3), 2.0))[:, 3], 2 * kept(tiny, "z", 1)[:, 3]) < 1e-12
    base, held = (
        kept(tiny, "neurons", 2, *stack)
        for stack in ((), (Ablate(Resid(0, "resid_pre"), positions=(1,)), Freeze(Neuron(2, 7))))
    )
    assert far(held[:, 7], base[:, 7]) < 1e-12 < far(held, base)
    twin = tiny.activations(tiny.tokenize(TWIN), (), ("pattern",)).kept["pattern"][1]
    base, patched = (
        kept(tiny, "pattern", 1, *stack) for stack in ((), (Patch(HeadPart(1, 0, "pattern"), TWIN, (12,)),))
    )
    assert far(patched[0, 12], twin[0, 12]) < 1e-12 and far(patched[1], base[1]) < 1e-12


def test_the_order_of_a_stack(tiny: Model) -> None:
    ones, base = (1.0,) * D_MODEL, kept(tiny, "attn_out", 0)
    steer, scale = Steer(AttnOut(0), ones), Scale(AttnOut(0), 2.0)
    assert (kept(tiny, "attn_out", 0, steer, scale) - 2 * (base + 1)).abs().max() < 1e-12
    assert (kept(tiny, "attn_out", 0, scale, steer) - (2 * base + 1)).abs().max() < 1e-12
    assert (kept(tiny, "attn_out", 0, steer, scale, Ablate(AttnOut(0)))).abs().max() == 0
    assert (kept(tiny, "attn_out", 0, Ablate(AttnOut(0)), steer) - 1).abs().max() < 1e-12


def test_entries_without_effect_are_named() -> None:
    zero, other, some = Ablate(Head(0, 0)), Scale(Head(0, 1), 2.0), Patch(Head(0, 0), TWIN, (1, 2))
    assert overridden((zero, some)) == {}
    assert overridden((some, other, zero)) == {0: 2}
    assert overridden((Scale(Head(0, 0), 2.0), zero, Freeze(Head(0, 0)))) == {0: 1, 1: 2}
    assert overridden((zero, Scale(Head(0, 0), 2.0))) == {}
    assert overridden((Ablate(Head(0, 0), positions=(1,)), some)) == {0: 1}


EVERY_KIND = (
    Ablate(HeadPart(1, 2, "pattern"), "resample", (1,), (TWIN,)), Patch(KeyValue(0, 1, "v"), TWIN, (3, -1)), Scale(Neuron(0, 7), 1.5),
    Steer(MlpOut(2), (0.5, -1.0), 2.0, (0,)), Freeze(Resid(1, "resid_mid")), EdgePatch(Edge(Embed(), MlpIn(2)), TWIN, (4,)),
    EdgePatch(Edge(Head(0, 1), Logits()), TWIN),
)  # fmt: skip


@pytest.mark.unit
@pytest.mark.parametrize("item", EVERY_KIND, ids=str)
def test_values_round_trip_through_json(item) -> None:
    again = from_record(json.loads(json.dumps(to_record(item))), TYPES)
    assert again == item and hash(again) == hash(item) and str(again) == str(item)


@pytest.mark.unit
def test_names_on_screen() -> None:
    assert [str(item) for item in EVERY_KIND] == [
        "resample-ablate L1H2.pattern at 1", f"patch L0KV1.v at 3, -1 from “{TWIN[:40]}…”", "scale L0N7 × 1.5",
        "steer L2.mlp_out by 2 × vector at 0", "freeze L1.resid_mid", "patch edge embed → L2.mlp_in at 4",
        "patch edge L0H1 → logits",
    ]  # fmt: skip
    for site in ONE_OF_EACH:
        assert parse_site(str(site)) == site
    for text in ("L1KV0", "L1N", "L1H2.k", "L1KV0.q", "L1N3.q", "L1.q", "L1"):
        with pytest.raises(StateError, match=r"names no site|unknown activation"):
            parse_site(text)
    assert Steer(MlpOut(0), [1.0, 1.0]).vector == (1.0, 1.0)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Steer(MlpOut(1), (1.0, 2.0)), "is 32 wide, the vector has 2"),
        (Steer(Head(1, 1), (1.0,) * 8), "L1.attn_out, or in its own d_head space as L1H1.z"),
        (Steer(HeadPart(1, 1, "pattern"), (1.0,)), "rows are probabilities"),
        (Steer(MlpOut(1), (float("nan"),) * 32), "must be finite"),
        (Scale(Head(1, 1), float("inf")), "must be finite"),
        (Ablate(HeadPart(1, 1, "pattern"), "mean"), "they have no mean"),
        (Patch(HeadPart(1, 1, "pattern"), "Mary", (0,)), "make them equally long"),
        (Patch(Head(1, 1), "Mary"), "make them equally long"),
        (Patch(Head(1, 1), "Mary", (13,)), "has no position 13"),
        (Freeze(Head(1, 1), (14,)), "positions run from 0 to 13"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_carried_out(tiny: Model, item, said: str) -> None:
    with pytest.raises(InterventionError, match=said):
        run(tiny, PROMPT, [item])


@pytest.mark.parametrize(
    ("site", "said"),
    [
        (KeyValue(0, 4, "k"), "has key-value heads 0 to"),
        (Neuron(1, 9999), "has neurons 0 to"),
        (HeadPart(3, 0, "q"), "has layers 0 to 2"),
        (HeadPart(0, 4, "q"), "has heads 0 to 3"),
    ],
    ids=str,
)
def test_sites_that_a_model_does_not_have(tiny: Model, site, said: str) -> None:
    with pytest.raises(SiteError, match=said):
        run(tiny, PROMPT, [Ablate(site)])
    with pytest.raises(SiteError, match="has none"):
        logits(toy("attention-only"), Ablate(MlpOut(0)))


def test_a_run_that_is_no_longer_finite_stops_with_the_sites_name(tiny: Model) -> None:
    with pytest.raises(NotFiniteError, match=r"L1.mlp_out is the first activation"):
        run(tiny, PROMPT, [Scale(MlpOut(1), 1e308), Scale(MlpOut(1), 1e308)])


def test_widths_of_every_family(tiny_models) -> None:
    """`info.d_mlp` is what the models really have."""
    for family in FAMILIES:
        model = tiny_models[family]
        assert (
            model.activations(model.tokenize(PROMPT), (), ("neurons",)).kept["neurons"][0].shape[-1] == model.info.d_mlp
        )


def test_models_share_one_cache_and_never_each_others_runs(tiny_directories, tmp_path) -> None:
    """Equal weights under another configuration are another model."""
    directory = tiny_directories["llama"]
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    one, other, again = (load_model(str(path), dtype="float64") for path in (directory, tmp_path, directory))
    assert one.cache is other.cache and one.info.weight_hash == other.info.weight_hash
    assert (logits(one) - logits(other)).abs().max() > 1e-3
    hits = one.cache.hits
    assert (logits(again) - logits(one)).abs().max() == 0 and one.cache.hits >= hits + 2
