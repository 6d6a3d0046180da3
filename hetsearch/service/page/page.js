// The page: a picture comes in, is embedded here or on the server, and the nearest items of the gallery come back.

import { bytes, drawPixels, drawVector, duration } from "/page/draw.js";
import { loadNetwork, whyNot } from "/page/network.js";
import { PictureError, preprocess } from "/page/preprocess.js";
import { Refused, Service } from "/page/service.js";
import { showHits, showSearch, showServed } from "/page/view.js";

const HITS = 12;
const FIRST = 12; // items of the gallery that are shown before anybody asks

const service = new Service();
const state = { model: null, network: null, items: null, picture: null, turn: 0 };
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
  at("promise").textContent =
    where() === "browser"
      ? `Your picture stays on this device; only ${numbers} are sent.`
      : "Your picture is sent to the server, and both vectors are compared.";
}

/** Everything that is needed before a picture can be searched with. */
async function start() {
  warn();
  const health = await service.health();
  state.items = health.items;
  state.model = await service.model();
  at("unlock").hidden = true;
  showServed(health, state.model);
  promise();
  const reason = whyNot();
  if (reason !== null) {
    warn(`${reason}, so it cannot embed. The server can: choose “on the server”, which sends the picture.`);
    document.querySelector("input[value=browser]").disabled = true;
    say("Waiting for you to choose.");
  } else {
    say("Loading the network …");
    await load();
    say("Ready.");
  }
  if (state.picture !== null) await run();
  else if (state.items) await showSome();
}

async function load() {
  const begin = performance.now();
  const file = await service.file(state.model.onnx);
  state.network = await loadNetwork(state.model, new Uint8Array(await file.arrayBuffer()));
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
  await showHits([...some.values()].slice(0, FIRST), "Some of the gallery", service, again);
}

async function nearestTo(vector) {
  return (await service.search(vector, state.model.space, 1)).body.hits;
}

function randomUnit(dim) {
  const vector = Float32Array.from({ length: dim }, () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}

/** Search with a file, or with the picture of an item. */
async function ask(file, name) {
  state.picture = { file, name };
  const picture = at("picture");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.alt = `Your picture, ${name}`;
  picture.hidden = false;
  at("drop").classList.add("full");
  await attempt(run);
}

const again = (blob, hit) => {
  scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  return ask(blob, hit.key);
};

/** Embed the present picture where it is wanted, and search with its vector. */
async function run() {
  const turn = ++state.turn; // who asks again while an answer is under way sees the later one only
  const { file, name } = state.picture;
  warn();
  say(`Searching with ${name} …`);
  const mine = state.network === null ? null : await embedHere(file).catch(refuse);
  const theirs = where() === "server" ? await service.embed(file) : null;
  if (turn !== state.turn || (mine === null && theirs === null)) return;
  const { vector, space } = theirs ?? mine;
  showSteps(file, mine, theirs);
  if (state.items === null) return say("This service has no gallery to search.");
  const found = await service.search(vector, space, HITS);
  if (turn !== state.turn) return;
  const pictures = await showHits(found.body.hits, "Nearest items", service, again);
  if (turn !== state.turn) return;
  showSearch(found, pictures, file, theirs);
  say(words(found.body.hits, theirs === null ? "in this browser" : "on the server"));
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
  const way = where() === "server" ? "So the vectors cannot be compared." : "JPEG, PNG and WebP are read everywhere; the server reads TIFF too.";
  warn(`${error.message} ${way}`);
  if (where() === "browser") say("Nothing was sent.");
  return null;
}

function showSteps(file, mine, theirs) {
  at("steps").hidden = false;
  const { input, dim } = state.model;
  const here = mine !== null && theirs === null;
  fill("prepare", mine ? duration(mine.prepareMs) : "", mine ? `${bytes(file.size)}, ${mine.width} × ${mine.height} pixels, become ${input.size} × ${input.size}: ${bytes(mine.pixels.length)}.` : "By the server.");
  const travelled = theirs && `Sent ${bytes(theirs.sent)}, received ${bytes(theirs.received)}; the server took ${duration(theirs.server)}.`;
  fill("embed", duration(here ? mine.embedMs : theirs.ms), here ? `${dim} numbers, in this browser. Nothing was sent.` : travelled);
  if (mine !== null) drawPixels(document.querySelector("#prepare canvas"), mine.pixels, input);
  drawVector(document.querySelector("#embed canvas"), (theirs ?? mine).vector);
  at("cosine").hidden = mine === null || theirs === null;
  if (mine !== null && theirs !== null) {
    at("cosine").textContent = `The cosine of the browser's vector and the server's: ${cosine(mine.vector, theirs.vector).toFixed(6)}`;
  }
}

function fill(id, time, text) {
  at(id).querySelector("strong").textContent = time;
  at(id).querySelector("p").textContent = text;
}

function cosine(one, other) {
  const dot = one.reduce((sum, value, place) => sum + value * other[place], 0);
  return dot / Math.hypot(...one) / Math.hypot(...other);
}

function words(hits, place) {
  if (!hits.length) return "No items were found.";
  const [best] = hits;
  return `${hits.length} items, embedded ${place}. The nearest: ${best.item.label ?? best.key}, score ${best.score.toFixed(3)}.`;
}

/** Do something, and say what kept it from being done. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
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
    take(event.dataTransfer.files);
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
