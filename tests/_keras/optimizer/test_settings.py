"""An optimizer's description and its learning rate."""

import keras
import pytest

from kerasft._keras.optimizer.lr_multipliers import add_step_counts
from kerasft._keras.optimizer.settings import description, learning_rate_is_settable, settable_rate


def test_the_description_of_an_optimizer_has_everything_that_stays_as_it_is():
    plain = description(keras.optimizers.Adam(0.1, beta_1=0.8))
    assert plain["class"] == "Adam" and plain["beta_1"] == 0.8
    assert "learning_rate" not in plain and "name" not in plain
    assert description(add_step_counts(keras.optimizers.Adam(0.3, beta_1=0.8))) == plain
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert description(keras.optimizers.Adam(schedule))["learning_rate"]["class_name"] == "CosineDecay"


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_function_for_the_rate_is_its_code():
    """As in a cell of a notebook that runs again, which is another file to Python; here, in another line."""
    rates = [
        lambda: 0.1,
        lambda: 0.1,
        lambda: 0.2,
    ]
    one, other, third = (description(keras.optimizers.SGD(rate)) for rate in rates)
    assert one == other != third


def test_a_schedule_can_be_replaced_for_a_while(dense_model):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    dense_model.compile(keras.optimizers.Adam(schedule), "mse")
    dense_model.optimizer.build(dense_model.trainable_variables)
    before = len(dense_model.optimizer.variables)
    with settable_rate(dense_model) as optimizer:
        optimizer.learning_rate = 0.5
        assert float(optimizer.learning_rate) == 0.5
    assert dense_model.optimizer._learning_rate is schedule
    assert len(dense_model.optimizer.variables) == before
    assert float(dense_model.optimizer.learning_rate) == pytest.approx(0.1)


def test_learning_rate_is_settable():
    assert learning_rate_is_settable(keras.optimizers.Adam(0.1))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert not learning_rate_is_settable(keras.optimizers.Adam(schedule))
