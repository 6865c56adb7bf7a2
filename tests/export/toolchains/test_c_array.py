"""The pair of files compiles, and what firmware reads from it is the .tflite file and the report."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from toolchain_files import LABELS, exported

from kerasft import export

RUN = export.MicroRun("0.dev1-gabc", "2.3.0", 4096, 64, 8, {}, {}, {}, 1.0, 1.0)

# Prints what the header declares, then the array's bytes.
MAIN = """
#include <cstdint>
#include <cstdio>
#include "{name}.h"
int main() {{
  printf("%d %zu\\n", (int)((uintptr_t){name}_model % 16), {name}_model_size);
  printf("%d %d %d\\n", {upper}_INPUT_COUNT, {upper}_OUTPUT_COUNT, {upper}_OPERATION_COUNT);
  {more}
  for (int i = 0; i < {upper}_LABEL_COUNT; i++) printf("%s\\n", {name}_labels[i]);
  fflush(stdout);
  fwrite({name}_model, 1, {name}_model_size, stdout);
}}
"""
INTEGERS = """
  printf("%d %.9g %d\\n", {upper}_INPUT_0_BYTES, {upper}_INPUT_0_SCALE, {upper}_INPUT_0_ZERO_POINT);
  printf("%d %.9g %d\\n", {upper}_OUTPUT_0_BYTES, {upper}_OUTPUT_0_SCALE, {upper}_OUTPUT_0_ZERO_POINT);
  printf("%d\\n", {upper}_ARENA_BYTES);
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("files"), name="Two words-3")


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("g++")
    if found is None:
        pytest.skip("g++ is not installed; .ci/run installs it")
    return found


def compiled(compiler, source, more=""):
    """What a program with the array prints: lines of text, then bytes."""
    folder, name = source.parent, source.stem
    upper = name.upper()
    main = folder / "main.cc"
    main.write_text(MAIN.format(name=name, upper=upper, more=more.format(name=name, upper=upper)))
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, source, main, "-o", folder / "main"], check=True, capture_output=True)
    return subprocess.run([folder / "main"], check=True, capture_output=True).stdout


def read_lines(printed, count):
    *lines, rest = printed.split(b"\n", count)
    return [line.decode() for line in lines], rest


def test_the_array_is_the_file_and_the_constants_are_the_reports(report, compiler, tmp_path):
    source, header = export.to_c_array(report, tmp_path, micro=RUN)
    assert (source.name, header.name) == ("Two_words_3.cc", "Two_words_3.h")
    lines, rest = read_lines(compiled(compiler, source, INTEGERS), 8)
    with open(report.path, "rb") as file:
        content = file.read()
    assert lines[0] == f"0 {len(content)}" and rest == content
    assert lines[1] == f"1 1 {len(report.operations)}" and lines[5:] == LABELS
    interpreter = Interpreter(report.path)
    for line, details, size in (
        (lines[2], interpreter.get_input_details(), 8 * 8 * 3),
        (lines[3], interpreter.get_output_details(), 3),
    ):
        scale, zero = details[0]["quantization"]
        count, printed, point = line.split()
        assert (int(count), int(point)) == (size, zero) and np.float32(printed) == np.float32(scale)
    assert lines[4] == "4096"


def test_the_header_is_c_as_well(report, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    _, header = export.to_c_array(report, tmp_path, micro=RUN)
    (tmp_path / "main.c").write_text(f'#include "{header.name}"\nint main(void) {{ return 0; }}\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["gcc", *flags, "-c", tmp_path / "main.c", "-o", tmp_path / "main.o"], check=True)


def test_labels_of_any_kind_come_through(report, compiler, tmp_path):
    labels = ("a\\", 'say "x"??/', "*/ \u00e4\u20ac7 %d")
    odd = replace(report, labels=labels, path=str(report.path))
    source, _ = export.to_c_array(odd, tmp_path, micro=RUN)
    lines, _ = read_lines(compiled(compiler, source), 5)
    assert tuple(lines[2:]) == labels
    assert source.read_bytes().isascii()


def test_without_a_measured_arena_nothing_that_needs_it_compiles(report, compiler, tmp_path):
    source, header = export.to_c_array(report, tmp_path)
    assert "kerasft[micro]" in header.read_text() and "ARENA_BYTES" not in header.read_text()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        compiled(compiler, source, INTEGERS)
    assert b"Two_words_3_ARENA_BYTES" in caught.value.stderr.replace(b"TWO_WORDS", b"Two_words")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"input_range": (0, 255)}, lambda p: p),
        ({"input_range": (-1, 1)}, lambda p: p / 127.5 - 1),
        ({"input_range": None, "normalization": (127.0, 64.0)}, lambda p: (p - 127) / 64),
    ],
)
def test_the_comment_on_pixels_gives_what_the_file_takes(report, tmp_path, options, expected):
    """The formula of the comment against the definition of scale and zero point."""
    _, header = export.to_c_array(replace(report, **options), tmp_path)
    pattern = (
        r"// A pixel of 0 to 255 goes in as round\((\S+) \* pixel ([+-]) (\S+)\), held within -128 to 127"
    )
    factor, sign, offset = re.search(pattern, header.read_text()).groups()
    (info,) = report.inputs
    for pixel in (0, 1, 100, 255):
        found = float(factor) * pixel + float(offset) * (-1 if sign == "-" else 1)
        assert found == pytest.approx(expected(pixel) / info.scale + info.zero_point, abs=1e-3)


def test_each_channel_may_have_its_own_formula(report, tmp_path):
    three = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    _, header = export.to_c_array(replace(report, input_range=None, normalization=three), tmp_path)
    assert [line.split()[4] for line in header.read_text().splitlines() if "goes in as" in line] == [
        "red", "green", "blue",
    ]  # fmt: skip


def test_floats_and_pictures_rules_are_described(tmp_path):
    floats = exported(tmp_path, "float32", "float", pixels={"resize": "antialias", "background": "white"})
    _, header = export.to_c_array(floats, tmp_path / "c")
    text = header.read_text()
    assert "goes in as 1.0 * pixel + 0.0" in text and "FLOAT32_FLOAT_INPUT_0_BYTES 768" in text
    assert '"resize" = "antialias"' in text and "SCALE" not in text
    assert all(operation in text for operation in floats.operations)


def test_mistakes_are_found_before_anything_is_written(report, tmp_path):
    folder = tmp_path / "c"
    with pytest.raises(TypeError, match=r"takes the Report.*str"):
        export.to_c_array("model.tflite", folder)
    with pytest.raises(TypeError, match=r"run_on_micro returned.*int"):
        export.to_c_array(report, folder, micro=4096)
    open_batch = replace(report, inputs=(replace(report.inputs[0], shape=(-1, 8, 8, 3)),))
    with pytest.raises(ValueError, match=r"the file's are open.*-1.*batch=1"):
        export.to_c_array(open_batch, folder)
    with pytest.raises(export.ExportError, match="changed since its export"):
        export.to_c_array(replace(report, sha256="0" * 64), folder)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        export.to_c_array(report, folder / "deeper" / "still")
    assert not list(tmp_path.iterdir())
    folder.write_text("a file")
    with pytest.raises(NotADirectoryError, match=r"is a file; the \.cc"):
        export.to_c_array(report, folder)


def test_existing_files_stay_unless_they_may_be_replaced(report, tmp_path):
    (tmp_path / "Two_words_3.h").write_text("mine")
    with pytest.raises(FileExistsError, match=r"Two_words_3\.h exists"):
        export.to_c_array(report, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["Two_words_3.h"]
    source, header = export.to_c_array(report, tmp_path, overwrite=True)
    assert "mine" not in header.read_text() and source.exists()


def test_reports_that_were_read_back_give_the_same_files(report, tmp_path):
    again = export.Report.from_json(report.to_json())
    made = [export.to_c_array(r, tmp_path / name, micro=RUN) for r, name in ((report, "a"), (again, "b"))]
    assert [p.read_text() for p in made[0]] == [p.read_text() for p in made[1]]
    assert json.loads(report.to_json())["sha256"] in made[0][0].read_text()
