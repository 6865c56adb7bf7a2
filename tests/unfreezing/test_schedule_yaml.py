"""Schedules as YAML."""

import keras
import pytest

from kerasft import Phase, UnfreezingSchedule

WRITTEN = """\
# one cycle after the head
phases:
  - depth: head
    epochs: 2
    learning_rate: 1e-3
  - {depth: "1e3", patience: 2, monitor: val_loss, multipliers: {"block_1*": 0.5}}
"""
MEANT = UnfreezingSchedule(
    [
        Phase("head", 2, learning_rate=0.001),
        Phase("1e3", patience=2, monitor="val_loss", multipliers={"block_1*": 0.5}),
    ]
)


def test_yaml_in_and_out(tmp_path):
    assert UnfreezingSchedule.from_yaml(WRITTEN) == MEANT
    assert UnfreezingSchedule.from_yaml(MEANT.to_yaml()) == MEANT  # the name "1e3" stays a name
    decay = keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.1, 0.01])
    scheduled = UnfreezingSchedule([Phase(0, learning_rate=decay)])
    assert UnfreezingSchedule.from_yaml(scheduled.to_yaml()) == scheduled
    assert UnfreezingSchedule.from_yaml(MEANT.to_json()) == MEANT  # JSON is YAML
    yaml, js = tmp_path / "schedule.yml", tmp_path / "schedule.json"
    MEANT.to_yaml(yaml)
    MEANT.to_json(js)
    for read in (UnfreezingSchedule.from_file(yaml), UnfreezingSchedule.from_file(js)):
        assert read == MEANT == UnfreezingSchedule.from_yaml(yaml)
    with pytest.raises(FileNotFoundError):
        UnfreezingSchedule.from_yaml("phases.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases:\n- depth: 0\n  depth: 1\n", "The schedule has the key 'depth' twice in one object"),
        ('{"phases": [{"depth": 0, "depth": 1}]}', "The schedule has the key 'depth' twice in one object"),
        ("phases: [{depth: 0}", "The schedule is not valid YAML"),
        ("phases: !!python/name:os.system [0]", "The schedule is not valid YAML"),
        ("- depth: 0\n", "A schedule is .*received list"),
        ("phases:\n- {depth: -1}\n- {dept: 0}\n", "Phase 0: .*negative(.|\n)*Phase 1: It reads"),
        ("phases:\n- {depth: yes}\n", "Phase 0: Phase.depth is an integer or a stage's name, not True"),
        ("phases: " + "[" * 3000, "nested too deeply|not valid YAML"),
    ],
)
def test_faults_are_named_as_in_json(text, message):
    with pytest.raises(ValueError, match=message):
        UnfreezingSchedule.from_yaml(text)
