// «file» («precision»), in C++17 and the C API of LiteRT 2.3 or newer: link libLiteRt, of whose source
// (github.com/google-ai-edge/LiteRT) the headers are
«resized»#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "litert/c/litert_common.h"
#include "litert/c/litert_compiled_model.h"
#include "litert/c/litert_environment.h"
#include "litert/c/litert_model.h"
#include "litert/c/litert_options.h"
#include "litert/c/litert_tensor_buffer.h"

using Element = «element»;
using Named = std::map<std::string, std::vector<Element>>;

class Classifier {
 public:
  const std::vector<std::string> labels = «labels»;

  explicit Classifier(const char* file = "«file»") {
    LiteRtOptions options;
    Check(LiteRtCreateEnvironment(0, nullptr, &environment_));
    Check(LiteRtCreateModelFromFile(environment_, file, &model_));
    Check(LiteRtCreateOptions(&options));
    Check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu));
    Check(LiteRtCreateCompiledModel(environment_, model_, options, &compiled_));
    LiteRtDestroyOptions(options);
  }

  ~Classifier() {
    LiteRtDestroyCompiledModel(compiled_);
    LiteRtDestroyModel(model_);
    LiteRtDestroyEnvironment(environment_);
  }

  Classifier(const Classifier&) = delete;
  Classifier& operator=(const Classifier&) = delete;

  // «pixels»
  static std::vector<Element> Preprocess(const std::vector<float>& values) {
    const std::vector<float> mean = «mean», std = «std»;  // «units», by channel
    std::vector<Element> found(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const float normalized = (values[i] - mean[i % mean.size()]) / std[i % std.size()];
      found[i] = «quantized»;
    }
    return found;
  }

  // Runs a signature on arrays by name, and gives its outputs by name.
  Named Run(const std::string& signature, const Named& values) {
    LiteRtSignature key;
    const size_t index = Find(signature, &key);
    const Shapes& shapes = shapes_.at(signature);
    std::vector<LiteRtTensorBuffer> given, made;
    for (size_t i = 0; i < shapes.size(); ++i) {
      const std::string name = InputName(key, i);
      Resize(index, i, shapes.at(name), values.at(name).size());
    }
    for (size_t i = 0; i < shapes.size(); ++i) {
      LiteRtTensorBufferRequirements needs;
      LiteRtLayout layout;
      Check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, index, i, &needs));
      Check(LiteRtGetCompiledModelInputTensorLayout(compiled_, index, i, &layout));
      given.push_back(Buffer(needs, layout));
      Copy(given.back(), kLiteRtTensorBufferLockModeWrite, values.at(InputName(key, i)), nullptr);
    }
    size_t count;
    Check(LiteRtGetNumSignatureOutputs(key, &count));
    std::vector<LiteRtLayout> layouts(count);
    Check(LiteRtGetCompiledModelOutputTensorLayouts(compiled_, index, count, layouts.data(), true));
    for (size_t i = 0; i < count; ++i) {
      LiteRtTensorBufferRequirements needs;
      Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, index, i, &needs));
      made.push_back(Buffer(needs, layouts[i]));
    }
    Check(LiteRtRunCompiledModel(compiled_, index, given.size(), given.data(), count, made.data()));
    Named found;
    for (size_t i = 0; i < count; ++i) {
      const char* name;
      Check(LiteRtGetSignatureOutputName(key, i, &name));
      size_t size = 1;
      for (unsigned axis = 0; axis < layouts[i].rank; ++axis) size *= layouts[i].dimensions[axis];
      found[name].resize(size);
      Copy(made[i], kLiteRtTensorBufferLockModeRead, {}, &found[name]);
    }
    for (const auto& buffers : {given, made}) {
      for (LiteRtTensorBuffer buffer : buffers) LiteRtDestroyTensorBuffer(buffer);
    }
    return found;
  }

  // The label with the highest score, and all scores.
  // «usage»
  std::pair<std::string, std::vector<float>> Read(const Named& found) const {
    std::vector<float> scores;
    for (Element x : found.at("«output»")) scores.push_back(«dequantized»);
    return {labels[std::max_element(scores.begin(), scores.end()) - scores.begin()], scores};
  }

 private:
  using Shapes = std::map<std::string, std::vector<int>>;
  // The inputs of each signature, with their shapes; -1 is an open axis.
  const std::map<std::string, Shapes> shapes_ = {
«inputs»
  };
  LiteRtEnvironment environment_ = nullptr;
  LiteRtModel model_ = nullptr;
  LiteRtCompiledModel compiled_ = nullptr;

  static void Check(LiteRtStatus status) {
    if (status != kLiteRtStatusOk) throw std::runtime_error("LiteRT: status " + std::to_string(status));
  }

  size_t Find(const std::string& signature, LiteRtSignature* key) const {
    for (size_t index = 0;; ++index) {  // after the last one, there is an error
      const char* name;
      Check(LiteRtGetModelSignature(model_, index, key));
      Check(LiteRtGetSignatureKey(*key, &name));
      if (signature == name) return index;
    }
  }

  static std::string InputName(LiteRtSignature key, size_t input) {
    const char* name;
    Check(LiteRtGetSignatureInputName(key, input, &name));
    return name;
  }

  void Resize(size_t index, size_t input, std::vector<int> shape, size_t count) {
    const auto open = std::find(shape.begin(), shape.end(), -1);
    if (open == shape.end()) return;
    int fixed = 1;
    for (int n : shape) fixed *= n < 0 ? 1 : n;
    *open = static_cast<int>(count) / fixed;
    Check(LiteRtCompiledModelResizeInputTensor(compiled_, index, input, shape.data(), shape.size()));
  }

  LiteRtTensorBuffer Buffer(LiteRtTensorBufferRequirements needs, const LiteRtLayout& layout) {
    const LiteRtRankedTensorType type = {«litert_type», layout};
    LiteRtTensorBuffer buffer;
    Check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, &type, needs, &buffer));
    return buffer;
  }

  static void Copy(LiteRtTensorBuffer buffer, LiteRtTensorBufferLockMode mode,
                   const std::vector<Element>& from, std::vector<Element>* to) {
    void* memory;
    size_t size;
    Check(LiteRtGetTensorBufferPackedSize(buffer, &size));
    if (size != sizeof(Element) * (to ? to->size() : from.size())) throw std::runtime_error("another size");
    Check(LiteRtLockTensorBuffer(buffer, &memory, mode));
    if (to) std::memcpy(to->data(), memory, size);
    else std::memcpy(memory, from.data(), size);
    Check(LiteRtUnlockTensorBuffer(buffer));
  }
};
