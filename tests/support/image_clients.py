"""Shared by tests of metadata: a reader of coloured digits, its .tflite files, and MediaPipe's client."""

import tempfile

import keras
import numpy as np
import tensorflow as tf

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def coloured_digits():
    """Images of 16 × 16, bright in red and blue where they are dark in green, and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.round(images.reshape(-1, 8, 8) * 255 / 16).astype("uint8").repeat(2, 1).repeat(2, 2)
    return np.stack([grey, 255 - grey, grey // 2], -1), labels


def trained_reader(images, labels):
    """A classifier that takes pixels of 0 to 255, and the same one without its rescaling."""
    keras.utils.set_random_seed(0)
    bare = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="scores"),
        ]
    )
    inputs = keras.Input((16, 16, 3), name="image")
    whole = keras.Model(inputs, bare(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)))
    whole.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    whole.fit(images.astype("float32"), labels, epochs=4, verbose=0)
    return whole, bare


def converted(model, samples=None, takes=tf.float32, gives=tf.float32, float16=False):
    """The model as a .tflite file; with `samples` of its input, in int8."""
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        if samples is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([x[None].astype("float32")] for x in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type, converter.inference_output_type = takes, gives
        return converter.convert()


def of_function(function, *shapes, dtype=tf.float32):
    """A function of tensors as a .tflite file."""
    specs = [tf.TensorSpec(shape, dtype, name=f"x{i}") for i, shape in enumerate(shapes)]
    traced = tf.function(function).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()


def classified(content, images):
    """Scores of images by MediaPipe's ImageClassifier, in the order of the labels, and the labels."""
    import mediapipe

    vision = mediapipe.tasks.vision
    options = vision.ImageClassifierOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_buffer=content)
    )
    found = []
    with vision.ImageClassifier.create_from_options(options) as client:
        for image in images:
            frame = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image, dtype="uint8")
            )
            categories = client.classify(frame).classifications[0].categories
            found.append(sorted(categories, key=lambda c: c.index))
    return np.array([[c.score for c in row] for row in found]), [c.category_name for c in found[0]]


def computed(content, images):
    """Scores of images by LiteRT, of a file whose input and output are floats or quantized."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (taken,), (given) = interpreter.get_input_details(), interpreter.get_output_details()[0]
    scores = []
    for image in images:
        interpreter.set_tensor(taken["index"], np.asarray(image)[None].astype(taken["dtype"]))
        interpreter.invoke()
        score = interpreter.get_tensor(given["index"])[0]
        scale, zero = given["quantization"]
        scores.append((score.astype("float32") - zero) * scale if scale else score)
    return np.array(scores)
