// Which way up a picture is, by its EXIF tag, else by its XMP, as Pillow has it. Browsers obey the tag in some kinds of
// file and not in others; here it is read and taken out, so that every browser hands over the pixels as they are stored,
// and they are turned once.

const TAG = 274;
const SHORT = 3;
const LONG = 4;
const XMP = /tiff:Orientation(?:="|>)(\d)/;

// How the two blocks begin in each kind of file: a chunk's name, and what its data begin with.
const EXIF_BLOCK = { jpeg: "Exif\0\0", png: ["eXIf", ""], webp: ["EXIF", ""] };
const XMP_BLOCK = {
  jpeg: "http://ns.adobe.com/xap/1.0/\0",
  png: ["iTXt", "XML:com.adobe.xmp\0\0"], // the second zero: not compressed
  webp: ["XMP ", ""],
};

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
    const tag = takeTag(view) ?? Number(XMP.exec(xmpIn(view))?.[1] ?? 1);
    return tag >= 1 && tag <= 8 ? tag : 1;
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

/** The tag's value, which becomes 1; null where there is none. */
function takeTag(view) {
  const [block] = blockIn(view, EXIF_BLOCK);
  if (block === undefined) return null;
  const start = text(view, block, 6) === EXIF_BLOCK.jpeg ? block + 6 : block; // where the TIFF data begin
  const little = text(view, start, 2) === "II";
  const table = start + view.getUint32(start + 4, little);
  const count = view.getUint16(table, little);
  for (let entry = table + 2; entry < table + 2 + count * 12; entry += 12) {
    const kind = view.getUint16(entry + 2, little);
    if (view.getUint16(entry, little) !== TAG || (kind !== SHORT && kind !== LONG)) continue;
    if (view.getUint32(entry + 4, little) !== 1) continue; // so many values, where one is meant
    const [read, write] = kind === SHORT ? ["getUint16", "setUint16"] : ["getUint32", "setUint32"];
    const value = view[read](entry + 8, little);
    view[write](entry + 8, 1, little);
    return value;
  }
  return null;
}

function xmpIn(view) {
  const [start, end] = blockIn(view, XMP_BLOCK);
  return start === undefined ? "" : new TextDecoder("latin1").decode(new Uint8Array(view.buffer, start, end - start));
}

/** Where a block begins and ends; empty where there is none. */
function blockIn(view, { jpeg, png, webp }) {
  if (text(view, 0, 2) === "\xff\xd8") return inJpeg(view, jpeg);
  if (text(view, 1, 3) === "PNG") return inChunks(view, 8, png, PNG);
  return text(view, 8, 4) === "WEBP" ? inChunks(view, 12, webp, WEBP) : [];
}

function inJpeg(view, begin) {
  let place = 2;
  while (view.getUint8(place) === 0xff) {
    const marker = view.getUint8(place + 1);
    if (marker === 0xda) return []; // from here on pixels
    const end = place + 2 + view.getUint16(place + 2);
    if (marker === 0xe1 && text(view, place + 4, begin.length) === begin) return [place + 4, end];
    place = marker === 0xff ? place + 1 : end;
  }
  return [];
}

function inChunks(view, start, [wanted, begin], at) {
  for (let place = start; place + 8 <= view.byteLength; ) {
    const size = view.getUint32(place + at.size, at.little);
    if (text(view, place + at.name, 4) === wanted && text(view, place + 8, begin.length) === begin) {
      return [place + 8, place + 8 + size];
    }
    place += at.around + Math.ceil(size / at.multiple) * at.multiple;
  }
  return [];
}

function text(view, place, length) {
  let found = "";
  for (let at = place; at < place + length; at++) found += String.fromCharCode(view.getUint8(at));
  return found;
}
