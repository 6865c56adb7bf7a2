"""The converter's process: what a crash, a refusal, a kill and an interruption leave behind."""

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from kerasft.export.conversion import process
from kerasft.export.errors import ExportError
from kerasft.export.tflite_file.litert import LiteRTModel

from kerasft import export


@pytest.fixture(scope="module")
def folder():
    """A small model as the converter gets it."""
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, name="y")])
    with process.saved(model, 1) as path:
        yield path


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Lets a script take the converter's place, for one test."""
    original = process.COMMAND

    def place(text):
        process.stop()
        script = tmp_path / "pretended.py"
        script.write_text(text)
        monkeypatch.setattr(process, "COMMAND", (sys.executable, str(script)))

    place.back = lambda: monkeypatch.setattr(process, "COMMAND", original)
    yield place
    process.stop()


def works(folder):
    """Whether the converter converts."""
    content = process.converter_process().convert(folder, "float32", "float", ())
    return content[4:8] == b"TFL3"


CRASH = """
import os, sys
sys.stdin.readline()
print("loc: error: 'tf.Foo' op is of no use", file=sys.stderr, flush=True)
os.abort()
"""


def test_a_crash_is_an_error_that_names_signal_and_operation(pretend, tmp_path):
    (tmp_path / "out").mkdir()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    pretend(CRASH)
    with pytest.raises(ExportError, match=r"crashed at tf\.Foo \(SIGABRT\).*no use"):
        export.to_tflite(model, tmp_path / "out" / "a.tflite")
    assert list((tmp_path / "out").iterdir()) == []
    pretend.back()
    export.to_tflite(model, tmp_path / "out" / "a.tflite")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.tflite"]


def test_an_exit_without_a_word(pretend, folder):
    pretend("import sys; sys.stdin.readline(); sys.exit(3)")
    with pytest.raises(ExportError, match=r"exit code 3.*last output: none"):
        works(folder)
    pretend("import sys; sys.exit(3)")  # it ends before it is asked
    found = process.converter_process()
    found.process.wait()
    with pytest.raises(ExportError, match="exit code 3"):
        found.convert(folder, "float32", "float", ())


def test_only_the_last_request_s_words_are_told(pretend, folder):
    pretend(
        "import sys\n"
        "for n, line in enumerate(sys.stdin):\n"
        "    print(f'tf.Op{n} fails', file=sys.stderr, flush=True)\n"
        "    if n: sys.exit(1)\n"
        '    print(\'{"ok": false, "error": "tf.Op0 said no"}\', flush=True)\n'
    )
    with pytest.raises(ExportError, match=r"tf\.Op0 can't be converted"):
        works(folder)
    with pytest.raises(ExportError, match=r"crashed at tf\.Op1 \("):
        works(folder)


def test_a_refusal_names_the_operation_and_the_process_stays(folder):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: tf.math.igamma(x + 1.0, x + 2.0))(inputs))
    pid = process.converter_process().process.pid
    with (
        process.saved(model, 1) as path,
        pytest.raises(ExportError, match=r"tf\.Igamma can't be converted") as info,
    ):
        process.converter_process().convert(path, "float32", "float", ())
    assert "Custom ops: Igamma" in str(info.value)
    assert "func.return" not in str(info.value)  # the program that the converter prints with it
    assert works(folder)
    assert process.converter_process().process.pid == pid


def test_a_killed_process_is_replaced(folder):
    first = process.converter_process()
    assert works(folder)
    first.process.kill()
    first.process.wait()
    assert works(folder)
    assert process.converter_process() is not first and first.process.stdin.closed


def test_an_interruption_leaves_no_answer_for_the_next_request(pretend, folder):
    pretend(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.stdin.readline(); time.sleep(5)\n"
        'print(\'{"ok": false, "error": "too late"}\', flush=True); time.sleep(9)\n'
    )
    begun = process.converter_process()
    main = threading.main_thread().ident
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        begun.convert(folder, "float32", "float", ())
    timer.join()
    assert begun.process.poll() is not None
    pretend.back()
    assert works(folder)


def test_a_process_is_not_shared_after_a_fork(folder, monkeypatch):
    parent = process.converter_process()
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as it is in a child
    assert not parent.alive
    parent.stop()
    monkeypatch.undo()
    assert parent.alive


def test_modules_beside_the_script_or_in_the_working_folder_hide_no_others(tmp_path, monkeypatch, folder):
    beside = Path(process.__file__).parent
    assert (beside / "process.py").exists() and (beside / "variants.py").exists()
    script = tmp_path / "script"
    script.mkdir()
    copy = script / "converter.py"
    copy.write_bytes((beside / "converter.py").read_bytes())
    for place in (script, tmp_path):
        for name in ("tensorflow", "numpy", "struct"):
            (place / f"{name}.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "COMMAND", (*process.COMMAND[:-1], str(copy)))
    process.stop()
    assert works(folder)
    process.stop()


def test_it_is_kept_warm_and_stopped_on_demand(folder):
    assert works(folder)
    kept = process.converter_process()
    assert process.converter_process() is kept
    begin = time.perf_counter()
    assert works(folder)
    assert time.perf_counter() - begin < 5  # TensorFlow's import alone takes as long
    process.stop()
    process.stop()
    assert kept.process.returncode == -signal.SIGKILL


def test_random_layers_are_inactive_in_what_is_saved(tmp_path):
    inputs = keras.Input((8, 8, 3), name="image")
    x = keras.layers.RandomTranslation(0.4, 0.4)(keras.layers.RandomFlip()(inputs))
    x = keras.layers.GaussianNoise(1.0)(keras.layers.Dropout(0.5)(x))
    model = keras.Model(inputs, keras.layers.Flatten(name="out")(x))
    export.to_tflite(model, tmp_path / "model.tflite")
    run = LiteRTModel(str(tmp_path / "model.tflite"))
    image = np.random.default_rng(0).uniform(0, 1, (1, 8, 8, 3)).astype("float32")
    for _ in range(4):
        np.testing.assert_array_equal(run({"image": image})["out"], image.reshape(1, -1))


def test_names_of_operations():
    said = "tf.Foo, tf.Foo, tfl.bar, tf.lite.x, (tf.BarV2) 'tfl.Custom'"
    assert process._named_operations(said) == ["tf.Foo", "tf.BarV2", "tfl.Custom"]
    assert re.search("SIGKILL", process._crash(-9, ""))
