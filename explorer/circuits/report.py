"""A circuit and its scores in words and as a record."""

from typing import Any

import numpy as np
import pandas as pd

from explorer.circuits.circuit import Circuit
from explorer.circuits.edge_scores import EdgeScores
from explorer.circuits.evaluation import CircuitEvaluation, worst_variant
from explorer.circuits.exchange import to_json
from explorer.core.records import to_record


def printed(circuit: Circuit, scores: EdgeScores | None, found: CircuitEvaluation, top: int) -> str:
    """Tables to read in a terminal."""
    lines = [f"\n{circuit.method}: {circuit.n_edges:,} of {circuit.graph.n_edges:,} edges, {len(circuit.nodes)} nodes, {circuit.isolated:,} isolated edges left out"]  # fmt: skip
    if scores is not None and scores.residual is not None:
        lines.append(
            f"completeness residual {scores.residual:.4f} of {float((scores.clean - scores.corrupt).mean()):+.3f} logits"
        )
    if found.refusal:
        lines.append(f"NOT CALLED A CIRCUIT. {found.refusal}")
    for name, title in (
        ("faithfulness", "faithfulness"),
        ("reverse", "the other direction"),
        ("completeness", "completeness"),
    ):
        score, band = getattr(found.core, name), getattr(found.band, name)
        low, high = score.interval
        interval = "" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]"
        lines.append(
            f"{title:<20} {score.value:.3f}{interval}   random circuits {band.min():.3f} … {band.max():.3f}, "
            f"p {found.band.p_value(score.value, name):.2f}"
        )
    lines += [
        "\nfaithfulness by what is outside",
        found.variants.to_string(index=False, float_format=lambda value: f"{value:+.3f}"),
    ]
    if not found.refusal:
        worst = worst_variant(found.variants)
        lines.append(f"worst: {worst['unit']}, {worst['ablation']}: {worst['faithfulness']:+.3f}")
    lines += ["\nwhat the circuit loses without a node", found.minimality.head(top).to_string(index=False, float_format=lambda value: f"{value:+.3f}")]  # fmt: skip
    edges = sorted(circuit.edges, key=lambda edge: -abs(np.nan_to_num(circuit.score(edge))))[:top]
    lines += ["\nstrongest edges", *(f"{edge!s:<32} {circuit.score(edge):+.4f}" for edge in edges)]
    return "\n".join(lines)


def record(circuit: Circuit, found: CircuitEvaluation) -> dict[str, Any]:
    """JSON-ready: the circuit in the schema of `exchange`, and its scores."""
    core, band = {}, {}
    for name in ("faithfulness", "reverse", "completeness"):
        score, values = getattr(found.core, name), getattr(found.band, name)
        core[name] = {"value": finite(score.value), "interval": [finite(end) for end in score.interval]}
        band[name] = {"values": [finite(value) for value in values], "p": found.band.p_value(score.value, name)}
    return to_json(circuit) | {
        "evaluation": {
            "scores": core,
            "random_circuits": band,
            "variants": rows(found.variants),
            "minimality": rows(found.minimality),
            "incompleteness": to_record(found.worst_knockout) | {"value": finite(found.worst_knockout.value)},
            "refusal": found.refusal,
            "provenance": to_record(found.provenance),
        }
    }


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table; numbers that are none as null."""
    return [
        {str(name): finite(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
