// Small pictures of what happens: the pixels that the network sees, and the numbers that it makes of them.

/** Pixels, channels × size × size, as they are. */
export function drawPixels(canvas, pixels, { size, channels }) {
  const plane = size * size;
  const image = new ImageData(size, size);
  for (let place = 0; place < plane; place++) {
    for (let band = 0; band < 3; band++) {
      image.data[place * 4 + band] = pixels[place + (channels === 3 ? band * plane : 0)];
    }
    image.data[place * 4 + 3] = 255;
  }
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** A vector as bars from the middle, up and down. */
export function drawVector(canvas, vector) {
  const style = getComputedStyle(canvas);
  const [wide, high] = [Math.min(4, Math.max(1, Math.floor(1024 / vector.length))), 128];
  canvas.width = vector.length * wide;
  canvas.height = high;
  const context = canvas.getContext("2d");
  const largest = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  vector.forEach((value, place) => {
    const length = Math.max(1, (Math.abs(value) / largest) * (high / 2 - 2));
    context.fillStyle = style.getPropertyValue(value < 0 ? "--below" : "--above");
    context.fillRect(place * wide, value < 0 ? high / 2 : high / 2 - length, Math.max(1, wide - 1), length);
  });
}

const APART = "\u00a0"; // a number and its unit stay in one line

export function bytes(count) {
  if (count < 1000) return `${count}${APART}B`;
  return count < 1e6 ? `${round(count / 1e3)}${APART}kB` : `${round(count / 1e6)}${APART}MB`;
}

export function duration(ms) {
  return ms < 1000 ? `${round(ms)}${APART}ms` : `${round(ms / 1000)}${APART}s`;
}

export function sides(width, height) {
  return `${width}${APART}×${APART}${height}`;
}

function round(value) {
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}
