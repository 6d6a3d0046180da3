// The query encoder in the browser: ONNX Runtime's WebAssembly build, one thread, from this service and nowhere else.

const RUNTIME = "/page/onnxruntime-web";
const SPACE = "hetsearch.space"; // as hetsearch/runtime reads it from the file's metadata

// A module with one function that makes a vector of 128 bits, as ONNX Runtime's build does everywhere.
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];

/** Why this browser cannot run the network; null where it can. */
export function whyNot() {
  if (typeof WebAssembly !== "object") return "This browser has no WebAssembly";
  return WebAssembly.validate(new Uint8Array(SIMD)) ? null : "This browser's WebAssembly lacks SIMD";
}

/** The space that an ONNX file says its vectors lie in: whatever else is told of it, the file is what embeds. */
export function spaceOf(file) {
  const text = new TextDecoder("latin1").decode(file);
  const place = text.lastIndexOf(`${SPACE}\x12`); // the value of the entry; its length is one byte
  return place < 0 ? null : text.substr(place + SPACE.length + 2, text.charCodeAt(place + SPACE.length + 1));
}

/**
 * Load the runtime and the network.
 *
 * @param {object} model what GET /v1/models says of it.
 * @param {Uint8Array} file its ONNX file.
 * @returns {Promise<object>} embed, from channels × size × size pixels to a unit vector; the runtime's version; size,
 *   its bytes as they are sent; and whether the browser had kept them.
 */
export async function loadNetwork(model, file) {
  const space = spaceOf(file);
  if (space !== model.space) throw new Error(`the network is of the space ${space}, not ${model.space}.`);
  const index = await (await fetch(`${RUNTIME}/index.json`)).json();
  const base = new URL(`${RUNTIME}/${index.version}/`, location.href).href;
  const ort = await import(`${base}ort.wasm.min.mjs`);
  const glue = "ort-wasm-simd-threaded";
  ort.env.wasm.numThreads = 1; // more would need cross-origin isolation, and gain nothing on one small picture
  ort.env.wasm.wasmPaths = { mjs: `${base}${glue}.mjs`, wasm: `${base}${glue}.wasm` };
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  const { size: side, channels } = model.input;
  const embed = async (pixels) => {
    const { embedding } = await session.run({ pixels: new ort.Tensor("uint8", pixels, [1, channels, side, side]) });
    return Float32Array.from(embedding.data);
  };
  await embed(new Uint8Array(channels * side * side)); // the first call is the slowest
  const size = Object.values(index.files).reduce((sum, one) => sum + one.gzip_bytes, 0);
  const loaded = performance.getEntriesByType("resource").filter(({ name }) => name.startsWith(base));
  const kept = loaded.length > 0 && loaded.every((one) => one.transferSize === 0);
  return { embed, version: index.version, size, kept };
}
