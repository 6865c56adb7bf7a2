"""The command line, as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import kerasft_command
from typer.testing import CliRunner

from kerasft.commands.main import app


def test_help_names_every_command_and_loads_no_tensorflow():
    code = (
        "import sys, kerasft.commands.main; print(*(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False False"
    status, output = kerasft_command("--help")
    assert status == 0
    for name in ("quickstart", "finetune", "advise", "search", "report", "export", "verify", "inspect"):
        assert name in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetune", "nowhere", "--backbone", "b", "--out", "o"), "no folder"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--epochs", "1,x"), "--epochs"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--epochs", "0"), "at least one"),
        (("finetune", "digits", "--backbone", "b", "--out", "o", "--input-range", "1"), "takes 2"),
        (
            ("finetune", "digits", "--backbone", "b", "--out", "o", "--learning-rate", "-1"),
            "--learning-rate is",
        ),
        (("search", "nowhere", "--backbone", "b", "--out", "o"), "no folder"),
        (("search", "digits", "--backbone", "b", "--out", "o", "--learning-rate", "1e-3"), "takes 2"),
        (("search", "digits", "--backbone", "b", "--out", "o", "--tuner", "best"), "no tuner 'best'"),
        (("search", "digits", "--backbone", "nowhere", "--out", "o"), "no folder"),
    ],
)
def test_mistakes_are_one_message(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, output = kerasft_command(*words)
    assert status == 1
    assert message in " ".join(output.split()) and "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("quickstart", "Fine-tune a backbone on images or texts.", "or what accelerators refuse.")),
        (
            ("finetune",),
            ("--image-size", "--learning-rate", "--no-cache", "3,3,4,4", "1e-3"),
        ),
        (("export",), ("--precision", "--input-range", "--skip-corrupt", "--max-bytes")),
    ],
)
def test_help_in_a_narrow_terminal_cuts_nothing(words, expected):
    output = CliRunner().invoke(app, [*words, "--help"], terminal_width=60).output
    lines = output.splitlines()[1:]  # the first is the usage, with "[ARGS]..."
    assert not any("…" in line or "..." in line or len(line) > 60 for line in lines), output
    assert all(word in output for word in expected), output


def test_every_option_keeps_its_name_and_its_default():
    """The options of all commands, as they are documented."""
    from typer.main import get_command

    from kerasft.commands.main import app

    shared = {"image_size": 224, "input_range": None, "batch_size": 32, "batch_norm": "inference"}
    shared |= {"limit": None, "data_dir": None, "skip_corrupt": False, "resume": False, "overwrite": False}
    shared |= {"resize": "antialias", "background": "white", "layout": None, "class_weights": None}
    shared |= {"seed": 0, "trust": False, "data": None, "backbone": None, "out": None}
    trained = {"out", "batch_norm", "resume", "overwrite", "class_weights"}
    texts = {"kind": None, "vocab": None, "preprocessor": None, "length": 128}
    expected = {
        "quickstart": {
            "out": Path("quickstart"), "quick": False, "image_size": 96, "overwrite": False, "seed": 0,
            "text": False,
        },
        "finetune": {
            **shared, **texts, "epochs": None, "learning_rate": None, "decay": None, "cache": True,
            "schedule": None,
        },
        "advise": {
            **{k: v for k, v in shared.items() if k not in trained}, **texts, "samples": 1000,
            "as_json": False,
        },
        "search": {
            **shared, **texts, "trials": 20, "epochs": 5, "tuner": "bayesian", "depths": None,
            "recipes": None, "learning_rate": "1e-4,1e-2", "precision": None, "max_bytes": None,
            "max_ms": None, "minutes": None, "prune": True,
        },
        "export": {
            "model": None, "out": None, "precision": None, "io": None, "data": None, "limit": None,
            "data_dir": None, "max_drop": None, "max_bytes": None, "max_ms": None, "prefer": None,
            "labels": None, "input_range": None, "skip_corrupt": False, "as_json": False,
            "resize": None, "background": None, "layout": None,
            "metadata": False, "pack": None, "web": None, "overwrite": False, "seed": 0,
            "batch": "1", "normalization": None, "tolerance": None, "strict": True, "image_size": None,
            "calibration_samples": None, "score_calibration": None, "target": None, "keep_compiled": False,
            "trainable": False, "depth": None, "optimizer": None, "learning_rate": None, "loss": None,
            "new_classes": None, "train_batch": None,
        },
        "verify": {"pack": None},
        "report": {"run": None, "out": None, "overwrite": False},
        "inspect": {"source": None, "at": None, "target": None, "trust": False},
    }  # fmt: skip
    commands = get_command(app).commands
    assert set(commands) == set(expected)
    for name, command in commands.items():
        found = {p.name: None if p.required else p.default for p in command.params}
        assert found == expected[name], name
        for parameter in command.params:
            option = {"as_json": "--json", "kind": "--as"}.get(
                parameter.name, f"--{parameter.name.replace('_', '-')}"
            )
            assert parameter.param_type_name == "argument" or option in parameter.opts


def test_the_version_is_that_of_the_package():
    import importlib.metadata

    status, output = kerasft_command("--version")
    assert (status, output.strip()) == (0, f"kerasft {importlib.metadata.version('kerasft')}")


def test_a_backbone_that_is_not_there_is_told_before_images_are_read(tmp_path, monkeypatch):
    from kerasft.commands import terminal

    monkeypatch.setattr(terminal, "load_images", lambda *args: pytest.fail("images were read"))
    status, output = kerasft_command("finetune", "digits", "--backbone", "nowhere", "--out", tmp_path / "o")
    assert status == 1 and "no folder 'nowhere'" in " ".join(output.split())
