"""The command line: `circuit-explorer serve | models | tasks | train | train-lens | run | patch`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from explorer.core.errors import ExplorerError, StateError
from explorer.models.catalog import CATALOG, DEFAULT_MODEL
from explorer.models.info import in_millions

ABLATE_HELP = "site=how, for example L23H3=zero, L5.mlp_out=mean or L9H6=resample (with --corrupt); may be repeated"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 for an error of the user's, printed as one line; 130 when interrupted."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ExplorerError as error:
        print(f"circuit-explorer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("circuit-explorer: stopped. A training goes on from its last checkpoint.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="circuit-explorer", description="See inside a language model, and act on what you see."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    serve_parser = commands.add_parser("serve", help="start the app in the browser")
    serve_parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve_parser.add_argument("--port", type=int, default=8501)
    serve_parser.add_argument("--model", default=DEFAULT_MODEL, help="model to load at once")
    serve_parser.add_argument("--executor", choices=("local", "ray"), default="local", help="where dataset runs go; ray: see RAY_ADDRESS")  # fmt: skip
    serve_parser.set_defaults(command=serve)

    models_parser = commands.add_parser("models", help="list the catalog, or set a model up")
    models_parser.add_argument("--prepare", metavar="MODEL", help="convert or download this model now, and check it")
    models_parser.add_argument("--json", metavar="FILE", type=Path, help="write the result here")
    models_parser.set_defaults(command=models)

    tasks_parser = commands.add_parser("tasks", help="measure which contrast pairs of a task a model gets right")
    tasks_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    tasks_parser.add_argument("--task", action="append", default=[], metavar="TASK", help="may be given more than once")
    tasks_parser.add_argument("--n", type=int, default=60, help="pairs of each task")
    tasks_parser.add_argument("--seed", type=int, default=0)
    tasks_parser.add_argument("--held-out", action="store_true", help="templates the small-world models never saw")
    tasks_parser.add_argument("--json", metavar="FILE", type=Path, help="write the pairs and measurements here")
    tasks_parser.set_defaults(command=tasks)

    train_parser = commands.add_parser("train", help="train a shipped model again from its recipe")
    train_parser.add_argument("key", metavar="KEY", help="small-world, small-world-nano, attn-only-2l, or a variant")
    train_parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: ./KEY)")
    train_parser.set_defaults(command=train)

    lens_parser = commands.add_parser("train-lens", help="train a tuned lens of a model, for the Lens page")
    lens_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    lens_parser.add_argument(
        "--text", metavar="FILE", type=Path, help="UTF-8 text to train on (default: see the README)"
    )
    lens_parser.add_argument("--steps", type=int, help="600 by default, each of four texts of 96 tokens")
    lens_parser.add_argument(
        "--rank", type=int, help="of each translator (default: d_model, 128 for models wider than 256)"
    )
    lens_parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: where the app looks for it)"
    )
    lens_parser.set_defaults(command=train_lens)

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
    add_patch(commands)
    return top


def add_patch(commands: Any) -> None:
    patch_parser = commands.add_parser("patch", help="activation patching over pairs, with intervals and controls")
    patch_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    source = patch_parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", help="draw pairs of this task, such as ioi")
    source.add_argument("--pairs", metavar="FILE", type=Path, help="CSV or JSONL: clean, corrupt, answer, distractor")
    source.add_argument("--resume", metavar="JOB", help="go on with an interrupted job")
    patch_parser.add_argument("--n", type=int, default=100, help="pairs to draw, or to take from the file")
    patch_parser.add_argument("--all", action="store_true", help="also pairs that the model gets wrong")
    patch_parser.add_argument("--site", default="head_out", help="what is patched (default: head_out)")
    patch_parser.add_argument("--by-position", action="store_true", help="each position apart; pairs of one length")
    patch_parser.add_argument("--direction", choices=("denoising", "noising", "both"), default="both")
    patch_parser.add_argument("--control", choices=("positions", "prompts", "none"), default="positions")
    patch_parser.add_argument(
        "--ablate", action="append", default=[], metavar="SITE=HOW", help="zero or mean, in every run"
    )
    patch_parser.add_argument("--seed", type=int, default=0)
    patch_parser.add_argument("--top", type=int, default=10, help="how many of the strongest to print")
    patch_parser.add_argument("--executor", choices=("local", "ray"), default="local", help="ray: see RAY_ADDRESS")
    patch_parser.add_argument("--json", metavar="FILE", type=Path, help="write every effect, with its provenance, here")
    patch_parser.set_defaults(command=patch)


def serve(options: argparse.Namespace) -> int:
    """Start Streamlit in this process, with the model loading beside it."""
    from explorer.serve import start

    print(f"Circuit Explorer: http://{options.host}:{options.port}", flush=True)
    start(options.host, options.port, options.model, options.executor)
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
        print(f"{row.key:<26} {row.title}, {in_millions(row.n_parameters)} parameters, {row.licence}: {row.note}")
    print("Any hub id (for example gpt2) or directory with config.json and *.safetensors works too.")
    write_json(options.json, {"models": [to_record(row) for row in CATALOG.values()]})
    return 0


def tasks(options: argparse.Namespace) -> int:
    """Print a line a task: pairs right, and prompts whose likeliest token is right."""
    from explorer.analyses.task_pairs import task_pairs
    from explorer.core.records import to_record
    from explorer.engine.model import load_model
    from explorer.prompts.tasks import FOR_ANY_MODEL

    model = load_model(options.model)
    results = []
    print(f"{'task':<16} {'pairs right':>12} {'top-1':>7}")
    for key in options.task or FOR_ANY_MODEL:
        result = task_pairs(model, key, options.n, seed=options.seed, held_out=options.held_out)
        print(f"{key:<16} {result.accuracy:>12.3f} {result.top1:>7.3f}", flush=True)
        results.append(
            {
                "task": key,
                "accuracy": result.accuracy,
                "top1": result.top1,
                "refused": result.refused,
                "pairs": result.frame.to_dict("records"),
                "provenance": to_record(result.provenance),
            }
        )
    write_json(options.json, {"tasks": results})
    return 0


def train(options: argparse.Namespace) -> int:
    """Train a model, write its files, measure it and write its card."""
    from explorer.training.run import recipe_of, train_and_measure

    recipe = recipe_of(options.key)
    directory = options.out or Path(options.key)
    card = train_and_measure(recipe, directory)
    print(
        f"{directory}: {card['steps']:,} steps, {card['cpu_minutes']} CPU-minutes, weights {card['weight_hash'][:12]}…"
    )
    return 0


def train_lens(options: argparse.Namespace) -> int:
    """Train a tuned lens, measure it on held-out text, and say where it lies."""
    from explorer.engine.model import load_model
    from explorer.models.tuned_lens import read_lens
    from explorer.training.lens import lens_recipe
    from explorer.training.lens import train_lens as train

    model = load_model(options.model)
    path = train(model, lens_recipe(model, options.steps, options.rank), options.out, options.text)
    record = read_lens(path, model.info).record
    print(f"{'after layer':<12} {'KL, logit lens':>15} {'KL, tuned lens':>15}   (nats to the output, held-out text)")
    for layer, (plain, tuned) in enumerate(zip(record["kl_logit"], record["kl_tuned"], strict=True)):
        print(f"{layer:<12} {plain:>15.3f} {tuned:>15.3f}")
    print(f"{path}: {record['steps']:,} steps, {record['cpu_minutes']} CPU-minutes")
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


def patch(options: argparse.Namespace) -> int:
    """Run a dataset job to its end, and print the strongest effects of each direction."""
    from explorer.engine.model import load_model
    from explorer.jobs.report import printed, result_record
    from explorer.jobs.service import JobService
    from explorer.jobs.store import Store

    store = Store()
    source = options.model
    model = load_model(source)
    service = JobService(lambda name: model, store, options.executor)
    if options.resume:
        job = options.resume
        store.spec(job)  # says where there is none
        service.resume(job)
    else:
        job = service.submit(patching_spec(options, model), f"{options.task or options.pairs.name}, {options.site}")
    print(f"job {job} (if this is stopped: circuit-explorer patch {source} --resume {job})", flush=True)
    while not service.wait(job, 2.0):
        running = service.status(job)
        if running is not None and sys.stderr.isatty():
            print(f"\r{running.done:,} of {running.pairs:,} pairs, {running.left}   ", end="", file=sys.stderr)
    stored, result = store.job(job), service.result(job, model)
    if stored is None or stored.state != "done" or result is None:
        raise StateError(f"The job did not finish: {stored.error if stored else 'it is gone'}")
    print(printed(result, options.top))
    write_json(options.json, result_record(result, options.top))
    return 0


def patching_spec(options: argparse.Namespace, model: Any) -> Any:
    """What to run, from the options: pairs of a task or a file, the wrong ones left out unless asked for."""
    from explorer.analyses.task_pairs import task_pairs
    from explorer.core.errors import PairError
    from explorer.engine.sweep_plan import plan_sweep
    from explorer.jobs.patching import BOTH, PatchingSpec
    from explorer.prompts.pair_files import read_pair_path

    if options.task:
        found = task_pairs(model, options.task, options.n, seed=options.seed)
        pairs = found.pairs if options.all else found.right
        print(
            f"{len(found.right)} of {len(found.pairs)} pairs are right"
            + ("" if options.all else "; the others are left out")
        )
    else:
        file = read_pair_path(options.pairs, model.tokenizer, model.info.n_ctx)
        print(file.summary)
        for row, reason in file.refused[:20]:
            print(f"  row {row}: {reason.splitlines()[0]}", file=sys.stderr)
        pairs = file.pairs[: options.n]
    if not pairs:
        raise PairError("No pair is left to run.")
    plan_sweep(model, options.site, [model.tokenize(pairs[0].clean)])  # says where the site does not exist
    stack = tuple(read_ablation(text, options) for text in options.ablate)
    control = None if options.control == "none" or (options.by_position and options.control == "positions") else options.control  # fmt: skip
    return PatchingSpec(
        options.model, model.info.dtype, model.info.weight_hash, tuple(pairs), options.site, options.by_position,
        BOTH if options.direction == "both" else (options.direction,), control,
        ((stack, stack),) * len(pairs) if stack else (), options.seed,
    )  # fmt: skip


def read_ablation(text: str, options: argparse.Namespace) -> Any:
    from explorer.core.pairs import ContrastPair
    from explorer.core.sites import parse_site
    from explorer.engine.interventions import Ablate, AblationKind, references_of

    name, _, how = text.partition("=")
    if how not in get_args(AblationKind):
        raise StateError(f"--ablate {text}: expected {ABLATE_HELP}.")
    if how == "resample" and not getattr(options, "corrupt", "").strip():
        raise StateError(f"--ablate {text}: resampling takes its values from another prompt; give it with --corrupt.")
    kind = cast("AblationKind", how)
    pair = ContrastPair(getattr(options, "prompt", ""), getattr(options, "corrupt", ""))
    return Ablate(parse_site(name), kind, reference=references_of(pair, kind))


def write_json(path: Path | None, value: dict[str, Any]) -> None:
    if path is not None:
        try:
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
