// What is shown of the service's answers.

import { bytes, drawPixels, drawVector, duration, sides } from "/page/draw.js";

export const SMALL = 96; // pixels; enlarged as they are, not blurred

/** What is behind the page, in a line. */
export function showServed(health, model) {
  const items = health.items === null ? "No gallery" : `${health.items.toLocaleString("en")} items`;
  const network = `${model.id}, ${model.params.toLocaleString("en")} parameters`;
  document.getElementById("served").textContent = `${items} · ${network} · space ${model.space}`;
}

/**
 * Show hits as buttons that search with them.
 *
 * @returns {Promise<{count: number, size: number}>} their pictures, once they are here, and the bytes of them.
 */
export async function showHits(hits, { title, scored }, service, choose) {
  const found = document.getElementById("found");
  found.hidden = false;
  const heading = found.querySelector("h2");
  heading.textContent = title;
  const list = found.querySelector("ol");
  const cards = hits.map((hit) => card(hit, scored));
  const held = list.contains(document.activeElement); // whoever chose an item goes on from here, not from the top
  list.replaceChildren(...cards);
  if (held) heading.focus({ preventScroll: true });
  const sizes = await Promise.all(hits.map((hit, place) => picture(cards[place], hit, service, choose)));
  return { count: sizes.filter((size) => size > 0).length, size: sizes.reduce((sum, size) => sum + size, 0) };
}

function card(hit, scored) {
  const button = make("button", { type: "button", disabled: true });
  const [label, score] = [nameOf(hit), hit.score.toFixed(4)];
  const named = label !== hit.key; // then the key tells more
  button.ariaLabel = [label, ...(scored ? [`score ${score}`] : []), ...(named ? [hit.key] : [])].join(", ");
  const parts = {
    ...(hit.image === null ? {} : { image: "" }),
    label,
    ...(scored ? { score } : {}),
    ...(named ? { key: hit.key } : {}),
  };
  button.title = hit.key; // a long one is cut off
  button.append(...Object.entries(parts).map(([className, textContent]) => make("span", { className, textContent })));
  const item = make("li");
  item.append(button);
  return item;
}

/** What people call an item. */
function nameOf(hit) {
  return String(hit.item.label || hit.key);
}

/** The picture of a hit into its card; the bytes of it, 0 where there is none to show. */
async function picture(item, hit, service, choose) {
  if (hit.image === null) return 0;
  const place = item.querySelector(".image");
  const blob = await service.file(hit.image).catch(() => null); // an item without its picture is still an item
  if (blob === null) {
    place.textContent = "no picture";
    return 0;
  }
  const image = make("img", { alt: "", src: URL.createObjectURL(blob) });
  const loaded = () => {
    URL.revokeObjectURL(image.src);
    image.classList.toggle("small", image.naturalWidth < SMALL);
  };
  for (const kind of ["load", "error"]) image.addEventListener(kind, loaded);
  place.append(image);
  const button = item.querySelector("button");
  button.disabled = false;
  button.ariaLabel += ": search with this item";
  button.addEventListener("click", () => choose(blob, hit));
  return blob.size;
}

/** What the picture became: pixels, where this browser read them, and the vector that is searched with. */
export function showSteps({ input, dim }, file, mine, theirs) {
  document.getElementById("steps").hidden = false;
  document.getElementById("search").hidden = true; // until it is done
  const [prepare, embed] = ["prepare", "embed"].map((id) => document.getElementById(id));
  prepare.hidden = mine === null;
  if (mine !== null) {
    const from = `${bytes(file.size)}, ${sides(mine.width, mine.height)} pixels,`;
    fill(prepare, mine.prepareMs, `${from} became ${sides(input.size, input.size)}: ${bytes(mine.pixels.length)}.`);
    drawPixels(prepare.querySelector("canvas"), mine.pixels, input);
  }
  if (theirs === null) fill(embed, mine.embedMs, `${dim} numbers, made in this browser. Nothing was sent.`);
  else {
    const travelled = `↑\u00a0${bytes(theirs.sent)}, ↓\u00a0${bytes(theirs.received)}`;
    fill(embed, theirs.ms, `${dim} numbers, made on the server in ${duration(theirs.server)}: ${travelled}.`);
  }
  drawVector(embed.querySelector("canvas"), (theirs ?? mine).vector);
  const both = document.getElementById("cosine");
  both.hidden = mine === null || theirs === null;
  if (both.hidden) return;
  const alike = cosine(mine.vector, theirs.vector).toFixed(6);
  const beside = `The browser took ${duration(mine.embedMs)}.`;
  both.textContent = `Cosine of the browser's and the server's vector: ${alike}. ${beside}`;
}

function fill(step, ms, text) {
  step.querySelector("strong").textContent = duration(ms);
  step.querySelector("p").textContent = text;
}

function cosine(one, other) {
  const dot = one.reduce((sum, value, place) => sum + value * other[place], 0);
  return dot / Math.hypot(...one) / Math.hypot(...other);
}

/** What was found, for who hears the page. */
export function words(hits, place) {
  if (!hits.length) return "No items were found.";
  const [best] = hits;
  return `${hits.length} items, embedded ${place}. The nearest: ${nameOf(best)}, score ${best.score.toFixed(4)}.`;
}

/** What the search took, and what it and the picture sent. */
export function showSearch(found, pictures, file, theirs) {
  const step = document.getElementById("search");
  step.hidden = false;
  const rows = [["↑ vector", found.sent], ["↓ hits", found.received]];
  if (pictures.count) rows.push([`↓ ${pictures.count} pictures`, pictures.size]);
  const list = step.querySelector("dl");
  list.replaceChildren();
  for (const [name, size] of rows) {
    list.append(make("dt", { textContent: name }), make("dd", { textContent: bytes(size) }));
  }
  const spared = theirs === null && file.size > 2 * found.sent;
  const instead = spared ? ` The picture would have been ${bytes(file.size)}.` : "";
  fill(step, found.ms, `The server took ${duration(found.server)} of it.${instead}`);
}

function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
