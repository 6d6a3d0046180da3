// Which way up a picture is, by its EXIF tag. Browsers obey the tag in some kinds of file and not in others; here it is
// read and taken out, so that every browser hands over the pixels as they are stored, and they are turned once.

const TAG = 274;
const SHORT = 3;

// In a chunk: where its name is, where its size; the bytes around its data, and what these are a multiple of.
const PNG = { name: 4, size: 0, around: 12, multiple: 1, little: false };
const WEBP = { name: 0, size: 4, around: 8, multiple: 2, little: true };

/**
 * @param {ArrayBuffer} buffer a picture's file; where it has the tag, the tag's value becomes 1.
 * @returns {number} 1 to 8, as EXIF 2.3 has it; 1 where there is none.
 */
export function takeOrientation(buffer) {
  const view = new DataView(buffer);
  try {
    const place = tiffIn(view);
    return place === null ? 1 : takeTag(view, place);
  } catch (error) {
    if (error instanceof RangeError) return 1; // a file that ends early; the decoder will say what it thinks of it
    throw error;
  }
}

/** What maps a stored pixel to where it is seen, in a picture that is seen `width` wide and `height` high. */
export function turning(orientation, width, height) {
  return {
    1: [1, 0, 0, 1, 0, 0],
    2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height],
    4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, width, 0],
    7: [0, -1, -1, 0, width, height],
    8: [0, -1, 1, 0, 0, height],
  }[orientation];
}

/** Where the TIFF block of the EXIF data begins; null where there is none. */
function tiffIn(view) {
  let place = null;
  if (text(view, 0, 2) === "\xff\xd8") place = inJpeg(view);
  else if (text(view, 1, 3) === "PNG") place = inChunks(view, 8, "eXIf", PNG);
  else if (text(view, 8, 4) === "WEBP") place = inChunks(view, 12, "EXIF", WEBP);
  if (place === null) return null;
  return text(view, place, 6) === "Exif\0\0" ? place + 6 : place;
}

function inJpeg(view) {
  let place = 2;
  while (view.getUint8(place) === 0xff) {
    const marker = view.getUint8(place + 1);
    if (marker === 0xda) return null; // from here on pixels
    if (marker === 0xe1 && text(view, place + 4, 6) === "Exif\0\0") return place + 4;
    place += marker === 0xff ? 1 : 2 + view.getUint16(place + 2);
  }
  return null;
}

function inChunks(view, start, wanted, at) {
  for (let place = start; place + 8 <= view.byteLength; ) {
    if (text(view, place + at.name, 4) === wanted) return place + 8;
    const size = view.getUint32(place + at.size, at.little);
    place += at.around + Math.ceil(size / at.multiple) * at.multiple;
  }
  return null;
}

function takeTag(view, start) {
  const little = text(view, start, 2) === "II";
  const table = start + view.getUint32(start + 4, little);
  const count = view.getUint16(table, little);
  for (let entry = table + 2; entry < table + 2 + count * 12; entry += 12) {
    if (view.getUint16(entry, little) !== TAG || view.getUint16(entry + 2, little) !== SHORT) continue;
    const value = view.getUint16(entry + 8, little);
    view.setUint16(entry + 8, 1, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

function text(view, place, length) {
  let found = "";
  for (let at = place; at < place + length; at++) found += String.fromCharCode(view.getUint8(at));
  return found;
}
