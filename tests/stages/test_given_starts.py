"""stages_at: layers named by their names or paths, in an order that the model allows."""

import keras
import pytest

from kerasft.stages.find import find_stages

layers = keras.layers


def tower(name):
    inner = [layers.Dense(4, name="body"), layers.Dense(2, name=f"{name}_top")]
    return keras.Sequential([keras.Input((4,)), *inner], name=name)


@pytest.fixture
def two_towers():
    """A student and a teacher side by side, each with a `body`, and `out` over both."""
    inputs = keras.Input((4,))
    joined = layers.Concatenate()([tower("student")(inputs), tower("teacher")(inputs)])
    return keras.Model(inputs, layers.Dense(1, name="out")(joined), name="towers")


def held(stages):
    return [[v.path.rsplit("/", 1)[0] for v in stage.weights[::2]] for stage in stages]


STUDENT, TEACHER = ["student/body", "student/student_top"], ["teacher/body", "teacher/teacher_top"]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (["student/body", "teacher/body", "out"], [STUDENT, TEACHER, ["out"]]),
        (
            ["teacher/body", "student/body", "out"],
            [TEACHER, STUDENT, ["out"]],
        ),  # neither comes before the other
        (["teacher", "student", "student_top"], [TEACHER, STUDENT[:1], [STUDENT[1], "out"]]),
        (["student/body", "student_top", "teacher/body", "out"], [*([x] for x in STUDENT), TEACHER, ["out"]]),
    ],
)
def test_towers_side_by_side_are_addressed_by_paths(two_towers, at, expected):
    stages = find_stages(two_towers, at=at)
    assert stages.names == at and held(stages) == expected


def test_a_name_of_several_layers_is_refused_with_their_paths(two_towers):
    with pytest.raises(ValueError, match=r"`at` names 'body', .* \['student/body', 'teacher/body'\]"):
        find_stages(two_towers, at=["body", "out"])


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (["student", "student/nose"], r"lacks: \['student/nose'\]\. It has \[.*'student/body'"),
        (["student_top", "student/student_top"], "each once"),  # one layer by two addresses
        (["*/body", "out"], "means 2 layers"),
        (["student_top", "student/body"], r"is not in the order .* \['student/body', 'student_top'\]"),
        (["out", "teacher"], r"is not in the order of the model, which is \['teacher', 'out'\]"),
        (["student/body", "teacher/body", "student_top"], "is not in the order"),  # it would split a tower
    ],
)
def test_what_is_no_start_is_refused(two_towers, at, message):
    with pytest.raises(ValueError, match=message):
        find_stages(two_towers, at=at)


def test_a_layer_under_two_paths_is_one():
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    one, two = keras.Sequential([shared], name="one"), keras.Sequential([shared], name="two")
    model = keras.Model(inputs, layers.Dense(2, name="out")(two(one(inputs))))
    assert [len(stage.weights) for stage in find_stages(model, at=["two/shared", "out"])] == [2, 2]
    with pytest.raises(ValueError, match="each once"):
        find_stages(model, at=["one/shared", "two/shared"])
