"""Addresses: the name, the path or a pattern of layers."""

import keras
import pytest

from kerasft.stages.addresses import layer_paths, layers_at


def _tower(name: str) -> keras.Sequential:
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(3, name="body"),
        keras.layers.Dense(2, name=f"{name}_top"),
    ]
    return keras.Sequential(layers, name=name)


@pytest.fixture
def two_towers() -> keras.Model:
    x = keras.Input((4,))
    student, teacher = _tower("student"), _tower("teacher")
    return keras.Model(x, keras.layers.Subtract()([student(x), teacher(x)]))


def test_every_layer_has_a_path(two_towers):
    paths = [path for path, _ in layer_paths(two_towers)]
    assert [p for p in paths if "/" in p] == [
        "student/body", "student/student_top", "teacher/body", "teacher/teacher_top",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("student_top", ["student_top"]),
        ("teacher/body", ["body"]),
        ("*/body", ["body", "body"]),
        ("teacher/*", ["body", "teacher_top"]),
        ("student", ["student"]),
    ],
)
def test_an_address_finds_its_layers(two_towers, address, found):
    layers = layers_at(layer_paths(two_towers), address, "`at`")
    assert [layer.name for layer in layers] == found
    if address == "teacher/body":
        assert layers[0] is two_towers.get_layer("teacher").get_layer("body")


def test_a_name_of_two_layers_is_refused_with_both_paths(two_towers):
    with pytest.raises(
        ValueError, match=r"`at` names 'body', .* 2 layers: \['student/body', 'teacher/body'\]"
    ):
        layers_at(layer_paths(two_towers), "body", "`at`")


def test_what_is_no_layer_is_refused_with_those_that_are(two_towers):
    with pytest.raises(ValueError, match=r"'bod', which is no layer\. There are \[.*'student/body'"):
        layers_at(layer_paths(two_towers), "bod", "`at`")


def test_a_layer_with_two_paths_is_one():
    shared = keras.layers.Dense(4, name="shared")
    x = keras.Input((4,))
    one, two = keras.Sequential([shared], name="one"), keras.Sequential([shared], name="two")
    model = keras.Model(x, two(one(x)))
    assert layers_at(layer_paths(model), "shared", "`at`") == [shared]
