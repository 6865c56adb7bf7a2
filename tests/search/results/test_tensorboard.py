"""What TensorBoard reads: hyperparameters, the curve and the score of each trial."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from kerasft.search.results.record import TrialRecord
from kerasft.search.results.tensorboard import write_hparams

RECORDS = [
    TrialRecord("00", {"learning_rate": 1e-3, "tuner/epochs": 2}, "head_then_all", 2, "c", score=0.5,
                curve=[0.25, 0.5], epochs=2, seconds=3.0),
    TrialRecord("01", {}, "frozen_head", 5, "top", "failed", None),
]  # fmt: skip


def read(folder):
    events = EventMultiplexer().AddRunsFromDirectory(str(folder))
    events.Reload()
    return events


def test_each_trial_with_a_score_is_a_run(tmp_path):
    write_hparams(RECORDS, "val_accuracy", tmp_path)
    (run,) = write_hparams(RECORDS, "val_accuracy", tmp_path)  # once more: nothing is doubled
    assert run == tmp_path / "trial_00"
    events = read(tmp_path)
    assert list(events.Runs()) == ["trial_00"]
    (accumulator,) = (events.GetAccumulator(name) for name in events.Runs())
    scalars = {
        tag: [(e.step, tf.make_ndarray(e.tensor_proto).item()) for e in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
        if not tag.startswith("_hparams_")
    }
    assert scalars == {"epoch": [(0, 0.25), (1, 0.5)], "val_accuracy": [(2, 0.5)], "seconds": [(2, 3.0)]}
    tags = accumulator.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    values = {k: v.string_value or v.number_value for k, v in start.hparams.items()}
    assert values == {"recipe": "head_then_all", "freeze_depth": 2.0, "learning_rate": pytest.approx(1e-3)}
