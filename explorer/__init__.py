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
    from explorer.analyses.attention_score import AttentionScore, attention_score
    from explorer.analyses.attribution import Attribution, direct_logit_attribution, neuron_attribution
    from explorer.analyses.attribution_patching import AttributionPatching, attribution_patching
    from explorer.analyses.component_effect import ComponentEffect, component_effect
    from explorer.analyses.component_lens import ComponentLens, component_lens
    from explorer.analyses.edge_reading import EdgeReading, edge_reading
    from explorer.analyses.head_check import HeadCheck, head_check
    from explorer.analyses.joint_patching import JointPatching, joint_patching
    from explorer.analyses.leave_one_out import leave_one_out
    from explorer.analyses.lens import Lens, logit_lens
    from explorer.analyses.mediation import Mediation, mediation
    from explorer.analyses.path_patching import PathMap, PathPatching, path_map, path_patching
    from explorer.analyses.prediction import Prediction, prediction
    from explorer.analyses.probe import Probe, probe
    from explorer.analyses.task_pairs import TaskPairs, task_pairs
    from explorer.analyses.token_attribution import TokenAttribution, token_attribution
    from explorer.analyses.weighted_attention import weighted_attention
    from explorer.circuits.circuit import Circuit
    from explorer.circuits.discovery import discover_circuit, edge_attribution
    from explorer.circuits.edge_scores import EdgeScores
    from explorer.circuits.evaluation import CircuitEvaluation, evaluate_circuit
    from explorer.core.errors import ExplorerError
    from explorer.core.pairs import ContrastPair
    from explorer.core.places import Place, PlacedEdge
    from explorer.core.sites import (
        AttnOut,
        Edge,
        Embed,
        Feature,
        Head,
        HeadPart,
        KeyValue,
        Logits,
        MlpIn,
        MlpOut,
        Neuron,
        Resid,
    )
    from explorer.engine.contrasts import Stacks
    from explorer.engine.generation import generate
    from explorer.engine.interventions import (
        Ablate,
        Clamp,
        EdgeAblate,
        EdgePatch,
        Freeze,
        Noise,
        OnlyEdges,
        Patch,
        Scale,
        Steer,
    )
    from explorer.engine.model import Model, load_model
    from explorer.engine.run import Run, run
    from explorer.features.circuit import FeatureEffects, feature_effects
    from explorer.features.dashboard import Dashboard, PromptFeatures, feature_dashboard, prompt_features
    from explorer.features.descriptions import describe_feature
    from explorer.features.graph import AttributionGraph, attribution_graph
    from explorer.features.graph_check import GraphCheck, check_graph
    from explorer.features.index import FeatureIndex, feature_index
    from explorer.features.loading import load_dictionary
    from explorer.features.maximise import Maximised, maximise
    from explorer.features.steering import DoseResponse, dose_response
    from explorer.findings.circuit_checks import circuit_found, circuit_score, circuit_stability, circuit_worst
    from explorer.findings.estimates import estimated_effect
    from explorer.jobs.patching import DatasetPatching, PatchingSpec, dataset_patching
    from explorer.models.dictionary import Dictionary
    from explorer.models.zoo.exact.parts import TrueCircuit
    from explorer.models.zoo.knowledge import true_circuit
    from explorer.training.dictionary import train_dictionary

_HOME = {
    "Ablate": "engine.interventions",
    "ActivationPatching": "analyses.activation_patching",
    "Attention": "analyses.attention",
    "AttnOut": "core.sites",
    "AttentionScore": "analyses.attention_score",
    "AttributionPatching": "analyses.attribution_patching",
    "attribution_patching": "analyses.attribution_patching",
    "JointPatching": "analyses.joint_patching",
    "joint_patching": "analyses.joint_patching",
    "Mediation": "analyses.mediation",
    "mediation": "analyses.mediation",
    "PathPatching": "analyses.path_patching",
    "path_patching": "analyses.path_patching",
    "PathMap": "analyses.path_patching",
    "path_map": "analyses.path_patching",
    "Attribution": "analyses.attribution",
    "ComponentLens": "analyses.component_lens",
    "ContrastPair": "core.pairs",
    "Edge": "core.sites",
    "EdgeAblate": "engine.interventions",
    "EdgePatch": "engine.interventions",
    "OnlyEdges": "engine.interventions",
    "Circuit": "circuits.circuit",
    "CircuitEvaluation": "circuits.evaluation",
    "EdgeReading": "analyses.edge_reading",
    "EdgeScores": "circuits.edge_scores",
    "discover_circuit": "circuits.discovery",
    "edge_attribution": "circuits.discovery",
    "edge_reading": "analyses.edge_reading",
    "evaluate_circuit": "circuits.evaluation",
    "Embed": "core.sites",
    "ExplorerError": "core.errors",
    "Freeze": "engine.interventions",
    "Head": "core.sites",
    "HeadPart": "core.sites",
    "KeyValue": "core.sites",
    "HeadCheck": "analyses.head_check",
    "Lens": "analyses.lens",
    "Logits": "core.sites",
    "MlpIn": "core.sites",
    "MlpOut": "core.sites",
    "Model": "engine.model",
    "Neuron": "core.sites",
    "Noise": "engine.interventions",
    "Patch": "engine.interventions",
    "Place": "core.places",
    "PlacedEdge": "core.places",
    "Prediction": "analyses.prediction",
    "Resid": "core.sites",
    "Run": "engine.run",
    "Scale": "engine.interventions",
    "Steer": "engine.interventions",
    "TaskPairs": "analyses.task_pairs",
    "TokenAttribution": "analyses.token_attribution",
    "TrueCircuit": "models.zoo.exact.parts",
    "activation_patching": "analyses.activation_patching",
    "attention": "analyses.attention",
    "attention_score": "analyses.attention_score",
    "component_lens": "analyses.component_lens",
    "ComponentEffect": "analyses.component_effect",
    "component_effect": "analyses.component_effect",
    "Probe": "analyses.probe",
    "probe": "analyses.probe",
    "Stacks": "engine.contrasts",
    "DatasetPatching": "jobs.patching",
    "PatchingSpec": "jobs.patching",
    "dataset_patching": "jobs.patching",
    "estimated_effect": "findings.estimates",
    "circuit_found": "findings.circuit_checks",
    "circuit_score": "findings.circuit_checks",
    "circuit_stability": "findings.circuit_checks",
    "circuit_worst": "findings.circuit_checks",
    "direct_logit_attribution": "analyses.attribution",
    "generate": "engine.generation",
    "load_model": "engine.model",
    "head_check": "analyses.head_check",
    "leave_one_out": "analyses.leave_one_out",
    "logit_lens": "analyses.lens",
    "neuron_attribution": "analyses.attribution",
    "plan_patching": "analyses.activation_patching",
    "prediction": "analyses.prediction",
    "run": "engine.run",
    "task_pairs": "analyses.task_pairs",
    "token_attribution": "analyses.token_attribution",
    "true_circuit": "models.zoo.knowledge",
    "weighted_attention": "analyses.weighted_attention",
    "Feature": "core.sites",
    "Clamp": "engine.interventions",
    "Dictionary": "models.dictionary",
    "FeatureEffects": "features.circuit",
    "feature_effects": "features.circuit",
    "Dashboard": "features.dashboard",
    "PromptFeatures": "features.dashboard",
    "feature_dashboard": "features.dashboard",
    "prompt_features": "features.dashboard",
    "describe_feature": "features.descriptions",
    "AttributionGraph": "features.graph",
    "attribution_graph": "features.graph",
    "GraphCheck": "features.graph_check",
    "check_graph": "features.graph_check",
    "FeatureIndex": "features.index",
    "feature_index": "features.index",
    "load_dictionary": "features.loading",
    "Maximised": "features.maximise",
    "maximise": "features.maximise",
    "DoseResponse": "features.steering",
    "dose_response": "features.steering",
    "train_dictionary": "training.dictionary",
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
