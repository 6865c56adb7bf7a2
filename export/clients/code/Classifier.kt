// «file» («precision»), in LiteRT: implementation("com.google.ai.edge.litert:litert:2.1.0") or newer
«resized»import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
«imports»
class Classifier(assets: AssetManager, file: String = "«file»") : AutoCloseable {
    private val model = CompiledModel.create(assets, file, CompiledModel.Options(Accelerator.CPU))
    private val labels = «labels»
    private val mean = «mean» // «units», by channel
    private val std = «std»

    // The inputs of each signature, with their shapes; -1 is an open axis. Then its outputs.
    private val inputs = mapOf(
«inputs»
    )
    private val outputs = mapOf(
«outputs»
    )

    /** «pixels» */
    fun preprocess(values: FloatArray) = «array»(values.size) {
        val normalized = (values[it] - mean[it % mean.size]) / std[it % std.size]
        «quantized»
    }

    /** Run a signature on arrays by name; its outputs by name. */
    fun run(signature: String, values: Map<String, «array»>): Map<String, «array»> {
        val shapes = inputs.getValue(signature)
        for ((name, shape) in shapes.filterValues { -1 in it }) {
            val fixed = shape.filter { it >= 0 }.fold(1) { size, n -> size * n }
            val count = values.getValue(name).size / fixed
            model.resizeInputTensor(name, shape.map { if (it < 0) count else it }.toIntArray(), signature)
        }
        val given = shapes.mapValues { (name, _) -> model.createInputBuffer(name, signature) }
        val made = outputs.getValue(signature).associateWith { model.createOutputBuffer(it, signature) }
        try {
            given.forEach { (name, buffer) -> buffer.write«kind»(values.getValue(name)) }
            model.run(given, made, signature)
            return made.mapValues { (_, buffer) -> buffer.read«kind»() }
        } finally {
            (given.values + made.values).forEach { it.close() }
        }
    }

    // «usage»
    /** The label with the highest score, and all scores. */
    fun read(found: Map<String, «array»>): Pair<String, List<Float>> {
        val scores = found.getValue("«output»").map { «dequantized» }
        return labels[scores.indices.maxBy { scores[it] }] to scores
    }

    override fun close() = model.close()
}
