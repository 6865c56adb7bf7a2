// From an image to the numbers that the model takes, as model.json describes them.

const MOST = 2 ** 24; // pixels that are read at once; larger images are first drawn smaller

/** The image of a file, upright. */
export async function decode(file) {
  try {
    // upright as EXIF says, and colour profiles left aside, as training images were read
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`“${file.name}” is not an image that this browser can read. Choose a PNG, JPEG or WebP file.`);
  }
}

/**
 * Bring an image to the model's size as training did: over a background, stretched, not cropped, to whole numbers.
 *
 * @param {ImageBitmap} image
 * @param {HTMLCanvasElement} canvas is left showing what the model sees
 * @param {number[]} shape [1, height, width, channels], with 1 channel (grey) or 3 (RGB)
 * @param {{background: string, resize: "antialias"|"bilinear"|"mediapipe"}} rule
 * @returns {Float32Array} the pixels, from 0 to 255, in the order of `shape`
 */
export function readPixels(image, canvas, [, height, width, channels], { background, resize }) {
  const scale = Math.min(1, Math.sqrt(MOST / (image.width * image.height)));
  const [wide, high] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
  const whole = new OffscreenCanvas(wide, high).getContext("2d", { willReadFrequently: true });
  whole.fillStyle = background;
  whole.fillRect(0, 0, wide, high);
  whole.imageSmoothingQuality = "high";
  whole.drawImage(image, 0, 0, wide, high);
  const across = stretched(whole.getImageData(0, 0, wide, high).data, high, wide, 4, taps(wide, width, resize));
  const drawn = stretched(across, 1, high, 4 * width, taps(high, height, resize));

  const pixels = new Float32Array(height * width * channels);
  for (let i = 0, at = 0; i < drawn.length; i += 4) {
    const rgb = drawn.subarray(i, i + 3);
    if (channels === 1) {
      rgb.fill(Math.round(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]));
    }
    for (let c = 0; c < channels; c++) pixels[at++] = rgb[c];
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(drawn, width, height), 0, 0);
  return pixels;
}

/**
 * Which pixels of a line make each pixel of a new one, and by which weights.
 *
 * "antialias" weights all pixels that the new one covers by a triangle, as Pillow's BILINEAR does; "bilinear" takes
 * the two beside its centre, "mediapipe" those beside its corner.
 *
 * @returns {{first: number, weights: number[]}[]} one for each new pixel
 */
export function taps(from, to, resize) {
  const reach = resize === "antialias" ? Math.max(1, from / to) : 1;
  return Array.from({ length: to }, (_, i) => {
    const centre = resize === "mediapipe" ? (i * from) / to + 0.5 : ((i + 0.5) * from) / to;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const end = Math.min(from, Math.floor(centre + reach + 0.5));
    const found = Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach),
    );
    const sum = found.reduce((a, b) => a + b);
    return { first, weights: found.map((weight) => weight / sum) };
  });
}

/** Lines of `count` items, of `items` numbers each, with other items made of them; rounded to whole numbers. */
function stretched(values, lines, count, items, wanted) {
  const made = new Uint8ClampedArray(lines * wanted.length * items); // which rounds
  for (let line = 0, at = 0; line < lines; line++) {
    for (const { first, weights } of wanted) {
      const begin = (line * count + first) * items;
      for (let item = 0; item < items; item++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * values[begin + k * items + item];
        made[at++] = sum;
      }
    }
  }
  return made;
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
