"""The allow-list holds known operations, and none that leaves the model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from kerasft.hub.allowed_ops import ALLOWED_OPS, PURE_OPS
from kerasft.hub.load import load_backbone

FORBIDDEN = """
ReadFile WriteFile MatchingFiles PyFunc PyFuncStateless EagerPyFunc RestoreV2 Restore RestoreSlice SaveV2 Save
SaveSlices ShardedFilename MergeV2Checkpoints Print PrintV2 DebugIdentity DebugIdentityV2 DebugNumericSummary
WholeFileReader WholeFileReaderV2 TextLineReader TextLineReaderV2 TFRecordReader TFRecordReaderV2
FixedLengthRecordReader ReaderRead TextLineDataset TFRecordDataset FixedLengthRecordDataset SqlDataset
SnapshotDataset SaveDataset SaveDatasetV2 LoadDataset ListDataset MapDataset GeneratorDataset
InitializeTableFromTextFile InitializeTableFromTextFileV2 LookupTableFindV2 HashTableV2 AssetSummary
SummaryWriter CreateSummaryFileWriter CreateSummaryDbWriter WriteSummary WriteGraphSummary ImportEvent
RemoteCall RpcCall RpcClient RpcServer Send Recv _Send _Recv SymbolicGradient XlaLaunch TPUExecute
DataServiceDataset DataServiceDatasetV2 RegisterDataset ConfigureDistributedTPU CollectiveReduce
VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp DestroyResourceOp VarIsInitializedOp Variable
VariableV2 Assign Stack StackPush QueueEnqueueV2 FIFOQueueV2 Barrier OutfeedEnqueue InfeedEnqueue
DecodeRaw DecodeJpeg ReadVariableXlaSplitND LoadTPUEmbeddingAdamParameters ComputeAccidentalHits
""".split()


def test_all_are_operations_of_tensorflow():
    assert {name for name in ALLOWED_OPS if op_def_registry.get(name) is None} == set()
    assert op_def_registry.get("NoSuchOperation") is None  # the look-up can fail


def test_none_reaches_outside_the_model():
    assert not ALLOWED_OPS & set(FORBIDDEN)
    known = [name for name in FORBIDDEN if op_def_registry.get(name) is not None]
    assert len(known) > 60  # the list above names operations that exist


@pytest.mark.parametrize(
    "word",
    [
        "File",
        "Reader",
        "PyFunc",
        "Restore",
        "Save",
        "Print",
        "Debug",
        "Dataset",
        "Table",
        "Summary",
        "Variable",
        "Handle",
        "Queue",
        "Collective",
        "Send",
        "Recv",
        "TPU",
        "Remote",
        "Sql",
    ],
)
def test_no_name_sounds_like_a_side_effect(word):
    assert [name for name in ALLOWED_OPS if word in name] == []
    assert any(word in name for name in tf.raw_ops.__dict__)


def test_stateful_ones_are_random_or_harmless():
    """None takes a resource; those marked stateful draw random numbers, call graphs, or check values."""
    stateful = {name for name in ALLOWED_OPS if op_def_registry.get(name).is_stateful}
    calls = {"StatefulPartitionedCall", "While", "If", "Case"}
    checks = {"Assert", "CheckNumerics", "GuaranteeConst"}
    sounds_random = {n for n in stateful if "Random" in n or "Normal" in n or n == "Multinomial"}
    assert stateful - calls - checks - sounds_random == set()
    resources = {
        name
        for name in ALLOWED_OPS
        if (op := op_def_registry.get(name))
        and any(a.type == tf.resource.as_datatype_enum for a in [*op.input_arg, *op.output_arg])
    }
    assert resources == set()


def test_pure_operations_keep_no_state():
    checks_and_containers = {"Assert", "CheckNumerics", "GuaranteeConst", "StatelessRandomGetAlg"}
    checks_and_containers |= {"Case", "If", "StatefulPartitionedCall", "While"}
    stateful = {name for name in ALLOWED_OPS if op_def_registry.get(name).is_stateful}
    assert PURE_OPS & stateful == checks_and_containers
    assert ALLOWED_OPS - PURE_OPS == stateful - checks_and_containers
    assert "RandomUniform" in stateful - PURE_OPS


class TestInModels:
    """Operations of SavedModels and of `.keras` files that hold their graphs."""

    @pytest.mark.parametrize(
        ("name", "operation"), [("reads_file", "ReadFile"), ("runs_python", "EagerPyFunc")]
    )
    def test_operations_that_reach_outside_are_refused(self, name, operation, saved, tmp_path):
        with pytest.raises(ValueError, match=rf"not known to be safe: \[.*'{operation}'.*trust=True"):
            load_backbone(saved(name))
        model = load_backbone(saved(name), trust=True)
        model.save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match=rf"not known to be safe: \[.*'{operation}'.*safe_mode=False"):
            keras.models.load_model(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
        if name == "reads_file":  # Python code does not travel in a graph
            x = np.ones((2, 4), "float32")
            np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)

    def test_operations_of_regularization_losses_are_checked_too(self, saved):
        with pytest.raises(ValueError, match=r"not known to be safe: \['ReadFile'\]"):
            load_backbone(saved("loss_reads_file"))
        load_backbone(saved("loss_of_one"))
        load_backbone(saved("loss_reads_file"), trust=True)

    def test_operations_beside_the_network_are_left_out(self, saved, capfd):
        model = load_backbone(saved("prints"))
        model(np.ones((2, 4), "float32"))
        assert "hello" not in "".join(capfd.readouterr())
        tf.saved_model.load(saved("prints"))(tf.ones((2, 4)))
        assert "hello" in "".join(capfd.readouterr())
