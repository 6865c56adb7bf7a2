// Files of named float32 arrays and texts: https://huggingface.co/docs/safetensors, section "Format".
// Eight bytes with the length of a header, the header in JSON, and the arrays; all little-endian.

const HEAD = 8; // bytes

/**
 * @param {Object<string, {shape: number[], values: Float32Array}>} arrays
 * @param {Object<string, string>} metadata
 * @returns {Blob}
 */
export function write(arrays, metadata) {
  const header = { __metadata__: metadata };
  let place = 0;
  for (const [name, { shape, values }] of Object.entries(arrays)) {
    header[name] = { dtype: "F32", shape, data_offsets: [place, (place += values.byteLength)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padding = " ".repeat(-text.length & 7); // so that the arrays begin at a multiple of 8
  const size = new DataView(new ArrayBuffer(HEAD));
  size.setBigUint64(0, BigInt(text.length + padding.length), true);
  return new Blob([size.buffer, text, padding, ...Object.values(arrays).map(({ values }) => values)]);
}

/**
 * @param {ArrayBuffer} content
 * @param {string} file its name, for messages
 * @returns {{arrays: Object<string, {shape: number[], values: Float32Array}>, metadata: Object<string, string>}}
 */
export function read(content, file) {
  const damaged = new Error(`“${file}” is no safetensors file, or is cut short`);
  if (content.byteLength < HEAD) throw damaged;
  const length = Number(new DataView(content).getBigUint64(0, true));
  if (length > content.byteLength - HEAD) throw damaged;
  const body = content.slice(HEAD + length);
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(content, HEAD, length)));
    if (Array.isArray(header)) throw damaged;
    const { __metadata__: metadata = {}, ...entries } = header;
    const arrays = Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, array(entry, body)]));
    return { arrays, metadata };
  } catch {
    throw damaged;
  }
}

function array({ dtype, shape, data_offsets: [begin, end] }, body) {
  const whole = [begin, end, ...shape].every((n) => Number.isInteger(n) && n >= 0);
  if (dtype !== "F32" || !whole || end > body.byteLength || end - begin !== 4 * shape.reduce((a, b) => a * b, 1)) {
    throw new Error("another form");
  }
  return { shape, values: new Float32Array(body.slice(begin, end)) };
}
