"""Schedules: data, checks and JSON."""

import re

import keras
import numpy as np
import pytest
from html_tables import Shown

from kerasft import GradualUnfreezing, Phase, UnfreezingSchedule, find_stages, resolve_multipliers
from kerasft.unfreezing.phase import direction
from kerasft.unfreezing.schedule import as_schedule, schedule_of


def test_phases_follow_each_other():
    schedule = UnfreezingSchedule([Phase("top", 2), Phase(1, 3), Phase(0)])
    assert schedule.starts == [0, 2, 5]
    assert [schedule.index_at(e) for e in range(7)] == [0, 0, 1, 1, 1, 2, 2]


def test_one_stage_at_a_time(dense_model):
    schedule = UnfreezingSchedule.one_stage_at_a_time(find_stages(dense_model), every=2)
    assert [(p.depth, p.epochs) for p in schedule] == [(2, 2), (1, 2), (0, None)]


def test_from_depths_and_linear_probe(dense_model):
    stages = find_stages(dense_model)
    schedule = UnfreezingSchedule.from_depths(["top", 1, "second", 0], every=2)  # deeper, and back
    assert [(p.depth, p.epochs) for p in schedule] == [("top", 2), (1, 2), ("second", 2), (0, None)]
    schedule = UnfreezingSchedule.linear_probe_then_finetune(stages, learning_rate=1e-4, warmup_steps=9)
    probe, tune = schedule.phases
    assert (probe.depth, probe.patience, probe.monitor) == (2, 2, "val_loss")
    assert (tune.depth, tune.learning_rate, tune.warmup_steps) == (0, 1e-4, 9)
    assert UnfreezingSchedule.from_json(schedule.to_json()) == schedule


def test_patience_makes_starts_unknown():
    schedule = UnfreezingSchedule([Phase(2, 3), Phase(1, patience=2, monitor="loss"), Phase(0)])
    assert schedule.starts == [0, 3, None]
    assert schedule.earliest_starts == [0, 3, 6]  # the first epoch improves, then two do not
    assert [schedule.index_at(e) for e in (0, 2, 3, 5)] == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="epoch 6 .*patience"):
        schedule.index_at(6)


@pytest.mark.parametrize(
    ("phase", "shortest"),
    [
        (Phase(0), None),
        (Phase(0, 4), 4),
        (Phase(0, patience=2, monitor="loss"), 3),
        (Phase(0, 2, 4, "loss"), 2),
        (Phase(0, 2, 4, "loss", ends="last"), 5),
        (Phase(0, 9, 4, "loss"), 5),
    ],
)
def test_the_least_number_of_epochs_of_a_phase(phase, shortest):
    assert phase.shortest == shortest


def test_the_direction_of_a_monitor():
    names = ["loss", "val_loss", "val_accuracy", "auc", "f1_score", "mse"]
    directions = [Phase(0, patience=1, monitor=name).direction for name in names]
    assert directions == ["min", "min", "max", "max", "max", "min"]
    assert Phase(0, patience=1, monitor="loss", mode="max").direction == "max"


def test_the_table_of_a_schedule():
    schedule = UnfreezingSchedule(
        [
            Phase("top", 2, 1, "val_loss", learning_rate=0.01),
            Phase(0, warmup_steps=5, multipliers={"first": 0.5}),
        ]
    )
    cells = [re.split(r"\s{2,}", line) for line in str(schedule).splitlines()]
    assert cells == [
        ["phase", "from", "ends after", "learning rate", "warm-up"],
        ["0", "top", "2 epochs or 1 without better val_loss", "0.01"],
        ["1", "0", "to the end", "as before × {'first': 0.5}", "5 steps"],
    ]


def test_head_then_all(dense_model):
    schedule = UnfreezingSchedule.head_then_all(find_stages(dense_model), head_epochs=3)
    assert [(p.depth, p.epochs) for p in schedule] == [(2, 3), (0, None)]


def test_json_round_trip(tmp_path):
    schedule = UnfreezingSchedule(
        [Phase("top", 2, multipliers={"block_*": 0.1}), Phase(0, learning_rate=1e-4)]
    )
    text = schedule.to_json(tmp_path / "schedule.json")
    assert UnfreezingSchedule.from_json(text) == schedule
    assert UnfreezingSchedule.from_json(tmp_path / "schedule.json") == schedule
    assert [p.name for p in tmp_path.iterdir()] == ["schedule.json"]


def test_json_that_can_not_be_written_leaves_nothing(tmp_path):
    folder = tmp_path / "s.json"
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        UnfreezingSchedule([Phase(0)]).to_json(folder)
    assert [p.name for p in tmp_path.rglob("*")] == ["s.json", "mine"]
    with pytest.raises(FileNotFoundError):
        UnfreezingSchedule([Phase(0)]).to_json(tmp_path / "nowhere" / "s.json")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "phases"),
        ('{"phases": [{"epochs": 1}]}', "needs `depth`"),
        ('{"phases": [{"depth": 1, "speed": 2}]}', "speed"),
        ('{"phases": [{"depth": 1, "epochs": 1}, {"depth": 0, "patience": 1}]}', "Phase 1: .*monitor"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ValueError, match=message):
        UnfreezingSchedule.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"phases": [{"depth": 1, "depth": 0}]}', "The schedule has the key 'depth' twice"),
        ('{"phases": [{"depth": 0}], "phases": []}', "The schedule has the key 'phases' twice"),
        ('{"phases": ' + "[" * 100_000, "nested too deeply"),
        ('{"phases": ' + '{"a": ' * 100_000, "nested too deeply"),
        ('{"phases": [' + "[" * 900 + "]" * 900 + "]}", "nested too deeply|needs `depth`"),
    ],
    ids=["twice", "twice outside", "lists", "objects", "just below the limit"],
)
def test_json_that_python_would_take_or_choke_on_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        UnfreezingSchedule.from_json(text)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: as_schedule(Phase(0)), TypeError, "list of phases"),
        (lambda: as_schedule(3), TypeError, r"list of phases, not 3 \(int\)"),
        (lambda: GradualUnfreezing(3), TypeError, r"list of phases, not 3 \(int\)"),
        (lambda: UnfreezingSchedule.one_stage_at_a_time(3), TypeError, "expects a keras.Model, not int"),
        (lambda: UnfreezingSchedule.from_depths(3), TypeError, r"list of depths or names; received 3"),
        (lambda: UnfreezingSchedule([]), ValueError, "at least one"),
        (lambda: UnfreezingSchedule([Phase(1), Phase(0)]), ValueError, "overlaps phase 1"),
        (lambda: Phase(1, epochs=0), ValueError, "epochs is an integer of at least 1; received 0"),
        (lambda: Phase(-1), ValueError, "negative"),
        (lambda: Phase(1.5), TypeError, "integer or a stage's name"),
        (lambda: Phase(1, epochs="2"), TypeError, "epochs is an integer of at least 1; received '2'"),
        (
            lambda: Phase(1, learning_rate=float("nan")),
            ValueError,
            "rate is a number of at least 0; received nan",
        ),
        (lambda: Phase(1, multipliers={"a": -1}), ValueError, "'a'. is a number of at least 0; received -1"),
        (lambda: UnfreezingSchedule([1]), TypeError, "kerasft.Phase"),
        (lambda: Phase(1, patience=0, monitor="loss"), ValueError, "patience is an integer of at least 1"),
        (lambda: Phase(1, patience=2), ValueError, "monitor="),
        (lambda: Phase(1, monitor=3), TypeError, "name of a logged number"),
        (lambda: Phase(1, 2, ends="last"), ValueError, "both epochs and patience"),
        (lambda: Phase(1, 2, ends="never"), ValueError, '"first" or "last"'),
        (lambda: Phase(1, 2, mode="up"), ValueError, '"auto", "min" or "max"'),
        (lambda: Phase(1, warmup_steps=-1), ValueError, "at least 0"),
        (lambda: Phase(1, warmup_steps=None), TypeError, "integer"),
        (lambda: Phase(1, min_delta=-0.1), ValueError, "min_delta is a number of at least 0"),
        (lambda: Phase(1, multipliers=[1]), TypeError, "maps names"),
    ],
)
def test_faults_are_found_when_it_is_written(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("name", "better"),
    [
        # the names and directions of Keras 3.15's own metrics
        *((n, "max") for n in ("accuracy", "val_sparse_top_k_categorical_accuracy", "auc_2", "mean_io_u")),
        *((n, "max") for n in ("precision_at_recall", "r2_score", "fbeta_score", "cosine_similarity")),
        *((n, "min") for n in ("categorical_crossentropy", "mean_absolute_error", "kl_divergence", "hinge")),
        # a word has to end there; what ends in loss or error is minimised whatever stands before it
        *((n, "max") for n in ("val_top5acc", "F1Score", "head_acc", "mIoU", "pr_auc")),
        *(
            (n, "min")
            for n in (
                "vaccine_mae",
                "val_perplexity",
                "half1_mse",
                "accuracy_loss",
                "recall_error",
                "acc_loss_1",
            )
        ),
    ],
)
def test_auto_mode_goes_by_the_name(name, better):
    phase = Phase(0, monitor=name)
    assert direction(phase) == phase.direction == better
    assert direction(Phase(0, monitor=name, mode="min")) == "min"


@pytest.mark.parametrize("name", ["score", "sauces", "val_reward", "accuracy_distance"])
def test_a_name_that_tells_nothing_or_both_is_refused(name):
    with pytest.raises(ValueError, match=f'{name}\'.*Say mode="max" or mode="min"'):
        direction(Phase(0, monitor=name))


@pytest.mark.parametrize(
    ("phase", "start"),
    [
        (Phase(1, 3), 3),
        (Phase(1, 3, monitor="loss"), 3),  # it only watches
        (Phase(1, 3, 3, "loss"), 3),  # three epochs are over before three could be without improvement
        (Phase(1, 3, 2, "loss"), None),
        (Phase(1, 3, 3, "loss", ends="last"), None),
    ],
)
def test_a_start_is_known_if_patience_decides_nothing(phase, start):
    assert UnfreezingSchedule([phase, Phase(0)]).starts == [0, start]


def test_shortest_and_what_follows_an_unknown_start():
    phases = [Phase(2, 2, 4, "loss", ends="last"), Phase(1, 3), Phase(2), Phase(0, 9)]
    with pytest.raises(ValueError, match=r"Phase 2 \(2\) .*overlaps phase 3"):
        UnfreezingSchedule(phases)
    schedule = UnfreezingSchedule([*phases[:2], Phase(2, 1), Phase(0, 9)])  # freezes again in phase 2
    assert schedule.shortest == [5, 3, 1, 1]  # max(2, 4 + 1); the last can be cut short by fit
    assert schedule.starts == [0, None, None, None]
    assert schedule.earliest_starts == [0, 5, 8, 9]
    assert schedule.phase_at(4) is schedule.phases[0]
    with pytest.raises(ValueError, match="epoch 5 .*phase 0"):
        schedule.phase_at(5)
    with pytest.raises(ValueError, match="from 0; received -1"):
        schedule.index_at(-1)


def test_check_names_two_faults_of_one_phase_and_allows_freezing_again(dense_model):
    stages = find_stages(dense_model)
    schedule = UnfreezingSchedule([Phase(2, patience=2, monitor="loss"), Phase("nose")])
    with pytest.raises(ValueError) as caught:
        schedule.check(stages, epochs=3)  # phase 0 takes epochs 0, 1, 2 at least
    faults = str(caught.value).split("\n- ")[1:]
    assert len(faults) == 2 and "'nose'" in faults[0] and "epoch 3 or later" in faults[1]
    assert "at least 4" in faults[1]
    again = UnfreezingSchedule([Phase(2, 1), Phase(0, 1), Phase("second")])
    assert again.check(stages, epochs=3) == [2, 0, 1]
    with pytest.raises(ValueError, match="begins at epoch 2, but"):
        again.check(stages, epochs=2)


def test_the_ends_of_a_linear_probe(dense_model):
    stages = find_stages(dense_model)
    build = UnfreezingSchedule.linear_probe_then_finetune
    assert build(stages).phases[0] == Phase(2, 5, 2, "val_loss")
    assert build(stages, 3, patience=None, monitor=None).phases == (Phase(2, 3), Phase(0))
    assert build(stages, None, patience=4, monitor="acc").phases[0] == Phase(2, None, 4, "acc")
    with pytest.raises(ValueError, match="monitor="):
        build(stages, monitor=None)
    with pytest.raises(ValueError, match="overlaps"):
        build(stages, None, patience=None)
    alone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert build(alone, learning_rate=0.1).phases == (Phase(0, learning_rate=0.1),)  # no head


def test_from_depths_needs_a_list():
    with pytest.raises(TypeError, match=r"Write \['head'\]"):
        UnfreezingSchedule.from_depths("head")
    with pytest.raises(ValueError, match="at least one"):
        UnfreezingSchedule.from_depths([])
    with pytest.raises(ValueError, match="epochs is an integer of at least 1; received 0"):
        UnfreezingSchedule.from_depths([1, 0], every=0)


def test_json_holds_every_field_that_is_not_at_its_default(tmp_path):
    full = {
        "depth": "top", "epochs": 4, "patience": 2, "monitor": "val_acc", "learning_rate": 0.5,
        "multipliers": {"b*": 0.1}, "warmup_steps": 3, "ends": "last", "min_delta": 0.25, "mode": "max",
        "restore_best": False,
    }  # fmt: skip
    schedule = UnfreezingSchedule([Phase(**full), Phase(0)])
    assert schedule.to_dict() == {"phases": [full, {"depth": 0}]}
    assert UnfreezingSchedule.from_json(schedule.to_json()) == schedule
    marked = tmp_path / "edited.json"
    marked.write_bytes(b"\xef\xbb\xbf" + schedule.to_json().encode())  # as Windows' editors write it
    assert UnfreezingSchedule.from_json(marked) == schedule
    with pytest.raises(FileNotFoundError):
        UnfreezingSchedule.from_json(tmp_path / "nothing.json")


def test_edited_json_gives_every_fault_with_its_phase_and_field():
    text = (
        '{"phases": [{"depth": 2, "epochs": "3"}, {"depth": 1, "epochs": 1}, {"depth": 0, "min_delta": NaN},'
        ' 7, {"depth": 0, "restore_best": 1}]}'
    )
    with pytest.raises(ValueError) as caught:
        UnfreezingSchedule.from_json(text)
    lines = str(caught.value).splitlines()
    assert [line[:8] for line in lines] == ["Phase 0:", "Phase 2:", "Phase 3:", "Phase 4:"]
    assert "Phase.epochs" in lines[0] and "Phase.min_delta" in lines[1] and "Phase.restore_best" in lines[3]
    with pytest.raises(ValueError, match="received .*'extra'"):
        UnfreezingSchedule.from_json('{"phases": [], "extra": 1}')
    with pytest.raises(ValueError, match="at least one"):
        UnfreezingSchedule.from_json('{"phases": []}')


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"monitor": ""}, ValueError, "empty"),
        ({"patience": True, "monitor": "loss"}, TypeError, "patience is an integer .*received True"),
        ({"patience": 1, "monitor": "loss", "ends": "last"}, ValueError, "epochs=None, patience=1"),
        ({"epochs": True}, TypeError, "epochs is an integer .*received True"),
        ({"warmup_steps": 1.0}, TypeError, "received 1.0"),
        ({"min_delta": float("inf")}, ValueError, "a number .*received inf"),
        ({"min_delta": None}, TypeError, "number"),
        ({"restore_best": 1}, TypeError, "True or False"),
        ({"multipliers": {1: 0.5}}, TypeError, "names or globs"),
        ({"depth": True}, TypeError, "stage's name"),
    ],
)
def test_more_faults_of_a_phase(fields, error, message):
    with pytest.raises(error, match=message):
        Phase(**{"depth": 1, **fields})


def test_a_phase_keeps_its_own_multipliers():
    mine = {"body": 0.5}
    phase = Phase(0, multipliers=mine)
    mine["body"] = 2.0
    assert phase.multipliers == {"body": 0.5}


def test_numbers_of_numpy_are_stored_as_plain_ones():
    phase = Phase(0, np.int64(3), learning_rate=np.float32(0.5), multipliers={"a": np.float64(0.25)})
    schedule = UnfreezingSchedule([phase])
    assert UnfreezingSchedule.from_json(schedule.to_json()) == schedule
    assert (type(phase.epochs), type(phase.learning_rate)) == (int, float)


def test_a_model_is_taken_for_its_stages(dense_model):
    stages, build = find_stages(dense_model), UnfreezingSchedule
    for make in (build.one_stage_at_a_time, build.head_then_all, build.linear_probe_then_finetune):
        assert make(dense_model) == make(stages)
    assert build.head_then_all(stages).check(dense_model, 3) == [2, 0]
    assert schedule_of("frozen_head", dense_model, 0, 3, None) == schedule_of(
        "frozen_head", stages, 0, 3, None
    )
    assert GradualUnfreezing([Phase(0)], stages=dense_model).stages.names == stages.names
    with pytest.raises(ValueError, match="has no weights yet"):
        build.head_then_all(keras.Sequential([keras.layers.Dense(2)]))


def test_layers_that_are_no_suffix_are_refused_with_the_way_to_train_them(dense_model):
    """The way that the message names is taken: all rates but those of `second` are 0."""
    schedule = UnfreezingSchedule([Phase("sec*")])
    with pytest.raises(ValueError, match=r"phase 0: .*multipliers=\{'sec\*': 1\.0, '\*': 0\.0\}"):
        schedule.check(dense_model)
    with pytest.raises(TypeError, match=r"one place in the model.*rate 0 in Phase\.multipliers"):
        Phase(["first", "top"])
    factors = resolve_multipliers(dense_model, {"sec*": 1.0, "*": 0.0})
    assert [factors[v.path] for v in dense_model.weights] == [0, 0, 1, 1, 0, 0]


def test_a_notebook_shows_the_table_of_a_schedule():
    schedule = UnfreezingSchedule([Phase("<head>", 2), Phase(0, learning_rate=1e-3, warmup_steps=20)])
    assert Shown(schedule._repr_html_()).rows == [
        ["phase", "from", "ends after", "learning rate", "warm-up"],
        ["0", "<head>", "2 epochs", "as before", ""],
        ["1", "0", "to the end", "0.001", "20 steps"],
    ]
