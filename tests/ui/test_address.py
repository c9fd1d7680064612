import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.circuits.circuit import Group
from explorer.core.pairs import ContrastPair
from explorer.core.places import PlacedEdge
from explorer.core.sites import AttnOut, Edge, Embed, Head, KeyValue, Logits, MlpIn, MlpOut, Resid
from explorer.ui.address import from_params, in_address, to_params
from explorer.ui.state import Entry, Workbench

pytestmark = pytest.mark.unit

layers = st.integers(0, 99)
sites = st.one_of(
    st.builds(Head, layers, layers), st.builds(AttnOut, layers), st.builds(MlpOut, layers),
    st.builds(Resid, layers, st.sampled_from(("resid_pre", "resid_mid", "resid_post"))),
)  # fmt: skip
positions = st.none() | st.sets(st.integers(0, 999), min_size=1).map(lambda found: tuple(sorted(found)))
choices = {"enabled": st.booleans(), "on": st.sampled_from(("both", "clean", "corrupt"))}
entries = st.one_of(
    st.builds(Entry, sites, st.sampled_from(("zero", "mean", "resample", "patch", "freeze")), positions, **choices),
    st.builds(Entry, sites, st.just("scale"), positions, factor=st.floats(-100, 100), **choices),
)
heads = st.builds(Head, layers, layers)
senders = st.one_of(st.just(Embed()), heads, st.builds(MlpOut, layers))
receivers = st.one_of(
    st.just(Logits()), st.builds(MlpIn, layers), st.builds(KeyValue, layers, layers, st.sampled_from(("k", "v")))
)
edges = st.builds(Edge, senders, receivers)
entries = entries | st.builds(
    Entry, edges, st.sampled_from(("zero", "mean", "resample", "patch")), positions, **choices
)
placed = st.builds(PlacedEdge, edges, st.none() | st.integers(0, 999))
edits = st.builds(lambda sign, what: f"{sign}{what}", st.sampled_from("-+!"), senders | placed)
nodes = senders.map(str)
texts = st.text(max_size=60)
benches = st.builds(
    Workbench,
    model=st.text(min_size=1, max_size=30),
    pair=st.builds(ContrastPair, clean=st.text(min_size=1, max_size=60), corrupt=texts, answer=texts, distractor=texts),
    bos=st.sampled_from(("default", "on", "off")),
    entries=st.lists(entries, max_size=5).map(tuple),
    side=st.sampled_from(("clean", "corrupt")),
    position=st.none() | st.integers(0, 500),
    head=heads,
    pinned=st.lists(heads, max_size=6, unique=True).map(tuple),
    show=st.sampled_from(("changed", "baseline", "difference")),
    color=st.sampled_from(("patterns", "induction", "ablation effect")),
    weighting=st.sampled_from(("attention", "value-weighted", "contribution")),
    source=st.none() | st.integers(0, 500),
    lens=st.sampled_from(("logit", "tuned")),
    lens_of=st.sampled_from(("stream", "heads and MLPs")),
    lens_mode=st.sampled_from(("probability", "entropy", "KL to output", "top tokens")),
    lens_layer=st.none() | st.integers(0, 99),
    lens_from=st.integers(0, 99),
    lens_to=st.none() | st.integers(0, 99),
    lens_find=texts,
    follow=texts,
    scale=st.sampled_from(("probability", "logit", "log rank")),
    token_baseline=st.sampled_from(("mean", "corrupt")),
    circuit_view=st.sampled_from(("Graph", "Size", "Stability", "Files")),
    circuit_method=st.sampled_from(("eap", "acdc", "by hand")),
    circuit_by=st.sampled_from(("influence", "edges")),
    circuit_keep=st.integers(1, 100),
    circuit_top=st.integers(1, 99_999),
    circuit_positions=st.booleans(),
    circuit_threshold=st.floats(0, 100),
    circuit_edits=st.lists(edits, max_size=4, unique=True).map(tuple),
    circuit_groups=st.lists(
        st.builds(Group, texts, st.lists(nodes, min_size=1, max_size=4).map(tuple)), max_size=3
    ).map(tuple),
    circuit_labels=st.lists(st.tuples(nodes, texts), max_size=3).map(tuple),
    circuit_notes=texts,
    circuit_item=st.just("") | nodes | placed.map(str) | texts.map(lambda text: f":{text}"),
    circuit_mode=st.sampled_from(("the model", "only the circuit")),
    circuit_rest=st.sampled_from(("zero", "mean", "resample")),
    n_new=st.integers(1, 50),
    temperature=st.floats(0, 2),
    seed=st.integers(0, 10_000),
)


@given(bench=benches)
def test_every_workbench_survives_its_address(bench: Workbench) -> None:
    assert from_params(to_params(bench)) == (bench, [])


@given(
    params=st.dictionaries(
        st.sampled_from(("v", "model", "clean", "do", "head", "position", "show", "temperature", "seed", "x<b>")),
        st.lists(st.text(max_size=30), min_size=1, max_size=3),
        min_size=1,
    )
)
def test_any_address_gives_a_workbench_and_names_what_it_left_out(params) -> None:
    bench, notes = from_params(params)
    assert isinstance(bench, Workbench)
    again, none = from_params(to_params(bench))
    assert again == bench and none == []
    if "x<b>" in params:
        assert any("unknown part" in note for note in notes)


def test_no_address_is_the_opening_example() -> None:
    bench, notes = from_params({})
    assert bench == Workbench() and notes == [] and bench.pair.answer == " Mary"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"do": ["L23H3:explode"]}, "is not one of zero, mean, resample"),
        ({"do": ["<script>:zero"]}, "names no site"),
        ({"do": ["L1H1:zero:a,b"]}, "is no list of positions"),
        ({"do": ["L1H1:zero:1:2:3"]}, "expected site:how"),
        ({"do": ["L1H1"]}, "is not one of"),
        ({"do": ["L1H1:zero"] * 300}, "100 interventions beyond the first 200"),
        ({"head": ["L1.mlp_out"]}, "is no head"),
        ({"position": ["-3"]}, "no whole number"),
        ({"position": ["²"]}, "no whole number"),
        ({"temperature": ["nan"]}, "no number from 0 to 2"),
        ({"show": ["everything"]}, "is not one of changed"),
        ({"v": ["7"]}, "written by version"),
        ({"clean": ["x" * 300_000]}, "at most 200,000"),
    ],
)
def test_broken_parts_are_named_and_the_rest_is_kept(params, said: str) -> None:
    bench, notes = from_params({"answer": [" Paris"], "clean": ["The capital of France is"]} | params)
    assert any(said in note for note in notes), notes
    assert bench.pair.answer == " Paris" or "clean" in params


def test_prompts_too_long_for_an_address_are_left_out_of_it_and_missed() -> None:
    short, long = (
        Workbench(pair=ContrastPair(clean="word " * count), entries=(Entry(Head(1, 2), "zero"),))
        for count in (9, 20_000)
    )
    assert in_address(short) == to_params(short) and from_params(to_params(long)) == (long, [])
    found, notes = from_params(in_address(long))
    assert found.pair == Workbench().pair and found.entries == long.entries and "too long for the address" in notes[0]


def test_an_address_of_the_first_version_still_opens() -> None:
    old = {
        "v": ["1"], "model": ["smollm2"], "clean": ["a"], "do": ["L1H2:zero:3,4:off", "L0.mlp_out:mean"],
        "score": ["induction"], "lens_mode": ["entropy"], "head": ["L2H1"],
    }  # fmt: skip
    bench, notes = from_params(old)
    assert notes == [] and bench.color == "induction" and bench.lens_mode == "entropy" and bench.head == Head(2, 1)
    assert bench.entries == (Entry(Head(1, 2), "zero", (3, 4), enabled=False), Entry(MlpOut(0), "mean"))
    assert to_params(bench)["v"] == ["2"]


def test_an_address_of_a_later_version_says_so_and_keeps_what_it_knows() -> None:
    bench, notes = from_params({"v": ["9"], "clean": ["a"], "hologram": ["on"], "do": ["L1H2:dissolve", "L1H2:zero"]})
    assert bench.pair.clean == "a" and bench.entries == (Entry(Head(1, 2), "zero"),)
    assert "written by version" in notes[0] and any("hologram" in note for note in notes)
    assert any("dissolve" in note for note in notes)
