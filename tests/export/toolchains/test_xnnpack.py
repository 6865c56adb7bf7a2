"""What XNNPACK leaves of a file, found by running it apart."""

import pytest
from ai_edge_litert.interpreter import Interpreter
from kerasft.export.errors import ExportError
from kerasft.export.tflite_file import packed, unpacked
from kerasft.export.toolchains import xnnpack
from kerasft.export.toolchains.xnnpack import xnnpack_leaves
from toolchain_files import exported, odd_model


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("files"), "float32", "float", model=odd_model()).read_file()


@pytest.mark.process
def test_what_is_left_are_the_operations_between_the_pieces(content):
    """By the tensors that pieces read and write, as LiteRT lists them in this process."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    names = {n["index"]: n["op_name"] for n in nodes}
    left, count = xnnpack_leaves(content)
    assert count == len([name for name in names.values() if name != "DELEGATE"])
    assert {"TOPK_V2", "SIGN"} <= {names[place] for place in left} and "CONV_2D" not in {
        names[place] for place in left
    }


@pytest.mark.process
def test_what_litert_can_not_run_is_told(content, monkeypatch):
    model = unpacked(content)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = 32  # CUSTOM
    code.customCode = "NoSuchOperation"
    with pytest.raises(ExportError, match="LiteRT can't run the file: .*NoSuchOperation"):
        xnnpack_leaves(packed(model))
    with pytest.raises(ExportError, match="LiteRT can't run the file"):
        xnnpack_leaves(b"no file")
    monkeypatch.setattr(xnnpack, "_MODULE", "no_such_module")
    with pytest.raises(ExportError, match=r"ended by itself \(exit status 1\)"):
        xnnpack_leaves(content)
