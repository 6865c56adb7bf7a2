"""Learning without forgetting: the model keeps the original's head, and learns its scores for new images."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kerasft.arguments import check_number
from kerasft.retention.accuracy import check_labelled
from kerasft.retention.old_head import inputs_of, old_scores
from kerasft.retention.pairing import pair
from kerasft.stages import Stages


def with_original_head(
    model: keras.Model | Stages, original: keras.Model | Stages, *, shared: int | str | None = None
) -> keras.Model:
    """A model with two outputs: the new head's, and those of a copy of the original's head.

    Both heads read one computation of the backbone, and all layers of `model` are those of the result: train
    the result, then go on with `model`. The old head trains as well, as in the paper; the names of its layers
    begin with `original_`.

    Args:
        model: The model to be fine-tuned, before that: its shared stages have the original's values or not.
        original: The pre-trained model with its head.
        shared: How many stages both have, or the name of the first that is new; None finds it out.

    Returns:
        `keras.Model(model.input, [new scores, old scores])`, not compiled.

    Raises:
        TypeError: A model is none.
        ValueError: The original is of another architecture, or has no head of its own; a model is subclassed;
            the backbone does not end in one tensor.

    Example:
        >>> old = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="body"),
        ...                         keras.layers.Dense(5, name="old")])
        >>> new = keras.Sequential([keras.Input((4,)), *old.layers[:1], keras.layers.Dense(2, name="new")])
        >>> both = with_original_head(new, old)
        >>> [tuple(output.shape) for output in both.outputs]
        [(None, 2), (None, 5)]

    References:
        Li & Hoiem (2016), Learning without forgetting, arXiv:1606.09282.
    """
    if not isinstance(original, (keras.Model, Stages)):
        raise TypeError(
            f"with_original_head expects the original with its head, a keras.Model; received {original!r}."
        )
    pairs = pair("with_original_head", model, original, shared)
    root = pairs.stages.model
    scores = old_scores(pairs, original)
    return keras.Model(inputs_of(root), [*root.outputs, *scores], name=f"{root.name}_with_original_head")


def with_original_scores(dataset: tf.data.Dataset, original: keras.Model) -> tf.data.Dataset:
    """Add the original's scores to a dataset's labels: (x, y) becomes (x, (y, scores)).

    The scores are those of a copy of the original, made now: it does not change while the model trains. They
    are computed whenever a batch is read, so that augmented images get their own; `cache()` the result where
    images stay the same.

    Args:
        dataset: Batches (x, y); x as the original takes it.
        original: The pre-trained model, before fine-tuning.

    Returns:
        Batches (x, (y, scores)), for a model with the outputs of `with_original_head`.

    Raises:
        TypeError: `dataset` is no `tf.data.Dataset` of batches (x, y), or `original` no model.

    References:
        Li & Hoiem (2016), arXiv:1606.09282, section 3.
    """
    if not isinstance(original, keras.Model):
        raise TypeError(f"with_original_scores expects the original as a keras.Model; received {original!r}.")
    check_batches("with_original_scores", dataset)
    teacher = keras.models.clone_model(original)
    teacher.set_weights(original.get_weights())

    def add(x: Any, y: Any) -> Any:
        return x, (y, teacher(x, training=False))

    return dataset.map(add, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def check_batches(function: str, dataset: Any) -> None:
    """Raise unless a data set gives batches (x, y)."""
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"{function} expects a tf.data.Dataset of batches (x, y); received {type(dataset).__name__}. "
            "Make one of arrays: tf.data.Dataset.from_tensor_slices((x, y)).batch(32)."
        )
    check_labelled(f"The dataset of {function}", dataset)
    if len(dataset.element_spec) != 2:
        raise TypeError(f"{function} makes the samples' weights itself; its dataset gives (x, y) alone.")


@keras.saving.register_keras_serializable("kerasft")
class DistillationLoss(keras.losses.Loss):
    """Cross-entropy between the original's scores and the model's, both softened by a temperature.

    It is `-sum(p' log q')`, where `p'` and `q'` are proportional to `p ** (1 / temperature)` of the
    probabilities of the original and of the model.

    Args:
        temperature: Above 1, small scores count more; 2 in the paper.
        from_logits: Whether scores are logits rather than probabilities, in both models.
        reduction: As in `keras.losses.Loss`.
        name: Of the loss.

    Raises:
        TypeError, ValueError: `temperature` is not a number above 0.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.8, 0.2]])
        >>> round(float(DistillationLoss(temperature=1.0)(p, p)), 4)  # -(.8 log .8 + .2 log .2)
        0.5004

    References:
        Li & Hoiem (2016), arXiv:1606.09282, equations 3 and 4; Hinton et al. (2015), arXiv:1503.02531.
    """

    def __init__(
        self,
        temperature: float = 2.0,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str = "distillation",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        check_number("temperature", temperature, above=0)
        self.temperature, self.from_logits = float(temperature), bool(from_logits)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        p, log_q = keras.ops.exp(self._log_softened(y_true)), self._log_softened(y_pred)
        return -keras.ops.sum(p * log_q, axis=-1)

    def _log_softened(self, scores: tf.Tensor) -> tf.Tensor:
        scores = keras.ops.convert_to_tensor(scores)
        if not self.from_logits:
            scores = keras.ops.log(keras.ops.maximum(scores, keras.config.epsilon()))
        return keras.ops.log_softmax(scores / self.temperature, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "from_logits": self.from_logits,
        }
