// hetsearch/preprocess.py once more, for browsers: the same pixels from the same file. What a canvas would do otherwise
// (blend, scale, convert colours) is done here with Pillow's own arithmetic, so that a vector made here is the vector
// that the server would make.

import { takeOrientation, turning } from "/page/orientation.js";

export const MAX_PIXELS = 64_000_000; // as in preprocess.py
const AS_STORED = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
const STRIP = 64; // rows that are read at a time: a whole photograph would take a canvas that some phones do not have
const BITS = 22; // of a weight, as in Pillow's Resample.c

const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: cubic },
};

/** A picture that this browser cannot read, or that is too large. */
export class PictureError extends Error {}

/** Whether this browser gives back other pixels than it was given, so that nobody is recognised by them. */
export function changesPixels() {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const given = new ImageData(32, 32);
  given.data.forEach((_, place) => (given.data[place] = place % 4 === 3 ? 255 : (place * 37) % 256));
  context.putImageData(given, 0, 0);
  const { data } = context.getImageData(0, 0, 32, 32);
  return data.some((value, place) => Math.abs(value - given.data[place]) > 2); // a bit or two change nothing
}

/**
 * Decode a picture and bring it into the form that an encoder takes.
 *
 * @param {Blob} file an encoded picture.
 * @param {object} spec the encoder's input: size, channels, fit, resample, background.
 * @returns {Promise<{pixels: Uint8Array, width: number, height: number}>} channels × size × size values; the width and
 *   the height of the picture, upright.
 * @throws {PictureError}
 */
export async function preprocess(file, spec) {
  const picture = await decode(file);
  try {
    const { width, height } = picture;
    const [across, down] = fitted(width, height, spec);
    const columns = weights(width, across, FILTERS[spec.resample]);
    const narrow = new Uint8Array(spec.channels * across * height);
    for (let top = 0; top < height; top += STRIP) {
      const rows = Math.min(STRIP, height - top);
      const planes = flatten(picture.rows(top, rows), spec);
      for (let channel = 0; channel < spec.channels; channel++) {
        const into = narrow.subarray((channel * height + top) * across);
        resampleRows(planes[channel], width, rows, columns, into);
      }
    }
    return { pixels: finish(narrow, across, height, down, spec), width, height };
  } finally {
    picture.close();
  }
}

/** The side lengths that the picture has inside the square. */
function fitted(width, height, { size, fit }) {
  if (fit === "squash") return [size, size];
  const scale = size / Math.max(width, height);
  return [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
}

/** Python's round. */
function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

/** The file as rows of RGBA, upright and without colour management; the browser's own decoder reads it. */
async function decode(file) {
  const buffer = await file.arrayBuffer();
  const orientation = takeOrientation(buffer);
  const bitmap = await createImageBitmap(new Blob([buffer]), AS_STORED).catch(() => {
    throw new PictureError("This browser cannot read the picture.");
  });
  const [width, height] = orientation < 5 ? [bitmap.width, bitmap.height] : [bitmap.height, bitmap.width];
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new PictureError(`The picture is too large: ${width} × ${height} pixels.`);
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = Math.min(STRIP, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!holds(context, width)) {
    bitmap.close();
    throw new PictureError(`This browser cannot read a picture of ${width} × ${height} pixels.`);
  }
  context.imageSmoothingEnabled = false;
  const [a, b, c, d, e, f] = turning(orientation, width, height);
  const rows = (top, count) => {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, count);
    context.setTransform(a, b, c, d, e, f - top);
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, count).data;
  };
  return { width, height, rows, close: () => bitmap.close() };
}

/** Whether a canvas is as wide as it was made: beyond a width of its own a browser draws nothing, or throws. */
function holds(context, width) {
  try {
    context.fillRect(width - 1, 0, 1, 1);
    return context.getImageData(width - 1, 0, 1, 1).data[3] === 255;
  } catch {
    return false;
  }
}

/** RGBA on the background, as planes of grey or of red, green and blue. */
function flatten(rgba, { channels, background }) {
  const count = rgba.length / 4;
  const planes = Array.from({ length: channels }, () => new Uint8Array(count));
  for (let place = 0, from = 0; place < count; place++, from += 4) {
    let red = rgba[from];
    let green = rgba[from + 1];
    let blue = rgba[from + 2];
    const alpha = rgba[from + 3];
    if (alpha < 255) {
      red = blend(red, background, alpha);
      green = blend(green, background, alpha);
      blue = blend(blue, background, alpha);
    }
    if (channels === 1) {
      planes[0][place] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16; // ITU-R 601-2, as Pillow does it
    } else {
      planes[0][place] = red;
      planes[1][place] = green;
      planes[2][place] = blue;
    }
  }
  return planes;
}

/** Pillow's alpha_composite over something opaque. */
function blend(above, below, alpha) {
  if (alpha === 0) return below;
  const value = (above * alpha + below * (255 - alpha)) * 128 + 0x4000;
  return ((value >> 8) + value) >> 15;
}

/** For each place of the result where its weights begin, and the weights; Pillow's precompute_coeffs. */
function weights(from, to, filter) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const shrink = 1 / stretch;
  const support = filter.support * stretch;
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const away = (step) => (step + first - centre + 0.5) * shrink;
    const exact = Array.from({ length: end - first }, (_, step) => filter.weight(away(step)));
    const sum = exact.reduce((total, weight) => total + weight, 0) || 1;
    return { first, taps: Int32Array.from(exact, (weight) => roundHalfUp((weight / sum) * 2 ** BITS)) };
  });
}

function roundHalfUp(value) {
  return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
}

function cubic(x) {
  const a = -0.5;
  const far = Math.abs(x);
  if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
  return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
}

function resampleRows(plane, width, rows, columns, into) {
  for (let row = 0, to = 0; row < rows; row++) {
    for (const { first, taps } of columns) into[to++] = weighted(plane, row * width + first, 1, taps);
  }
}

/** Resample down the columns, and put the result into the middle of the square. */
function finish(narrow, across, height, down, { size, channels, background, resample }) {
  const pixels = new Uint8Array(channels * size * size).fill(background);
  const left = (size - across) >> 1;
  const lines = weights(height, down, FILTERS[resample]);
  for (let channel = 0; channel < channels; channel++) {
    let to = (channel * size + ((size - down) >> 1)) * size + left;
    for (const { first, taps } of lines) {
      const from = (channel * height + first) * across;
      for (let column = 0; column < across; column++) {
        pixels[to + column] = weighted(narrow, from + column, across, taps);
      }
      to += size;
    }
  }
  return pixels;
}

function weighted(values, from, step, taps) {
  let sum = 1 << (BITS - 1);
  for (let tap = 0; tap < taps.length; tap++) sum += values[from + tap * step] * taps[tap];
  const value = Math.floor(sum / 2 ** BITS);
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
