"""EfficientNet-Lite0 at 96×96 in int8, with ImageNet's weights, goes through both toolchains whole."""

import keras
import numpy as np
import pytest

import kerasft
from kerasft import export


@pytest.mark.slow
def test_efficientnet_lite0_runs_on_a_microcontroller_and_compiles_whole_for_an_npu(tmp_path):
    pytest.importorskip("tflite_micro", reason="tflite-micro has wheels for Linux on x86_64")
    pytest.importorskip("ethosu.vela", reason="ethos-u-vela has no wheel for this Python")
    from kerasft.examples.efficientnet_lite0 import write_saved_model

    backbone = kerasft.hub.load_backbone(
        write_saved_model(str(tmp_path / "lite0"), rescale=True), input_shape=(96, 96, 3)
    )
    image = keras.Input((96, 96, 3), name="image")
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax", name="scores")(backbone(image)))
    pictures = np.random.default_rng(0).uniform(0, 255, (16, 96, 96, 3)).astype("float32")
    report = export.to_tflite(
        model, tmp_path / "lite0.tflite", precision="int8", io="int8", representative_data=pictures,
        input_range=(0, 255), tolerance=9,
    )  # fmt: skip
    built = export.compile_for_ethos_u(report, "ethos-u55-128")
    assert built.share == 1 and built.on_cpu == {}
    assert 270 < built.sram_bytes / 1024 < 280 and 3.1 < built.flash_bytes / 2**20 < 3.4
    assert 3e6 < built.cycles < 6e6
    run = export.run_on_micro(report, pictures[:2])
    assert 4e5 < run.arena_bytes < 5.5e5 and run.steps["scores"] <= 20
    source, header = export.to_c_array(report, tmp_path / "firmware", micro=run)
    assert source.stat().st_size > 5 * report.size_bytes
    assert f"LITE0_ARENA_BYTES {run.arena_bytes}" in header.read_text()
