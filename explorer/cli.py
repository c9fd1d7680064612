"""The command line: `circuit-explorer serve | models | run`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from explorer.core.errors import ExplorerError, StateError
from explorer.models.catalog import CATALOG, DEFAULT_MODEL

ABLATE_HELP = "site=how, for example L23H3=zero, L5.mlp_out=mean or L9H6=resample (with --corrupt); may be repeated"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 for an error of the user's, printed as one line."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ExplorerError as error:
        print(f"circuit-explorer: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="circuit-explorer", description="See inside a language model, and act on what you see."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    serve_parser = commands.add_parser("serve", help="start the app in the browser")
    serve_parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve_parser.add_argument("--port", type=int, default=8501)
    serve_parser.add_argument("--model", default=DEFAULT_MODEL, help="model to load at once")
    serve_parser.set_defaults(command=serve)

    models_parser = commands.add_parser("models", help="list the catalog, or set a model up")
    models_parser.add_argument("--prepare", metavar="MODEL", help="convert or download this model now, and check it")
    models_parser.add_argument("--json", metavar="FILE", type=Path, help="write the result here")
    models_parser.set_defaults(command=models)

    run_parser = commands.add_parser("run", help="run a prompt, with or without interventions")
    run_parser.add_argument("prompt")
    run_parser.add_argument("--model", default=DEFAULT_MODEL, help="catalog key, hub id or directory")
    run_parser.add_argument("--ablate", action="append", default=[], metavar="SITE=HOW", help=ABLATE_HELP)
    run_parser.add_argument("--corrupt", default="", help="the other prompt of the pair, for means and resampling")
    run_parser.add_argument("--answer", default="", help="one token, with its leading space")
    run_parser.add_argument("--distractor", default="", help="one token; gives the logit difference")
    run_parser.add_argument("--top", type=int, default=5, help="how many next tokens to show")
    run_parser.add_argument("--bos", choices=("default", "on", "off"), default="default")
    run_parser.add_argument("--json", metavar="FILE", type=Path, help="write the result, with its provenance, here")
    run_parser.set_defaults(command=run)
    return top


def serve(options: argparse.Namespace) -> int:
    """Start Streamlit in this process, with the model loading beside it."""
    from explorer.serve import start

    print(f"Circuit Explorer: http://{options.host}:{options.port}", flush=True)
    start(options.host, options.port, options.model)
    return 0


def models(options: argparse.Namespace) -> int:
    """List the catalog, or prepare one model."""
    from explorer.core.records import to_record

    if options.prepare:
        from explorer.engine.model import load_model

        model = load_model(options.prepare)
        print(f"{model.info.key}: ready, {model.backend}; {model.check}")
        write_json(
            options.json, {"info": to_record(model.info), "backend": model.backend, "check": to_record(model.check)}
        )
        return 0
    for row in CATALOG.values():
        print(f"{row.key:<12} {row.title}, {row.n_parameters / 1e6:.1f} M parameters, {row.licence}: {row.note}")
    print("Any hub id (for example gpt2) or directory with config.json and *.safetensors works too.")
    write_json(options.json, {"models": [to_record(row) for row in CATALOG.values()]})
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a prompt and print the likeliest next tokens, baseline beside changed."""
    from explorer.analyses.prediction import prediction
    from explorer.core.records import to_record
    from explorer.engine.model import load_model
    from explorer.prompts.tokens import visible

    stack = tuple(read_ablation(text, options) for text in options.ablate)
    model = load_model(options.model)
    result = prediction(
        model,
        options.prompt,
        stack,
        answer=options.answer,
        distractor=options.distractor,
        k=options.top,
        bos=options.bos,
    )
    shown = result.frame.assign(token=result.frame["token"].map(visible))
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for name, score in (("baseline", result.baseline), ("changed", result.changed)):
        if score is not None:
            difference = "" if score.logit_difference is None else f"logit difference {score.logit_difference:.4f}, "
            print(f"{name}: {difference}P(answer) {score.answer_prob:.4f}, rank {score.answer_rank}")
    if stack:
        print(f"KL(baseline ‖ changed): {result.kl:.4f} nats")
    write_json(
        options.json,
        {
            "top": result.frame.to_dict("records"),
            "baseline": to_record(result.baseline),
            "changed": to_record(result.changed),
            "kl": result.kl,
            "provenance": to_record(result.provenance),
        },
    )
    return 0


def read_ablation(text: str, options: argparse.Namespace) -> Any:
    from explorer.core.pairs import ContrastPair
    from explorer.core.sites import parse_site
    from explorer.engine.interventions import Ablate, AblationKind, references_of

    name, _, how = text.partition("=")
    if how not in get_args(AblationKind):
        raise StateError(f"--ablate {text}: expected {ABLATE_HELP}.")
    if how == "resample" and not options.corrupt.strip():
        raise StateError(f"--ablate {text}: resampling takes its values from another prompt; give it with --corrupt.")
    kind = cast("AblationKind", how)
    return Ablate(parse_site(name), kind, reference=references_of(ContrastPair(options.prompt, options.corrupt), kind))


def write_json(path: Path | None, value: dict[str, Any]) -> None:
    if path is not None:
        try:
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
