"""Circuit Explorer: see inside a language model, and act on what you see.

import explorer as ex
model = ex.load_model("smollm2")
run = ex.run(model, "The capital of France is", interventions=[ex.Ablate(ex.Head(23, 3))])
run.top(5)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explorer import plots
    from explorer.analyses.activation_patching import ActivationPatching, activation_patching, plan_patching
    from explorer.analyses.attention import Attention, attention
    from explorer.analyses.attribution import Attribution, direct_logit_attribution
    from explorer.analyses.logit_lens import LogitLens, logit_lens
    from explorer.analyses.prediction import Prediction, prediction
    from explorer.analyses.task_pairs import TaskPairs, task_pairs
    from explorer.core.errors import ExplorerError
    from explorer.core.pairs import ContrastPair
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
    )
    from explorer.engine.generation import generate
    from explorer.engine.interventions import Ablate, EdgePatch, Freeze, Patch, Scale, Steer
    from explorer.engine.model import Model, load_model
    from explorer.engine.run import Run, run
    from explorer.models.zoo.exact.parts import TrueCircuit
    from explorer.models.zoo.knowledge import true_circuit

_HOME = {
    "Ablate": "engine.interventions",
    "ActivationPatching": "analyses.activation_patching",
    "Attention": "analyses.attention",
    "AttnOut": "core.sites",
    "Attribution": "analyses.attribution",
    "ContrastPair": "core.pairs",
    "Edge": "core.sites",
    "EdgePatch": "engine.interventions",
    "Embed": "core.sites",
    "ExplorerError": "core.errors",
    "Freeze": "engine.interventions",
    "Head": "core.sites",
    "HeadPart": "core.sites",
    "KeyValue": "core.sites",
    "LogitLens": "analyses.logit_lens",
    "Logits": "core.sites",
    "MlpIn": "core.sites",
    "MlpOut": "core.sites",
    "Model": "engine.model",
    "Neuron": "core.sites",
    "Patch": "engine.interventions",
    "Prediction": "analyses.prediction",
    "Resid": "core.sites",
    "Run": "engine.run",
    "Scale": "engine.interventions",
    "Steer": "engine.interventions",
    "TaskPairs": "analyses.task_pairs",
    "TrueCircuit": "models.zoo.exact.parts",
    "activation_patching": "analyses.activation_patching",
    "attention": "analyses.attention",
    "direct_logit_attribution": "analyses.attribution",
    "generate": "engine.generation",
    "load_model": "engine.model",
    "logit_lens": "analyses.logit_lens",
    "plan_patching": "analyses.activation_patching",
    "prediction": "analyses.prediction",
    "run": "engine.run",
    "task_pairs": "analyses.task_pairs",
    "true_circuit": "models.zoo.knowledge",
}

__all__ = [*sorted(_HOME), "plots"]


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `import explorer` costs nothing."""
    if name == "plots":
        return import_module("explorer.plots")
    if name in _HOME:
        value = getattr(import_module(f"explorer.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'explorer' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
