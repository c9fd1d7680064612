import json
from dataclasses import replace
from pathlib import Path

import pytest

from explorer.cli import main
from explorer.serve import options
from explorer.training.recipes import RECIPES
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.unit


def test_run_writes_numbers_and_provenance(tiny_directories, tmp_path: Path, capsys) -> None:
    target = tmp_path / "out.json"
    status = main(["run", PROMPT, "--model", str(tiny_directories["llama"]), "--ablate", "L1H2=zero", "--ablate", "L0.mlp_out=resample",
                   "--corrupt", TWIN, "--answer", " Mary", "--distractor", " John", "--json", str(target)])  # fmt: skip
    assert status == 0
    found = json.loads(target.read_text())
    assert found["changed"]["logit_difference"] != found["baseline"]["logit_difference"]
    assert [item["how"] for item in found["provenance"]["interventions"]] == ["zero", "resample"]
    assert len(found["provenance"]["weight_hash"]) == 64 and found["kl"] > 0
    assert "logit difference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ablate", "L1H2"], "--ablate L1H2: expected site=how"),
        (["--ablate", "nothing=zero"], "names no site"),
        (["--ablate", "L9H9=zero"], "has layers 0 to 2"),
        (["--ablate", "L0H0=resample"], "give it with --corrupt"),
        (["--answer", " interpretability"], "an answer must be one"),
        (["--json", "/nowhere/out.json"], "cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_status_one(tiny_directories, capsys, arguments, said) -> None:
    assert main(["run", PROMPT, "--model", str(tiny_directories["llama"]), *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_models_lists_the_catalog(capsys, tmp_path: Path) -> None:
    assert main(["models", "--json", str(tmp_path / "models.json")]) == 0
    assert "smollm2" in capsys.readouterr().out
    assert json.loads((tmp_path / "models.json").read_text())["models"][0]["key"] == "smollm2"


def test_models_prepares_a_model(tiny_directories, capsys) -> None:
    assert main(["models", "--prepare", str(tiny_directories["gpt2"])]) == 0
    assert "max |Δ log-prob|" in capsys.readouterr().out


def test_the_server_keeps_to_this_machine_and_sends_no_statistics() -> None:
    chosen = options("127.0.0.1", 8501)
    assert chosen["server_address"] == "127.0.0.1" and chosen["browser_gatherUsageStats"] is False
    assert chosen["server_allowedHosts"] == ["127.0.0.1", "localhost"]


def test_the_checkout_and_the_command_serve_with_the_same_settings() -> None:
    """`streamlit run explorer/app.py` in a checkout is as safe as `circuit-explorer serve`."""
    import tomllib

    file = tomllib.loads((Path(__file__).parents[1] / ".streamlit" / "config.toml").read_text())

    def flat(value, prefix=""):
        for key, item in value.items():
            if isinstance(item, dict):
                yield from flat(item, f"{prefix}{key}_")
            else:
                yield f"{prefix}{key}", item

    assert dict(flat(file)) == options("127.0.0.1", 8501)


def test_the_public_face_is_whole() -> None:
    import explorer as ex

    for name in ("load_model", "ContrastPair", "run", "Ablate", "Head", "attention", "logit_lens", "plots"):
        assert name in ex.__all__ and getattr(ex, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ex.nothing


def test_tasks_prints_a_line_a_task_and_writes_the_pairs(tmp_path: Path, capsys) -> None:
    target = tmp_path / "tasks.json"
    assert (
        main(["tasks", "small-world-nano", "--task", "ioi", "--task", "capital", "--n", "10", "--json", str(target)])
        == 0
    )
    found = json.loads(target.read_text())["tasks"]
    assert [row["task"] for row in found] == ["ioi", "capital"] and len(found[0]["pairs"]) == 10
    printed = capsys.readouterr().out
    assert "pairs right" in printed and "capital" in printed
    assert main(["tasks", "small-world-nano", "--task", "nonsense"]) == 1
    assert "no task 'nonsense'" in capsys.readouterr().err


@pytest.mark.slow
def test_train_writes_model_and_card(tmp_path: Path, capsys, monkeypatch, shipped_tokenizer) -> None:
    small = replace(RECIPES["small-world-nano"], steps=3, n_documents=600, batch=4, d_model=32, opening_steps=1)
    monkeypatch.setitem(RECIPES, "small-world-nano", small)
    monkeypatch.setattr("explorer.training.card.SAMPLE", 6)
    assert main(["train", "small-world-nano", "--out", str(tmp_path / "out")]) == 0
    assert "3 steps" in capsys.readouterr().out
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "card.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert "| Capital city |" in (tmp_path / "out" / "README.md").read_text()
    assert main(["train", "nothing"]) == 1
    assert "no recipe for 'nothing'" in capsys.readouterr().err


def test_every_exact_model_is_in_the_list(capsys) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in ("induction-handmade", "attn-only-2l", "small-world-backdoor"))


def test_an_interruption_is_one_line(capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("explorer.training.run.train_and_measure", interrupted)
    assert main(["train", "small-world-nano"]) == 130
    assert "goes on from its last checkpoint" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.reference
def test_train_lens_writes_measures_and_says_where(tmp_path, capsys) -> None:
    assert main(["train-lens", "small-world-nano", "--steps", "3", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "KL, tuned lens" in said and str(tmp_path / "tuned-lens.safetensors") in said and "3 steps" in said
    assert main(["train-lens", "small-world-nano", "--rank", "0", "--steps", "-1"]) == 1
    assert "at least one step" in capsys.readouterr().err


def patch_file(folder: Path) -> Path:
    from explorer.core.pairs import ContrastPair
    from explorer.prompts.pair_files import write_pairs

    path = folder / "pairs.csv"
    long = ContrastPair(PROMPT, TWIN + " to", " a", " the")
    path.write_text(
        write_pairs([ContrastPair(PROMPT, TWIN, " a", " the"), long, ContrastPair(TWIN, PROMPT, " a", " the")])
    )
    return path


def test_patch_prints_and_writes_every_effect(tiny_directories, tmp_path: Path, capsys) -> None:
    target, model = tmp_path / "out.json", str(tiny_directories["llama"])
    arguments = [
        "patch",
        model,
        "--pairs",
        str(patch_file(tmp_path)),
        "--ablate",
        "L0H1=zero",
        "--json",
        str(target),
        "--top",
        "3",
    ]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "2 of 3 rows can be run" in said.out and "row 2: The prompts must have the same number" in said.err
    assert "denoising, 2 pairs" in said.out and "control at random positions" in said.out
    record = json.loads(target.read_text())
    assert record["pairs_run"] == [0, 1] and len(record["directions"]["noising"]["cells"]) == 12
    cell = record["directions"]["denoising"]["cells"][0]
    assert {"layer", "head", "effect", "change", "change_low", "change_high"} <= set(cell)
    assert record["directions"]["denoising"]["strongest"][0]["place"].startswith("L")
    assert len(record["spec"]["stacks"]) == 2 and record["directions"]["noising"]["control_band"]["low"] <= 0
    job = said.out.split("job ")[1].split()[0]
    assert main(["patch", model, "--resume", job]) == 0  # nothing is left to do, and the same is printed
    assert "denoising, 2 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pairs", "none.csv"], "cannot be read"),
        (["--resume", "nothing"], "no job"),
        (["--task", "nothing"], "no task"),
        (["--pairs", "GOOD", "--site", "nothing"], "no sweep over"),
        (["--pairs", "GOOD", "--n", "0"], "No pair is left"),
        (["--pairs", "GOOD", "--ablate", "L0H0=resample"], "give it with --corrupt"),
    ],
)
def test_patch_mistakes_are_one_line(tiny_directories, tmp_path: Path, capsys, arguments, said) -> None:
    arguments = [str(patch_file(tmp_path)) if argument == "GOOD" else argument for argument in arguments]
    assert main(["patch", str(tiny_directories["llama"]), *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_serve_passes_the_executor_on(monkeypatch) -> None:
    from explorer import serve
    from explorer.ui.service import SERVICE

    started = []
    monkeypatch.setattr("streamlit.web.bootstrap.run", lambda *arguments: started.append(SERVICE.executor))
    monkeypatch.setattr("streamlit.web.bootstrap.load_config_options", lambda chosen: None)
    monkeypatch.setattr("explorer.ui.models.POOL.request", lambda model: None)
    monkeypatch.setattr(SERVICE, "executor", "local")
    serve.start("127.0.0.1", 1, "smollm2", "ray")
    assert started == ["ray"]


@pytest.mark.slow
def test_a_circuit_is_found_scored_written_read_and_gone_on_with(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    found, graph = tmp_path / "circuit.json", tmp_path / "circuit.graphml"
    call = ["circuit", "small-world-nano", "--task", "ioi", "--n", "6", "--method", "eap", "--keep", "40"]
    assert main([*call, "--json", str(found), "--graphml", str(graph)]) == 0
    said = capsys.readouterr().out
    assert "random circuits" in said and "worst:" in said and "strongest edges" in said
    record = json.loads(found.read_text())
    assert record["format"] == "circuit-explorer/circuit" and 0 < len(record["edges"]) <= 40
    assert record["evaluation"]["scores"]["faithfulness"]["value"] > 0.3
    for file in (found, graph):
        assert main([*call, "--circuit", str(file)]) == 0
        again = capsys.readouterr().out
        line = next(text for text in said.splitlines() if text.startswith("faithfulness  "))
        assert line in again
    assert main([*call, "--keep", "0.9"]) == 0  # the scores are taken from the store


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--keep", "much"], "expected a share such as 0.9"),
        (["--keep", "1.5"], "expected a share"),
        (["--circuit", "/nowhere/at.all"], "cannot be read"),
        (["--by-position", "--method", "acdc"], "by position is not offered"),
    ],
)
def test_mistakes_with_circuits(tmp_path: Path, capsys, monkeypatch, more, said) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    assert main(["circuit", "small-world-nano", "--task", "ioi", "--n", "4", "--method", "eap", *more]) == 1
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error, error


@pytest.mark.slow
def test_a_dictionary_is_trained_added_and_indexed(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("CIRCUIT_EXPLORER_DATA", str(tmp_path / "data"))
    out, site = tmp_path / "sae", ["--site", "L1.resid_post"]
    sizes = ["--features", "64", "--k", "6", "--tokens", "4000", "--steps", "15"]
    assert main(["train-sae", "small-world-nano", *site, *sizes, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "fraction of variance explained" in said and "shuffled weights" in said and "64 features" in said
    assert main(["index", "small-world-nano", *site]) == 1  # not added yet
    assert "There is no dictionary at L1.resid_post" in capsys.readouterr().err
    assert main(["add-sae", "small-world-nano", str(out)]) == 0
    assert "L1.resid_post: 64 features, jumprelu" in capsys.readouterr().out
    assert main(["index", "small-world-nano", *site, "--tokens", "2000"]) == 0
    assert "features fire" in capsys.readouterr().out
    assert main(["add-sae", "small-world", str(out)]) == 1
    assert "reads 128 numbers; small-world has 256 there" in capsys.readouterr().err
