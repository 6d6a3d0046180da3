// The page: a picture comes in, is embedded here or on the server, and the nearest items of the gallery come back.

import { bytes, duration } from "/page/draw.js";
import { loadNetwork, whyNot } from "/page/network.js";
import { changesPixels, PictureError, preprocess } from "/page/preprocess.js";
import { Refused, Service } from "/page/service.js";
import { showHits, showSearch, showServed, showSteps, SMALL, words } from "/page/view.js";

const HITS = 12;
const FIRST = 12; // items of the gallery that are shown before anybody asks

const service = new Service();
// Which network answers, how it runs here or why it does not, how many items there are, what is asked, how often it was.
const state = {
  model: null,
  network: null,
  lack: whyNot() ?? (changesPixels() ? "This browser changes the pixels that a page reads" : null),
  items: null,
  picture: null,
  turn: 0,
  starting: null,
};
const at = (id) => document.getElementById(id);

function say(text) {
  at("status").textContent = text;
}

/** A message that stays until something else is done; none hides it. */
function warn(text = "") {
  at("notice").textContent = text;
  at("notice").hidden = !text;
}

function where() {
  return document.querySelector("input[name=where]:checked").value;
}

function promise() {
  const numbers = state.model ? `${state.model.dim} numbers` : "a few numbers";
  const compared = state.lack === null ? ", and both vectors are compared" : "";
  at("promise").textContent =
    where() === "browser"
      ? `Your picture stays on this device; only ${numbers} are sent.`
      : `Your picture is sent to the server${compared}.`;
}

/** Begin, or wait for what has begun. */
function start() {
  state.starting ??= begin().finally(() => {
    state.starting = null;
  });
  return state.starting;
}

/** Everything that is needed before a picture can be searched with. */
async function begin() {
  warn();
  const health = await service.health();
  state.model = await service.model();
  state.items = health.items;
  at("unlock").hidden = true;
  at("key").value = "";
  showServed(health, state.model);
  if (state.lack === null) {
    say("Loading the network …");
    await load();
  }
  promise();
  if (state.lack === null) say("Ready.");
  else {
    document.querySelector("input[value=browser]").disabled = true;
    lacking();
  }
  if (state.picture !== null) await run();
  else if (state.items) await showSome();
}

function lacking() {
  warn(`${state.lack}, so it cannot embed. The server can: choose “on the server”, which sends the picture.`);
  say("Nothing is sent until you choose.");
}

async function load() {
  const begin = performance.now();
  const file = await service.file(state.model.onnx);
  try {
    state.network = await loadNetwork(state.model, new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    state.lack = `This browser does not run the network (${error.message})`;
    return;
  }
  const { version, size, kept } = state.network;
  const took = duration(performance.now() - begin);
  const source = kept ? ", kept by this browser from before" : "";
  at("once").textContent =
    `Loaded once: ONNX Runtime ${version}, ${bytes(size)}${source}, and the network, ${bytes(file.size)}; ${took}.`;
}

/** Items near random directions: something to begin with, for who has no picture at hand. */
async function showSome() {
  const found = await Promise.all(Array.from({ length: 2 * FIRST }, () => nearestTo(randomUnit(state.model.dim))));
  const some = new Map(found.flat().map((hit) => [hit.key, hit]));
  if (state.picture !== null) return;
  const words = { title: "Some of the gallery: choose one, or bring a picture", scored: false };
  await showHits([...some.values()].slice(0, FIRST), words, service, again);
}

async function nearestTo(vector) {
  return (await service.search(vector, state.model.space, 1)).body.hits;
}

/** Of a normal distribution, so that no direction is likelier than another. */
function randomUnit(dim) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const vector = Float32Array.from({ length: dim }, normal);
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}

/** Search with a file, or with the picture of an item. */
function ask(file, name) {
  state.picture = { file, name };
  const picture = at("picture");
  URL.revokeObjectURL(picture.src); // of one that was still loading
  picture.src = URL.createObjectURL(file);
  picture.alt = `Your picture, ${name}`;
  return attempt(run);
}

/** The picture has loaded, or is of a kind that the browser cannot show. */
function shown({ type, target }) {
  URL.revokeObjectURL(target.src);
  target.hidden = type === "error";
  target.classList.toggle("small", target.naturalWidth < SMALL);
  at("drop").classList.toggle("full", type === "load");
}

const again = (blob, hit) => {
  scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  return ask(blob, hit.key);
};

/** Embed the present picture where it is wanted, and search with its vector. */
async function run() {
  if (state.model === null || (state.network === null && state.lack === null)) return start();
  const turn = ++state.turn; // who asks again while an answer is under way sees the later one only
  const { file, name } = state.picture;
  warn();
  say(`Searching with ${name} …`);
  at("answer").setAttribute("aria-busy", "true");
  const mine = state.network === null ? null : await embedHere(file).catch(refuse);
  const theirs = where() === "server" ? await service.embed(file) : null;
  if (turn !== state.turn) return;
  if (mine === null && theirs === null) return nothing();
  const { vector, space } = theirs ?? mine;
  showSteps(state.model, file, mine, theirs);
  const found = state.items === null ? null : await service.search(vector, space, HITS);
  if (turn !== state.turn) return;
  at("answer").removeAttribute("aria-busy");
  if (found === null) return say(`Embedded ${place(theirs)}. This service has no gallery to search.`);
  const pictures = await showHits(found.body.hits, { title: "Nearest items", scored: true }, service, again);
  if (turn !== state.turn) return;
  showSearch(found, pictures, file, theirs);
  say(words(found.body.hits, place(theirs)));
}

function place(theirs) {
  return theirs === null ? "in this browser" : "on the server";
}

/** The present picture has no answer, and another one's must not stand beside it. */
function nothing() {
  at("steps").hidden = at("found").hidden = true;
  at("answer").removeAttribute("aria-busy");
  if (state.lack !== null) lacking();
  else say("Nothing was sent.");
}

async function embedHere(file) {
  const begin = performance.now();
  const prepared = await preprocess(file, state.model.input);
  const middle = performance.now();
  const vector = await state.network.embed(prepared.pixels);
  const end = performance.now();
  return { ...prepared, vector, space: state.model.space, prepareMs: middle - begin, embedMs: end - middle };
}

/** A picture that cannot be read here may still be read by the server. */
function refuse(error) {
  if (!(error instanceof PictureError)) throw error;
  if (where() === "server") warn(`${error.message} So the vectors cannot be compared.`);
  else warn(`${error.message} JPEG, PNG, WebP and GIF always work. Or choose “on the server”, which may read it.`);
  return null;
}

/** Do something, and say what kept it from being done. */
async function attempt(work) {
  const turn = state.turn + 1;
  try {
    await work();
  } catch (error) {
    if (state.turn > turn) return; // nobody waits for it any more
    if (state.picture !== null) nothing();
    say("");
    if (error instanceof Refused && error.status === 401) return lock(error);
    warn(error instanceof Refused ? explained(error) : `Something went wrong in this page: ${error.message}`);
  }
}

function lock(error) {
  at("unlock").hidden = false;
  if (at("key").value) warn(error.message);
  at("key").focus();
}

function explained(error) {
  if (error.code === "space_mismatch") return "The service has another network by now. Load this page again.";
  return error.message;
}

function take(files) {
  const [file] = files;
  if (file) ask(file, file.name || "the pasted picture");
}

function listen() {
  for (const id of ["choose", "photograph"]) {
    at(id).addEventListener("change", (event) => {
      take(event.target.files);
      event.target.value = ""; // so that the same file can be chosen again
    });
  }
  for (const kind of ["load", "error"]) at("picture").addEventListener(kind, shown);
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const { files } = event.dataTransfer;
    if (files.length) take(files);
    else warn("That brought no file. Copy the picture and paste it here, or save it first.");
  });
  at("where").addEventListener("change", () => {
    promise();
    if (state.picture !== null) attempt(run);
  });
  at("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    service.unlock(at("key").value);
    attempt(start);
  });
}

listen();
promise();
attempt(start);
