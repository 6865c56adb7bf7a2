// «file» («precision»), in TensorFlowLiteSwift: pod 'TensorFlowLiteSwift' in the Podfile
«resized»import Foundation
import TensorFlowLite

final class Classifier {
  let labels = «labels»
  private let (mean, std): ([Float], [Float]) = («mean», «std»)  // «units», by channel
  // The inputs of each signature, with their shapes; -1 is an open axis.
  private let inputs: [String: [String: [Int]]] = [
«inputs»
  ]
  private let interpreter: Interpreter

  init(path: String) throws {
    interpreter = try Interpreter(modelPath: path)
  }

  /// «pixels»
  func preprocess(_ values: [Float]) -> [«element»] {
    values.enumerated().map { i, x in
      let normalized = (x - mean[i % mean.count]) / std[i % std.count]
      return «quantized»
    }
  }

  /// Run a signature on arrays by name; its outputs by name.
  func run(_ signature: String, _ values: [String: [«element»]]) throws -> [String: [«element»]] {
    let runner = try interpreter.signatureRunner(with: signature)
    for (name, shape) in inputs[signature]! where shape.contains(-1) {
      let fixed = shape.filter { $0 >= 0 }.reduce(1, *)
      let sized = shape.map { $0 < 0 ? values[name]!.count / fixed : $0 }
      try runner.resizeInput(named: name, toShape: Tensor.Shape(sized))
    }
    try runner.invoke(with: values.mapValues { $0.withUnsafeBufferPointer { Data(buffer: $0) } })
    var found = [String: [«element»]]()
    for name in runner.outputs {
      let data = try runner.output(named: name).data
      found[name] = data.withUnsafeBytes { Array($0.bindMemory(to: «element».self)) }
    }
    return found
  }

  // «usage»
  /// The label with the highest score, and all scores.
  func read(_ found: [String: [«element»]]) -> (label: String, scores: [Float]) {
    let scores = found["«output»"]!.map { x in «dequantized» }
    return (labels[scores.firstIndex(of: scores.max()!)!], scores)
  }
}
