"""What checks measured, beside their controls; and effects of a sweep as one heatmap."""

import numpy as np

from explorer.analyses.component_effect import ComponentEffect
from explorer.analyses.probe import Probe
from explorer.metrics.effects import Effects
from explorer.plots.heatmap import Heatmap
from explorer.plots.points import Points
from explorer.plots.theme import symmetric_limit

CLAIM, CONTROL = "the claim's, by pair", "matched random sets, means"


def beside_controls(found: ComponentEffect) -> Points:
    """The effect on every pair, and the mean effect of every matched random set; in logits."""
    rng = np.random.default_rng(0)
    groups = {CLAIM: found.by_pair, CONTROL: found.controls}
    names = {
        CLAIM: [f"pair {number}" for number in range(found.n)],
        CONTROL: [", ".join(map(str, places)) for places in found.matched],
    }
    x = np.concatenate([at + rng.uniform(-0.22, 0.22, len(each)) for at, each in enumerate(groups.values())])
    return Points(
        x, np.concatenate(list(groups.values())),
        [f"{name}\n{value:+.3f} logits" for group, each in groups.items() for name, value in zip(names[group], each, strict=True)],
        "", "effect (logits)", f"{', '.join(map(str, found.places))}, {found.manner}: above 0 helps the answer",
        x_ticks=[(0.0, CLAIM), (1.0, CONTROL)], faint=range(found.n, found.n + found.n_controls),
    )  # fmt: skip


def probe_points(found: Probe) -> Points:
    """The accuracy of every draw of labels; the probe's own is the one that stands out."""
    rng = np.random.default_rng(0)
    y = np.concatenate([[found.accuracy], found.shuffled])
    x = np.concatenate([[0.0], 1 + rng.uniform(-0.22, 0.22, len(found.shuffled))])
    hovers = [f"{value:.3f}" for value in y]
    return Points(
        x, y, hovers, "", "held-out accuracy", f"Probe of {found.place}", x_ticks=[(0.0, "true labels"), (1.0, "labels drawn anew")],
        strong=[0], faint=range(1, len(y)),
    )  # fmt: skip


def effect_grid(found: Effects) -> Heatmap:
    """Mean change of the objective by layer and part or position, in logits."""
    values = found.raw.reshape(len(found.layers), -1)
    limit = symmetric_limit(values)
    names = [str(found.place(cell)) for cell in range(values.size)]
    width = values.shape[1]
    step = max(1, -(-width // 30))
    return Heatmap(
        values=values, low=-limit, high=limit, palette="diverging", legend="change of the objective (logits)",
        x_title=" · ".join(found.axes[1:]) or found.site, y_title="layer", x_labels=[(at, str(at)) for at in range(0, width, step)],
        y_labels=[(row, str(layer)) for row, layer in enumerate(found.layers)],
        hovers=[f"{name}\n{value:+.3f} logits" for name, value in zip(names, values.ravel(), strict=True)],
        height=max(260, 21 * len(values) + 110), upwards=True, title=f"{found.site}, {found.direction}",
    )  # fmt: skip
