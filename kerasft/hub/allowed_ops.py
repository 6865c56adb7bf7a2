"""The TensorFlow operations that a staged SavedModel may hold: pure functions of tensors, nothing else.

A model file carries its stages' graphs. None of the operations below reads or writes files, opens a
connection, runs Python or keeps state outside the model, so a file that holds only these can be loaded
like any other Keras model in safe mode.
"""

from __future__ import annotations

_ARITHMETIC = """
Abs Acos Acosh Add AddN AddV2 Angle Asin Asinh Atan Atan2 Atanh BiasAdd BiasAddV1 Bitcast BitwiseAnd
BitwiseOr BitwiseXor Cast Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum
CumulativeLogsumexp Digamma Div DivNoNan Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod Greater
GreaterEqual Imag Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd
LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Ndtri Neg NextAfter NotEqual Pow Real RealDiv
Reciprocal RightShift Rint Round Rsqrt Sigmoid Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan Tanh
TruncateDiv TruncateMod Xdivy Xlogy Zeta Betainc Igamma Igammac Polygamma ApproximateEqual
"""

_ARRAYS = """
BatchToSpace BatchToSpaceND BroadcastArgs BroadcastTo CheckNumerics Concat ConcatOffset ConcatV2 Const
DepthToSpace Diag DiagPart EnsureShape ExpandDims ExtractImagePatches ExtractVolumePatches Fill Gather
GatherNd GatherV2 Identity IdentityN InvertPermutation LinSpace ListDiff LowerBound
MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3
MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad NoOp OneHot OnesLike Pack Pad PadV2 ParallelConcat
Placeholder PlaceholderWithDefault PreventGradient Range Rank Reshape Reverse ReverseSequence ReverseV2
Roll ScatterNd Select SelectV2 Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth
Split SplitV Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin
TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2 Transpose Unique UniqueV2
UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike GuaranteeConst
SparseToDense SparseReshape SparseReorder SparseTensorDenseMatMul SparseFillEmptyRows SparseSlice SparseConcat
RaggedRange RaggedTensorToTensor RaggedTensorToSparse RaggedGather RaggedFillEmptyRows
"""

_REDUCTIONS_AND_ALGEBRA = """
All Any ArgMax ArgMin BatchMatMul BatchMatMulV2 BatchMatMulV3 Bincount Bucketize Cholesky DenseBincount
Einsum EuclideanNorm HistogramFixedWidth L2Loss MatMul MatrixDeterminant MatrixInverse MatrixSolve
MatrixTriangularSolve Max Mean Min NthElement Prod Qr SegmentMax SegmentMean SegmentMin SegmentProd
SegmentSum SelfAdjointEigV2 Softmax LogSoftmax Softplus Softsign Sum Svd UnsortedSegmentMax
UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum SparseSegmentMean SparseSegmentSum
SparseSegmentSqrtN SparseSegmentMeanWithNumSegments SparseSegmentSumWithNumSegments
SparseSegmentSqrtNWithNumSegments SparseBincount RaggedBincount SparseMatMul FFT FFT2D FFT3D IFFT IFFT2D
IFFT3D IRFFT IRFFT2D RFFT RFFT2D BatchFFT InTopK InTopKV2
"""

_NETWORKS = """
AvgPool AvgPool3D Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInput Conv3DBackpropInputV2
CropAndResize CTCGreedyDecoder DepthwiseConv2dNative Dilation2D Elu FractionalAvgPool
FractionalMaxPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D
LRN LeakyRelu MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NonMaxSuppression NonMaxSuppressionV2
NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 CombinedNonMaxSuppression Relu Relu6 Selu
SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits
"""

_IMAGES = """
AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation HSVToRGB RGBToHSV ResizeArea ResizeBicubic
ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate ImageProjectiveTransformV2
ImageProjectiveTransformV3
"""

_QUANTIZATION = """
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel QuantizeAndDequantize
QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
"""

_DRAWS = """
Multinomial ParameterizedTruncatedNormal RandomGamma RandomShuffle RandomStandardNormal RandomUniform
RandomUniformInt TruncatedNormal
"""

_STATELESS_RANDOM = """
StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformInt
StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal StatelessTruncatedNormalV2
"""

_CONTROL = """
Assert Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While
EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve
TensorListResize TensorListSetItem TensorListSplit TensorListStack
"""

# Strings in memory: they are cut, compared and counted. None reads a file; what a table held is a constant.
_TEXT = """
AsString ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch StaticRegexReplace StringJoin
StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket
StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode
UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin
"""

# Operations that give the same result whenever they are called with the same tensors.
PURE_OPS = frozenset(
    " ".join(
        (
            *(_ARITHMETIC, _ARRAYS, _REDUCTIONS_AND_ALGEBRA, _NETWORKS, _IMAGES, _QUANTIZATION),
            *(_STATELESS_RANDOM, _CONTROL, _TEXT),
        )
    ).split()
)

ALLOWED_OPS = PURE_OPS | frozenset(_DRAWS.split())
TEXT_OPS = frozenset(_TEXT.split())
