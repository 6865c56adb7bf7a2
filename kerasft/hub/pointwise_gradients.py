"""Gradients of 1×1 convolutions as matrix products.

TensorFlow's own kernel for the gradient of a convolution's input multiplies image by image: on the small
images of a network's upper stages it takes five times as long as one product for the whole batch, unless
oneDNN has a kernel of its own for the processor.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

GRADIENT = "KerasftPointwiseConv2D"


def with_fast_gradients(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A copy of a graph whose 1×1 convolutions have the gradient of this file.

    It is for training in this process: a program that does not know kerasft can't ask it for gradients.
    """
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph)
    for nodes in (copy.node, *(function.node_def for function in copy.library.function)):
        for node in nodes:
            if node.op == "Conv2D" and _is_dense(node.attr):
                node.attr["_gradient_op_type"].s = GRADIENT.encode()
    return copy


def _is_dense(attr: Any) -> bool:
    """Whether each result of a convolution comes from as many places as its filter has, one by one."""
    steps = [*attr["strides"].list.i, *attr["dilations"].list.i]
    return set(steps) == {1} and attr["data_format"].s in (b"", b"NHWC") and attr["padding"].s != b"EXPLICIT"


@tf.RegisterGradient(GRADIENT)
def _gradient(operation: tf.Operation, gradient: tf.Tensor) -> list[tf.Tensor]:
    """The gradients of a convolution's input and filter, by its operation and the gradient of its result."""
    images, filters = operation.inputs
    if filters.shape[:2] != (1, 1):
        options = {name: operation.get_attr(name) for name in ("strides", "padding", "dilations")}
        return [
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images), filter=filters, out_backprop=gradient, **options
            ),
            tf.raw_ops.Conv2DBackpropFilter(
                input=images, filter_sizes=tf.shape(filters), out_backprop=gradient, **options
            ),
        ]
    rows = tf.reshape(gradient, (-1, filters.shape[3]))
    by_input = tf.matmul(rows, filters[0, 0], transpose_b=True)
    by_filter = tf.matmul(tf.reshape(images, (-1, filters.shape[2])), rows, transpose_a=True)
    return [tf.reshape(by_input, tf.shape(images)), tf.reshape(by_filter, tf.shape(filters))]
