"""Learning on the device: one file with the frozen features, a training step, and the head's scores.

TensorFlow's own way needs the Flex runtime and keeps weights in resource variables. Here every signature is a
pure function of built-in operations: weights and slots of the optimizer are arrays that the client holds,
passes in and gets back, so that any runtime of LiteRT trains the head, and delegates take the frozen part.

Inside, `trainable` (the export) and `load` (the way back into Keras) stand on `contract` (the file against
Keras's own steps), this on `program` (the signatures), and this on `losses`, `optimizers` and `part` (what
trains), which stands on `row` (the layers one after the other). All know a layer by `steps`, which has its
derivative written out, with `slopes` for activations. Files of weights are `state`.
"""

from .load import load_head
from .trainable import to_trainable_tflite

__all__ = ["load_head", "to_trainable_tflite"]
