"""Declarations of LiteRT's C API, as far as client code calls it: the wheel has no headers."""

_COMMON = """
#include <stddef.h>
#include <stdint.h>
#define HANDLE(name) typedef class name##T* name
HANDLE(LiteRtCompiledModel); HANDLE(LiteRtEnvironment); HANDLE(LiteRtModel); HANDLE(LiteRtSignature);
HANDLE(LiteRtTensorBuffer); HANDLE(LiteRtTensorBufferRequirements);
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef enum { kLiteRtStatusOk = 0 } LiteRtStatus;
typedef enum { kLiteRtHwAcceleratorCpu = 1 } LiteRtHwAccelerators;
typedef enum { kLiteRtTensorBufferLockModeRead = 0, kLiteRtTensorBufferLockModeWrite = 1 }
    LiteRtTensorBufferLockMode;
typedef enum { kLiteRtElementTypeFloat32 = 1, kLiteRtElementTypeUInt8 = 3, kLiteRtElementTypeInt8 = 9 }
    LiteRtElementType;
typedef struct {
  unsigned int rank : 7;
  bool has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} LiteRtLayout;
typedef struct { LiteRtElementType element_type; LiteRtLayout layout; } LiteRtRankedTensorType;
static_assert(sizeof(LiteRtRankedTensorType) == 72, "as in the library");
"""
_FUNCTIONS = {
    "environment": """
LiteRtStatus LiteRtCreateEnvironment(int, const void*, LiteRtEnvironment*);
void LiteRtDestroyEnvironment(LiteRtEnvironment);
""",
    "options": """
LiteRtStatus LiteRtCreateOptions(LiteRtOptions*);
LiteRtStatus LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int);
void LiteRtDestroyOptions(LiteRtOptions);
""",
    "model": """
LiteRtStatus LiteRtCreateModelFromFile(LiteRtEnvironment, const char*, LiteRtModel*);
LiteRtStatus LiteRtGetModelSignature(LiteRtModel, size_t, LiteRtSignature*);
LiteRtStatus LiteRtGetSignatureKey(LiteRtSignature, const char**);
LiteRtStatus LiteRtGetSignatureInputName(LiteRtSignature, size_t, const char**);
LiteRtStatus LiteRtGetNumSignatureOutputs(LiteRtSignature, size_t*);
LiteRtStatus LiteRtGetSignatureOutputName(LiteRtSignature, size_t, const char**);
void LiteRtDestroyModel(LiteRtModel);
""",
    "compiled_model": """
LiteRtStatus LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel*);
LiteRtStatus LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel, size_t, size_t,
                                                           LiteRtTensorBufferRequirements*);
LiteRtStatus LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel, size_t, size_t,
                                                            LiteRtTensorBufferRequirements*);
LiteRtStatus LiteRtGetCompiledModelInputTensorLayout(LiteRtCompiledModel, size_t, size_t, LiteRtLayout*);
LiteRtStatus LiteRtGetCompiledModelOutputTensorLayouts(LiteRtCompiledModel, size_t, size_t, LiteRtLayout*,
                                                       bool);
LiteRtStatus LiteRtCompiledModelResizeInputTensor(LiteRtCompiledModel, size_t, size_t, const int*, size_t);
LiteRtStatus LiteRtRunCompiledModel(LiteRtCompiledModel, size_t, size_t, LiteRtTensorBuffer*, size_t,
                                    LiteRtTensorBuffer*);
void LiteRtDestroyCompiledModel(LiteRtCompiledModel);
""",
    "tensor_buffer": """
LiteRtStatus LiteRtCreateManagedTensorBufferFromRequirements(
    LiteRtEnvironment, const LiteRtRankedTensorType*, LiteRtTensorBufferRequirements, LiteRtTensorBuffer*);
LiteRtStatus LiteRtGetTensorBufferPackedSize(LiteRtTensorBuffer, size_t*);
LiteRtStatus LiteRtLockTensorBuffer(LiteRtTensorBuffer, void**, LiteRtTensorBufferLockMode);
LiteRtStatus LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
void LiteRtDestroyTensorBuffer(LiteRtTensorBuffer);
""",
}


def write_headers(folder):
    """Write headers by the names of LiteRT's own under a folder."""
    place = folder / "litert" / "c"
    place.mkdir(parents=True)
    (place / "litert_common.h").write_text(f"#pragma once\n{_COMMON}")
    for name, text in _FUNCTIONS.items():
        text = f'#pragma once\n#include "litert/c/litert_common.h"\nextern "C" {{{text}}}\n'
        (place / f"litert_{name}.h").write_text(text)
