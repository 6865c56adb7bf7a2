"""What happens to data outside of a call, built into a model."""

import keras
import numpy as np
from kerasft.export.model.built_in import built_in
from small_models import classifier, images


def looked_for(scale):
    """What is asked of a model that is built: outputs as of inputs that are scaled."""
    model, (x, _) = classifier(), images(8)
    wanted = model(x * scale)
    return model, x, lambda made: np.allclose(next(iter(made(x).values())), wanted, atol=1e-5)


def test_a_transformation_is_taken_only_where_it_fits():
    model, x, fits = looked_for(0.5)
    options = {"raw": x[:4], "given": [x], "steps": False, "tflite": True, "fits": fits}
    made = built_in(model, (keras.layers.Rescaling(0.5), "halves"), **options)
    assert fits(made) and made.input.shape == (None, 8, 8, 3)
    assert [t.name for t in made.inputs] == [t.name for t in model.inputs]
    assert built_in(model, (keras.layers.Rescaling(0.25), "quarters"), **options) is None
    assert built_in(model, None, **options) is None
    assert built_in(model, (lambda x: x.tolist(), "no tensors"), **options) is None


def test_pictures_of_several_sizes_leave_the_axes_open():
    model = classifier()
    batches = [np.zeros((2, 8, 9, 3), "float32"), np.zeros((1, 8, 12, 3), "float32")]
    given = [lambda: iter([(b, None) for b in batches])]
    made = built_in(
        model, (keras.layers.Resizing(8, 8), "resize"), batches[0], given,
        steps=False, tflite=True, fits=lambda made: True,
    )  # fmt: skip
    assert made.input.shape == (None, 8, None, 3)
