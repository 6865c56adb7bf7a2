// From an image to the numbers that the model takes, as model.json describes them.

/**
 * Draw an image at the model's size and read it back: stretched, not cropped, over white.
 *
 * @param {CanvasImageSource} image
 * @param {HTMLCanvasElement} canvas is left showing what the model sees
 * @param {number[]} shape [1, height, width, channels], with 1 channel (grey) or 3 (RGB)
 * @returns {Float32Array} the pixels, from 0 to 255, in the order of `shape`
 */
export function readPixels(image, canvas, [, height, width, channels]) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  const drawn = context.getImageData(0, 0, width, height);
  const pixels = new Float32Array(height * width * channels);
  for (let i = 0, at = 0; i < drawn.data.length; i += 4) {
    const rgb = drawn.data.subarray(i, i + 3);
    if (channels === 1) {
      rgb.fill(Math.round(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]));
    }
    for (let c = 0; c < channels; c++) pixels[at++] = rgb[c];
  }
  context.putImageData(drawn, 0, 0);
  return pixels;
}

/**
 * Normalize pixels and bring them into the model's dtype.
 *
 * @param {Float32Array} pixels from 0 to 255, channels last
 * @param {{input: {dtype: string, scale: ?number, zero_point: ?number}, mean: number[], std: number[]}} about
 * @returns {Float32Array|Uint8Array}
 */
export function toInput(pixels, { input, mean, std }) {
  const values = pixels.map((x, i) => (x - mean[i % mean.length]) / std[i % std.length]);
  if (input.dtype === "float32") return values;
  const steps = input.scale ? values.map((x) => x / input.scale + input.zero_point) : values;
  return new Uint8Array(Uint8ClampedArray.from(steps).buffer); // clamped ones round; LiteRT.js takes the others
}

/**
 * The model's scores, from the steps of its output's dtype.
 *
 * @param {Float32Array|Uint8Array} values
 * @param {{scale: ?number, zero_point: ?number}} output
 * @returns {number[]}
 */
export function fromOutput(values, { scale, zero_point: zero }) {
  return Array.from(values, (v) => (scale ? (v - zero) * scale : v));
}
