"""Client code has the file's own names and numbers; in C++ it runs as LiteRT does in Python."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import ai_edge_litert
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.clients.source_code import LANGUAGES, client_code
from litert_headers import write_headers
from small_models import classifier, fitted, images

from kerasft import export

LABELS = ["dark", 'a "grey" one, \\ $x', "hell ü"]
LIBRARY = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"


@pytest.fixture(scope="module")
def model():
    return fitted(classifier())


@pytest.fixture(scope="module")
def trainable(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("head") / "head.tflite"
    return export.to_trainable_tflite(
        model, path, optimizer=keras.optimizers.SGD(0.05, momentum=0.9), labels=LABELS,
        input_range=(0, 255), pixels={"resize": "bilinear", "background": "black"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.tflite"
    return export.to_tflite(model, path, labels=LABELS, input_range=(0, 255))


@pytest.fixture(scope="module")
def integers(model, tmp_path_factory):
    """Reports on files that take and give int8 and uint8."""
    folder = tmp_path_factory.mktemp("integers")
    options = {"precision": "int8", "representative_data": images()[0], "labels": LABELS}
    return {
        io: export.to_tflite(model, folder / f"{io}.tflite", io=io, input_range=(0, 255), **options)
        for io in ("int8", "uint8")
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_has_all_names_and_shapes_of_the_file(trainable, plain, language):
    text = client_code(trainable, language)
    assert "«" not in text and "head.tflite (float32)" in text.splitlines()[0]
    for signature, tensors in trainable.signatures.items():
        assert f'"{signature}"' in text
        for tensor in tensors.inputs:
            shape = ", ".join(map(str, tensor.shape))
            assert re.search(rf'"{tensor.name}"\W[^"]*[({{\[]{re.escape(shape)}[)}}\]]', text), tensor
    assert "pixels beside its centre; transparent parts are black." in text
    assert "8 x 8 RGB pixels of 0 to 255" in text and "weights" in text
    assert '"hell ü"' in text and r"\"grey\" one, \\ " in text
    assert ("\\$x" in text) == (language == "kotlin")  # where a bare one would be a variable
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)
    other = client_code(plain, language)
    assert '"serving_default"' in other and '"train"' not in other and "weights" not in other
    assert "pixels beside" not in other  # the report has no rule for pixels
    assert all(len(line) <= 128 for line in text.splitlines())


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_those_of_the_report(plain, language):
    channels = dataclasses.replace(plain, normalization=((123.675, 116.28, 103.53), 58.5))
    text = client_code(channels, language)
    assert all(number in text for number in ("123.675", "116.28", "103.53", "58.5"))
    ranged = client_code(dataclasses.replace(plain, input_range=(-1.0, 1.0)), language)
    assert ranged.count("127.5") == 2  # mean and deviation
    unnamed = client_code(dataclasses.replace(plain, labels=None), language)
    assert '"class 0", "class 1", "class 2"' in unnamed


def test_scales_are_those_of_the_file(integers):
    (image,) = integers["int8"].inputs
    for language in ("kotlin", "swift", "cpp"):
        text = client_code(integers["int8"], language)
        numbers = [float(x) for x in re.findall(r"\d+\.\d+(?:e[+-]\d+)?", text)]
        assert min(abs(x - image.scale) for x in numbers) < 1e-6 and 1 / 256 in numbers
        assert f"{image.zero_point}" in text and "-128" in text and "127" in text


def compiled(folder, report, main):
    """A program of the client code and a main function."""
    if shutil.which("g++") is None or not LIBRARY.exists():
        pytest.skip("no g++, or no libLiteRt.so in the wheel of ai-edge-litert")
    write_headers(folder / "headers")
    (folder / "classifier.h").write_text(client_code(report, "cpp"), encoding="utf-8")
    (folder / "main.cc").write_text(f'#include <cstdio>\n#include "classifier.h"\n{READ}{main}')
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-O1", "main.cc", str(LIBRARY)]
    command += ["-Iheaders", f"-Wl,-rpath,{LIBRARY.parent}", "-o", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "program"


READ = """
std::vector<float> Floats(const std::string& name) {
  std::vector<float> found(1 << 20);
  FILE* file = std::fopen(name.c_str(), "rb");
  found.resize(std::fread(found.data(), 4, found.size(), file));
  std::fclose(file);
  return found;
}
void Print(const char* name, const std::vector<float>& values) {
  std::printf("%s", name);
  for (float x : values) std::printf(" %.9g", x);
  std::printf("\\n");
}
"""
CLASSIFY = """
int main(int, char** arguments) {
  Classifier classifier(arguments[1]);
  const auto pixels = Floats("image.bin");
  const auto [label, scores] = classifier.Read(
      classifier.Run("serving_default", {{"image", Classifier::Preprocess(pixels)}}));
  std::printf("%s\\n", label.c_str());
  Print("scores", scores);
}
"""
TRAIN = """
int main(int, char** arguments) {
  Classifier classifier(arguments[1]);
  Named state;
  const std::vector<std::string> names = {"scores_kernel", "scores_bias", "scores_kernel_momentum",
                                          "scores_bias_momentum"};
  for (const auto& name : names) state[name] = Floats(name + ".bin");
  const auto pixels = Classifier::Preprocess(Floats("image.bin"));
  Named given = {{"features", Floats("features.bin")}, {"target", Floats("target.bin")},
                 {"learning_rate", {0.05f}}};
  Print("features", classifier.Run("features", {{"image", pixels}}).at("features"));
  for (int step = 0; step < 5; ++step) {
    for (const auto& name : names) given[name] = state[name];
    state = classifier.Run("train", given);
    Print("loss", state.at("loss"));
  }
  for (const auto& name : names) Print(name.c_str(), state[name]);
  Named weights = {{"scores_kernel", state["scores_kernel"]}, {"scores_bias", state["scores_bias"]}};
  weights["features"] = given["features"];
  Print("scores", classifier.Run("scores", weights).at("scores"));
  weights["image"] = pixels;
  const auto [label, scores] = classifier.Read(classifier.Run("classify", weights));
  std::printf("%s\\n", label.c_str());
  Print("one", scores);
  try {
    classifier.Run("nothing", {});
  } catch (const std::exception& error) {
    std::printf("%s\\n", error.what());
  }
}
"""


def run(program, *arguments):
    """What a program has printed, a line each."""
    done = subprocess.run([program, *arguments], cwd=program.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.process
@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_in_cpp_a_picture_is_classified(model, plain, integers, tmp_path, kind):
    report = plain if kind == "float32" else integers[kind]
    program = compiled(tmp_path, report, CLASSIFY)
    for picture, number in zip(images(8, seed=4)[0], range(8)):
        picture.tofile(tmp_path / "image.bin")
        label, line = run(program, report.path)
        signature = Interpreter(report.path).get_signature_runner()
        (image,), (scores,) = report.inputs, report.outputs
        if kind == "float32":
            wanted = signature(image=picture[None])["scores"][0]
        else:
            steps = np.round(picture[None] / image.scale + image.zero_point)
            limits = np.iinfo(kind)
            stored = np.clip(steps, limits.min, limits.max).astype(kind)
            wanted = signature(image=stored)["scores"][0].astype("float64")
            wanted = (wanted - scores.zero_point) * scores.scale
        got = np.array(line.split()[1:], "float64")
        # the C API and the interpreter may take other kernels: two steps of an integer
        np.testing.assert_allclose(got, wanted, atol=1e-5 if kind == "float32" else 2 / 256)
        assert label == LABELS[got.argmax()], number
        np.testing.assert_allclose(got, model.predict(picture[None], verbose=0)[0], atol=0.05)


@pytest.mark.process
def test_in_cpp_a_head_is_taught(trainable, tmp_path):
    program = compiled(tmp_path, trainable, TRAIN)
    pictures, classes = images(12, seed=4)
    file = Interpreter(trainable.path)
    signatures = {name: file.get_signature_runner(name) for name in trainable.signatures}
    features = np.concatenate([signatures["features"](image=p[None])["features"] for p in pictures])
    target = np.eye(3, dtype="float32")[(classes + 1) % 3]
    state = dict(np.load(Path(trainable.path).with_suffix(".npz")))
    del state["digest"]
    for name, value in {**state, "features": features, "target": target, "image": pictures[0]}.items():
        value.tofile(tmp_path / f"{name}.bin")
    lines = run(program, trainable.path)
    found = {}
    for line in lines:
        name, *values = line.split()
        if values and re.fullmatch(r"-?\d.*", values[0]):
            found.setdefault(name, []).append(np.array(values, "float32"))

    np.testing.assert_allclose(found["features"][0], features[0], atol=1e-5)
    for number in range(5):
        state = signatures["train"](
            features=features, target=target, learning_rate=np.float32([0.05]), **state
        )
        np.testing.assert_allclose(found["loss"][number], state.pop("loss"), rtol=1e-5)
    for name, value in state.items():
        np.testing.assert_allclose(found[name][0], value.ravel(), rtol=1e-4, atol=1e-6)
    weights = {name: state[name] for name in ("scores_kernel", "scores_bias")}
    scores = signatures["scores"](features=features, **weights)["scores"]
    np.testing.assert_allclose(found["scores"][0], scores.ravel(), atol=1e-5)
    np.testing.assert_allclose(found["one"][0], scores[0], atol=1e-5)
    assert LABELS[scores[0].argmax()] in lines
    assert any(line.startswith("LiteRT: status") for line in lines)  # there is no such signature


def test_what_client_code_can_not_feed_is_refused(plain, integers, trainable):
    changed = dataclasses.replace
    with pytest.raises(TypeError, match="received str"):
        client_code("head.tflite", "cpp")
    with pytest.raises(ValueError, match="language is one of javascript, .*; received 'rust'"):
        client_code(plain, "rust")
    with pytest.raises(ValueError, match="input_range"):
        client_code(changed(plain, input_range=None, normalization=None), "cpp")
    with pytest.raises(ValueError, match=r"takes 2 inputs and gives 1"):
        client_code(changed(plain, inputs=plain.inputs * 2), "cpp")
    with pytest.raises(ValueError, match="takes token ids"):
        text = export.Text(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"], 8)
        client_code(changed(plain, text=text), "cpp")
    with pytest.raises(ValueError, match=r"'scores' of .* has the shape \(1, 3, 1\)"):
        outputs = (changed(plain.outputs[0], shape=(1, 3, 1)),)
        client_code(changed(plain, outputs=outputs), "cpp")
    with pytest.raises(ValueError, match="both probabilities"):
        outputs = (changed(plain.outputs[0], shape=(1, 1)),)
        client_code(changed(plain, outputs=outputs, labels=None), "cpp")
    for language, io in (("javascript", "int8"), ("kotlin", "uint8")):
        with pytest.raises(ValueError, match=rf'{language} .* are {io}. Export the model with io="float"'):
            client_code(integers[io], language)
    with pytest.raises(ValueError, match="2 labels"):
        client_code(changed(trainable, labels=("a", "b")), "swift")


def test_a_vector_is_taken_as_it_is(tmp_path):
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((5,), name="row"), keras.layers.Dense(2, activation="softmax")])
    report = export.to_tflite(net, tmp_path / "row.tflite")
    text = client_code(report, "javascript")
    assert "[[0.0], [1.0]]; // values as the model takes them" in text and "Values of the shape [5]" in text
