"""Settings, and the identity of a run that is resumed."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerasft import Phase, UnfreezingSchedule
from kerasft.commands.settings import FinetuneSettings, SearchSettings, TextSettings
from kerasft.data import PixelRule
from kerasft.identity import as_stored, require_same

DATA = SimpleNamespace(
    name="digits",
    class_names=("a", "b"),
    train_size=6,
    validation_size=2,
    test_size=3,
    train=[0, 1],
    pixels=PixelRule("bilinear"),
)


def test_the_identity_of_a_run_names_settings_and_data():
    settings = FinetuneSettings("hub", Path("out"), 16, epochs=(1, 2), decay=0.5)
    identity = as_stored(settings.identity(DATA))
    assert identity["images"] == {"train": 6, "validation": 2, "test": 3}
    assert (identity["data"], identity["classes"], identity["batches"]) == ("digits", ["a", "b"], 2)
    assert identity["pixels"]["resize"] == "bilinear"
    assert (identity["epochs"], identity["handle"], identity["decay"]) == ([1, 2], "hub", 0.5)
    again = FinetuneSettings(
        "hub", Path("elsewhere"), 16, epochs=(1, 2), decay=0.5, overwrite=True, resume=True
    )
    assert as_stored(again.identity(DATA)) == identity  # where, and in place of what, is free


def test_a_schedule_is_a_part_of_the_identity_if_there_is_one():
    def identity(schedule):
        return as_stored(FinetuneSettings("hub", Path("out"), schedule=schedule).identity(DATA))

    one, other = (UnfreezingSchedule([Phase("head", n), Phase(0)]) for n in (1, 2))
    assert "schedule" not in identity(None)  # as an earlier version wrote it
    assert identity(one) == identity(one)
    with pytest.raises(ValueError, match=r"another schedule: phases\[0\].epochs was 1 and is 2"):
        require_same(identity(one), identity(other), "It was begun", "")


def test_a_search_may_go_on_with_more_trials_and_time():
    then = as_stored(SearchSettings("hub", Path("out")).identity(DATA))
    more = SearchSettings("hub", Path("out"), trials=99, budget=5.0, prune=False).identity(DATA)
    require_same(then, more, "It was begun", "")
    with pytest.raises(ValueError, match='another tuner: it was "bayesian" and is "grid"'):
        require_same(
            then, SearchSettings("hub", Path("out"), tuner="grid").identity(DATA), "It was begun", ""
        )


def test_fine_tuning_does_not_go_on_with_a_search():
    search = as_stored(SearchSettings("hub", Path("out")).identity(DATA))
    with pytest.raises(ValueError, match="another epochs"):
        require_same(search, FinetuneSettings("hub", Path("out")).identity(DATA), "It was begun", "")


def test_a_run_goes_on_with_the_weights_of_classes_that_it_had():
    def identity(weights):
        return as_stored(FinetuneSettings("hub", Path("out"), class_weights=weights).identity(DATA))

    require_same(identity({"a": 1, "b": 2}), identity({"b": 2, "a": 1}), "It was begun", "")
    for then, now in (
        (None, "balanced"),
        ("balanced", {"a": 1, "b": 2}),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}),
    ):
        with pytest.raises(ValueError, match="another class weights"):
            require_same(identity(then), identity(now), "It was begun", "")
    earlier = {name: value for name, value in identity(None).items() if name != "class_weights"}
    require_same(earlier, identity(None), "It was begun", "")


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"class_weights": "balanced"}, 'another class weights: it was null and is "balanced"'),
        ({"schedule": UnfreezingSchedule([Phase("head", 2)])}, "another schedule: it was null and is"),
        ({"seed": 0}, None),
    ],
)
@pytest.mark.parametrize("kind", [FinetuneSettings, TextSettings])
def test_a_run_of_an_earlier_version_had_the_defaults_of_what_it_does_not_name(kind, now, message):
    then, settings = as_stored(kind("hub", Path("out")).identity(DATA)), kind("hub", Path("out"), **now)
    del then["class_weights"]  # a version that did not know it
    given = (then, settings.identity(DATA), "It was begun", "", settings.defaults())
    if message is None:
        require_same(*given)
    else:
        with pytest.raises(ValueError, match=re.escape(message)):
            require_same(*given)


def test_a_schedule_that_is_left_out_is_noticed():
    schedule = UnfreezingSchedule([Phase("head", 2)])
    then = as_stored(FinetuneSettings("hub", Path("out"), schedule=schedule).identity(DATA))
    settings = FinetuneSettings("hub", Path("out"))
    with pytest.raises(ValueError, match="another schedule: it was .* and is null"):
        require_same(then, settings.identity(DATA), "It was begun", "", settings.defaults())


def test_what_a_search_may_change_is_no_part_of_its_defaults():
    settings = SearchSettings("hub", Path("out"))
    assert settings.defaults().keys() & {"trials", "budget", "prune"} == set()
    then = as_stored(settings.identity(DATA)) | {"trials": 3}  # as if an earlier version had stored it
    require_same(then, settings.identity(DATA), "It was begun", "", settings.defaults())
