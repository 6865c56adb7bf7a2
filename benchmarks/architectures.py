"""A table of architectures: their stages, what the cache saves, one step against plain Keras, and exports.

    python benchmarks/architectures.py [--only NAME …] [--out FOLDER] [--seconds 900] [--variants float32 …]

Every architecture is built small, from its configuration and without a download, trained for a few steps on
made-up data, and looked at in a process of its own. Of a family of keras.applications one is trained and
exported, and all are divided. A result is kept as JSON in the folder and not computed
again: an interrupted run goes on. At the end the table is printed in Markdown, of all results in the folder.

Columns: how many stages there are; the part of the forward pass that the cache saves when half of the stages,
and all but the head, are frozen; the largest difference between the weights after two epochs of one step, of
which the second is cached, and those of plain Keras, by the largest weight; and for each precision what the
file differs by from the model (root mean squares), or why there is none.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

COUNT, CLASSES = 24, 4
PRECISIONS = ("float32", "float16", "weight_only", "dynamic", "int8")
APPLICATIONS = {  # the smallest input that it takes
    "MobileNet": 32, "MobileNetV2": 32, "MobileNetV3Small": 32, "MobileNetV3Large": 32, "EfficientNetB0": 32,
    "EfficientNetV2B0": 32, "ResNet50": 32, "ResNet50V2": 32, "DenseNet121": 32, "VGG16": 32, "Xception": 71,
    "InceptionV3": 75, "InceptionResNetV2": 75, "NASNetMobile": 32, "ConvNeXtTiny": 32,
}  # fmt: skip
FAMILIES = {  # the larger ones of each family: they are divided, and neither trained nor exported
    "EfficientNetB0": [f"EfficientNetB{i}" for i in range(1, 8)],
    "EfficientNetV2B0": [f"EfficientNetV2{size}" for size in ("B1", "B2", "B3", "S", "M", "L")],
    "ResNet50": ["ResNet101", "ResNet152"],
    "ResNet50V2": ["ResNet101V2", "ResNet152V2"],
    "DenseNet121": ["DenseNet169", "DenseNet201"],
    "VGG16": ["VGG19"],
    "NASNetMobile": ["NASNetLarge"],
    "ConvNeXtTiny": [f"ConvNeXt{size}" for size in ("Small", "Base", "Large", "XLarge")],
}
SIBLINGS = {name: first for first, names in FAMILIES.items() for name in names}
SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


def hub_backbones() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Backbones of KerasHub with inputs: functions that give a backbone and named arrays."""
    import keras_hub
    import numpy as np

    models, rng = keras_hub.models, np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    tokens = rng.integers(1, 30, (COUNT, 12)).astype("int32")
    tokens[:, :4] = 3 + labels[:, None]
    mask = np.ones_like(tokens)
    ids = {"token_ids": tokens, "padding_mask": mask}
    segments = {**ids, "segment_ids": 0 * tokens}
    text = {"vocabulary_size": 30, "max_sequence_length": 12, **SMALL}

    def pictures(size: int) -> Any:
        shades = 0.2 * labels[:, None, None, None] + rng.uniform(0, 0.4, (COUNT, size, size, 3))
        return {"images": shades.astype("float32")}

    def sound(width: int) -> Any:
        return (rng.normal(size=(COUNT, 32, width)) + labels[:, None, None]).astype("float32")

    swin = {
        "image_shape": (32, 32, 3),
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [2, 2],
        "num_heads": [1, 2],
    }
    return {
        "ViT": lambda: (
            models.ViTBackbone((32, 32, 3), (8, 8), 2, 2, 16, 32, dropout_rate=0.1), pictures(32)
        ),
        "DeiT": lambda: (models.DeiTBackbone((32, 32, 3), 8, 2, 2, 16, 32), pictures(32)),
        "DINOv2": lambda: (
            models.DINOV2Backbone(8, 2, 16, 2, 32, image_shape=(32, 32, 3)), pictures(32)
        ),
        "Swin": lambda: (
            models.SwinTransformerBackbone(**{**swin, "window_size": 4}), pictures(32)
        ),
        "MiT": lambda: (
            models.MiTBackbone(
                layerwise_depths=[1, 1], num_layers=2, layerwise_num_heads=[1, 2],
                layerwise_sr_ratios=[2, 1], max_drop_path_rate=0.1, layerwise_patch_sizes=[7, 3],
                layerwise_strides=[4, 2], hidden_dims=[16, 32], image_shape=(32, 32, 3),
            ),
            pictures(32),
        ),
        "HubResNet": lambda: (
            models.ResNetBackbone(
                [64], [7], [64, 64], [2, 2], [1, 2], "basic_block", image_shape=(32, 32, 3)
            ),
            pictures(32),
        ),
        "HubDenseNet": lambda: (
            models.DenseNetBackbone([2, 2], (32, 32, 3), growth_rate=8), pictures(32)
        ),
        "HubVGG": lambda: (models.VGGBackbone([1, 1], [8, 16], image_shape=(32, 32, 3)), pictures(32)),
        "HubMobileNet": lambda: (
            models.MobileNetBackbone(
                stackwise_expansion=[[16], [24, 24]], stackwise_num_blocks=[1, 2],
                stackwise_num_filters=[[16], [24, 24]], stackwise_kernel_size=[[3], [3, 3]],
                stackwise_num_strides=[[2], [2, 1]], stackwise_se_ratio=[[0.25], [None, None]],
                stackwise_activation=[["relu"], ["hard_swish", "hard_swish"]],
                stackwise_padding=[[1], [1, 1]],
                output_num_filters=32, depthwise_filters=8, depthwise_stride=2, depthwise_residual=False,
                last_layer_filter=32,
                image_shape=(32, 32, 3),
            ),
            pictures(32),
        ),
        "CSPDarkNet": lambda: (
            models.CSPNetBackbone(
                stem_filters=16, stem_kernel_size=3, stem_strides=1, stackwise_num_filters=[16, 32],
                stackwise_strides=[1, 2], stackwise_depth=[1, 1], block_type="dark_block", stage_type="dark",
                image_shape=(32, 32, 3),
            ),
            pictures(32),
        ),
        "BERT": lambda: (models.BertBackbone(**text), segments),
        "DistilBERT": lambda: (models.DistilBertBackbone(**text), ids),
        "RoBERTa": lambda: (models.RobertaBackbone(**text), ids),
        "XLMRoBERTa": lambda: (models.XLMRobertaBackbone(**text), ids),
        "ALBERT": lambda: (models.AlbertBackbone(**text, embedding_dim=8), segments),
        "ELECTRA": lambda: (
            models.ElectraBackbone(30, embedding_dim=8, max_sequence_length=12, **SMALL), segments
        ),
        "FNet": lambda: (
            models.FNetBackbone(**{k: v for k, v in text.items() if k != "num_heads"}),
            {k: v for k, v in segments.items() if k != "padding_mask"},
        ),
        "DeBERTaV3": lambda: (models.DebertaV3Backbone(**text, bucket_size=8), ids),
        "GPT2": lambda: (models.GPT2Backbone(**text), ids),
        "Gemma": lambda: (
            models.GemmaBackbone(
                vocabulary_size=30, num_layers=2, num_query_heads=2, num_key_value_heads=1, hidden_dim=16,
                intermediate_dim=32, head_dim=8,
            ),
            ids,
        ),
        "Llama": lambda: (
            models.LlamaBackbone(
                vocabulary_size=30, num_layers=2, num_query_heads=2, hidden_dim=16, intermediate_dim=32,
                num_key_value_heads=1,
            ),
            ids,
        ),
        "BART": lambda: (
            models.BartBackbone(**text),
            {
                "encoder_token_ids": tokens, "encoder_padding_mask": mask, "decoder_token_ids": tokens,
                "decoder_padding_mask": mask,
            },
        ),
        "T5": lambda: (
            models.T5Backbone(
                vocabulary_size=30, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32
            ),
            {
                "encoder_token_ids": tokens, "encoder_padding_mask": mask, "decoder_token_ids": tokens,
                "decoder_padding_mask": mask,
            },
        ),
        "Whisper": lambda: (
            models.WhisperBackbone(
                vocabulary_size=30, num_mels=8, max_encoder_sequence_length=32,
                max_decoder_sequence_length=12, **SMALL,
            ),
            {"encoder_features": sound(8), "decoder_token_ids": tokens, "decoder_padding_mask": mask},
        ),
        "Moonshine": lambda: (
            models.MoonshineBackbone(
                vocabulary_size=30, filter_dim=16, encoder_num_layers=2, decoder_num_layers=2, hidden_dim=16,
                intermediate_dim=32, encoder_num_heads=2, decoder_num_heads=2,
            ),
            {
                "encoder_input_values": rng.normal(size=(COUNT, 1600, 1)).astype("float32"),
                "encoder_padding_mask": np.ones((COUNT, 1600), "int32"),
                "decoder_token_ids": tokens, "decoder_padding_mask": mask,
            },
        ),
    }  # fmt: skip


HUB_NAMES = (
    "ViT", "DeiT", "DINOv2", "Swin", "MiT", "HubResNet", "HubDenseNet", "HubVGG", "HubMobileNet",
    "CSPDarkNet", "BERT", "DistilBERT", "RoBERTa", "XLMRoBERTa", "ALBERT", "ELECTRA", "FNet",
    "DeBERTaV3", "GPT2", "Gemma", "Llama", "BART", "T5", "Whisper", "Moonshine",
)  # fmt: skip


def built(name: str) -> tuple[Any, Any, Any]:
    """A compiled classifier of an architecture, its inputs and its labels."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    labels = np.arange(COUNT) % CLASSES
    if name in APPLICATIONS or name in SIBLINGS:
        size = APPLICATIONS[SIBLINGS.get(name, name)]
        rng = np.random.default_rng(0)
        shades = 0.2 * labels[:, None, None, None] + rng.uniform(0, 0.4, (COUNT, size, size, 3))
        maker = getattr(keras.applications, name)
        inside = any(word in name for word in ("EfficientNet", "MobileNetV3", "ConvNeXt"))
        data: Any = (shades * (255 if inside else 2) - (0 if inside else 1)).astype("float32")
        backbone = maker(input_shape=(size, size, 3), weights=None, include_top=False)
        outputs = backbone.output
    else:
        backbone, named = hub_backbones()[name]()
        given = backbone.input
        data = named if isinstance(given, dict) else next(iter(named.values()))
        found = backbone.output
        if isinstance(found, dict):
            keys = ("pooled_output", "sequence_output", "decoder_sequence_output")
            found = next((found[k] for k in keys if k in found), next(iter(found.values())))
        outputs = found
    pool = {
        2: lambda x: x,
        3: keras.layers.GlobalAveragePooling1D(),
        4: keras.layers.GlobalAveragePooling2D(),
    }
    x = pool[len(outputs.shape)](outputs)
    model = keras.Model(backbone.input, keras.layers.Dense(CLASSES, activation="softmax", name="head")(x))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    return model, data, labels


def compiled(model: Any, rate: float) -> Any:
    import keras

    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model


def looked_at(name: str, variants: list[str]) -> dict[str, Any]:
    """All columns of an architecture."""
    import keras

    import kerasft

    model, data, labels = built(name)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    if name not in SIBLINGS:
        model.fit(data, labels, epochs=6, batch_size=COUNT, verbose=0)
    row: dict[str, Any] = {"name": name}
    stages = kerasft.find_stages(model)
    names = [stage.name for stage in stages]
    row["stages"], row["names"] = len(names), names
    options: dict[str, Any] = {}
    if "dropout" in inspect.signature(kerasft.freeze).parameters:
        options["dropout"] = "inference"
    for column, depth in (("all", len(names) - 1), ("half", len(names) // 2)):
        kerasft.freeze(model, depth, **options)
        compiled(model, 0.01)
        report = kerasft.inspect_prefix(model)
        row[column], row[f"{column}_reason"] = report.share, report.reason
    if name in SIBLINGS:
        return row
    try:
        row["step"] = difference_of_a_step(model, data, labels)
    except Exception as error:
        row["step"] = f"{type(error).__name__}: {error}"[:300]
    kerasft.unfreeze(model)
    row["export"] = exports(model, data, variants)
    return row


def difference_of_a_step(model: Any, data: Any, labels: Any) -> float:
    """The weights after an epoch of which the second step is cached, against those of plain Keras."""
    import numpy as np

    import kerasft

    before = [v.numpy() for v in model.variables]
    found = []
    for callbacks in ([], [kerasft.PrefixCache(validation=False)]):
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        compiled(model, 0.01)
        model.fit(data, labels, batch_size=COUNT, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        found.append([w.numpy() for w in model.trainable_weights])
    worst = max((float(np.abs(a - b).max()) for a, b in zip(*found, strict=True)), default=0.0)
    return worst / max(float(np.abs(w).max()) for w in found[0])


def exports(model: Any, data: Any, variants: list[str]) -> dict[str, Any]:
    """What each precision's file differs by, or why there is none."""
    from kerasft import export

    named = data if isinstance(data, dict) else {"x": data}
    holdout = {k: v[: COUNT // 2] for k, v in named.items()}
    rest = {k: v[COUNT // 2 :] for k, v in named.items()}
    if not isinstance(data, dict):
        holdout, rest = holdout["x"], rest["x"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in variants:
            try:
                report = export.to_tflite(
                    model, Path(folder) / f"{precision}.tflite", precision=precision, holdout=holdout,
                    representative_data=rest if precision == "int8" else None,
                )  # fmt: skip
                found[precision] = report.parity.rms_relative
            except Exception as error:
                known = isinstance(error, export.ExportError | ValueError)
                found[precision] = ("" if known else "NOT TOLD ") + f"{type(error).__name__}: {error}"
            left = [
                p.name
                for p in Path(folder).iterdir()
                if p.stem not in found or isinstance(found[p.stem], str)
            ]
            if left:
                found[precision] = f"LEFT BEHIND {left}; {found[precision]}"
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown, with what was refused below the table."""
    head = ["architecture", "stages", "cached at half", "all frozen", "one step", *PRECISIONS]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    notes: dict[str, int] = {}

    def note(text: str) -> str:
        short = textwrap.shorten(text.removeprefix("ExportError: "), 200, placeholder=" …")
        return f"[{notes.setdefault(short, len(notes) + 1)}]"

    for row in rows:
        if "error" in row:
            lines.append(f"| {row['name']} | {note(row['error'])} |{' |' * (len(head) - 2)}")
            continue
        shares = [
            f"{100 * row[c]:.1f} %" + (f" {note(row[f'{c}_reason'])}" if row[f"{c}_reason"] else "")
            for c in ("half", "all")
        ]
        if row["name"] in SIBLINGS:
            cells = [row["name"], str(row["stages"]), *shares, f"as {SIBLINGS[row['name']]}"]
            lines.append(f"| {' | '.join(cells)} |{' |' * len(PRECISIONS)}")
            continue
        step = row["step"] if isinstance(row["step"], float) else note(row["step"])
        cells = [row["name"], str(row["stages"]), *shares, f"{step:.1e}" if isinstance(step, float) else step]
        for precision in PRECISIONS:
            value = row["export"].get(precision, "not tried")
            cells.append(f"{value:.1e}" if isinstance(value, float) else note(value))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"[{number}] {text}\n" for text, number in notes.items())]
    return "\n".join(lines)


def main() -> None:
    """Look at what has no result yet, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[*APPLICATIONS, *SIBLINGS, *HUB_NAMES])
    parser.add_argument("--out", type=Path, default=Path("architectures"))
    parser.add_argument("--seconds", type=float, default=900, help="that an architecture may take")
    parser.add_argument("--variants", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print("\n" + json.dumps(looked_at(arguments.inside, arguments.variants), default=float))
        return
    if unknown := set(arguments.only) - {*APPLICATIONS, *SIBLINGS, *HUB_NAMES}:
        parser.error(f"there are no {sorted(unknown)}; there are {[*APPLICATIONS, *SIBLINGS, *HUB_NAMES]}")
    arguments.out.mkdir(exist_ok=True, parents=True)
    for name in arguments.only:
        kept = arguments.out / f"{name}.json"
        if kept.exists():
            continue
        command = [sys.executable, __file__, "--inside", name, "--variants", *arguments.variants]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=arguments.seconds)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            row = json.loads(done.stdout.splitlines()[-1])
        except Exception as error:
            row = {"name": name, "error": f"{type(error).__name__}: {error}"[:400]}
        kept.write_text(json.dumps(row, indent=1))
        print(name, "error" if "error" in row else "done", file=sys.stderr)
    files = sorted(arguments.out.glob("*.json"), key=lambda path: (path.stem in HUB_NAMES, path.stem))
    print(table([json.loads(path.read_text()) for path in files]))


if __name__ == "__main__":
    main()
