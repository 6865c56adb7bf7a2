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
        ("\n", "A schedule is .*received no value"),
        ("phases:\n", 'received no value as the value of "phases", not a list'),
        ("phases: {depth: 0}\n", 'received dict as the value of "phases", not a list'),
        ("{}", "A schedule is .*received an object with no key"),
        ("{phases: [], more: 1}", r"received an object with the keys \['phases', 'more'\]"),
        ("phases:\n- {depth: -1}\n- {dept: 0}\n", "Phase 0: .*negative(.|\n)*Phase 1: It reads"),
        ("phases:\n- {depth: yes}\n", "Phase 0: Phase.depth is an integer or a stage's name, not True"),
        ("phases: " + "[" * 3000, "nested too deeply|not valid YAML"),
    ],
)
def test_faults_are_named_as_in_json(text, message):
    with pytest.raises(ValueError, match=message):
        UnfreezingSchedule.from_yaml(text)


@pytest.mark.parametrize(
    ("written", "older", "newer"),
    [
        # yaml.org/type/int.html and float.html for YAML 1.1; section 10.3.2 of YAML 1.2.2
        ("012", "the number 10", "the number 12"),
        ("-012", "the number -10", "the number -12"),
        ("08", "the name '08'", "the number 8"),
        ("0o14", "the name '0o14'", "the number 12"),
        ("1_0", "the number 10", "the name '1_0'"),
        ("1_0.5", "the number 10.5", "the name '1_0.5'"),
        ("0b11", "the number 3", "the name '0b11'"),
        ("1:30", "the number 90", "the name '1:30'"),
    ],
)
@pytest.mark.parametrize(
    "place", ["phases: [{depth: %s}]", "phases:\n- depth: 0\n  multipliers: {%s: 0.5}\n"]
)
def test_a_number_with_two_readings_is_refused_and_a_name_in_quotes_is_not(written, older, newer, place):
    with pytest.raises(
        ValueError, match=rf"{written} without quotes, .*{older} in .*1\.1, and {newer} in .*1\.2"
    ):
        UnfreezingSchedule.from_yaml(place % written)
    named = UnfreezingSchedule.from_yaml(f"phases: [{{depth: '{written}'}}]")
    assert named == UnfreezingSchedule([Phase(written)])
    assert UnfreezingSchedule.from_yaml(named.to_yaml()) == named


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("1e-3", 0.001),
        (".5e-3", 0.0005),
        ("+.5", 0.5),
        ("0.01", 0.01),
        ("01.5", 1.5),
        ("1.", 1.0),
        ("1E2", 100.0),
    ],
)
def test_a_number_with_one_reading_is_that_number(written, rate):
    text = f"phases: [{{depth: 0x1F, epochs: 10, learning_rate: {written}}}]"
    assert UnfreezingSchedule.from_yaml(text) == UnfreezingSchedule([Phase(31, 10, learning_rate=rate)])
