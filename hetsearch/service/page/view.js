// What is shown of the service's answers.

import { bytes, duration } from "/page/draw.js";

const SMALL = 96; // pixels; enlarged as they are, not blurred

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
export async function showHits(hits, title, service, choose) {
  const found = document.getElementById("found");
  found.hidden = false;
  found.querySelector("h2").textContent = title;
  const list = found.querySelector("ol");
  for (const image of list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  const scored = title !== "Some of the gallery";
  const cards = hits.map((hit) => card(hit, scored));
  list.replaceChildren(...cards);
  const sizes = await Promise.all(hits.map((hit, place) => picture(cards[place], hit, service, choose)));
  return { count: sizes.filter((size) => size > 0).length, size: sizes.reduce((sum, size) => sum + size, 0) };
}

function card(hit, scored) {
  const button = make("button", { type: "button", disabled: true });
  const label = hit.item.label ?? hit.key;
  button.setAttribute("aria-label", `${label}${scored ? `, score ${hit.score.toFixed(3)}` : ""}, ${hit.key}: search with this item`);
  button.append(make("span", { className: "image" }), make("span", { className: "label", textContent: label }));
  if (scored) {
    const score = make("span", { className: "score", textContent: hit.score.toFixed(3) });
    score.style.setProperty("--score", Math.max(0, hit.score));
    button.append(score);
  }
  button.append(make("span", { className: "key", textContent: hit.key, title: hit.key }));
  const item = make("li");
  item.append(button);
  return item;
}

/** The picture of a hit into its card; the bytes of it, 0 where there is none to show. */
async function picture(item, hit, service, choose) {
  if (hit.image === null) return 0;
  const blob = await service.file(hit.image).catch(() => null); // an item without its picture is still an item
  if (blob === null) return 0;
  const image = make("img", { alt: "", src: URL.createObjectURL(blob) });
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < SMALL));
  item.querySelector(".image").append(image);
  const button = item.querySelector("button");
  button.disabled = false;
  button.addEventListener("click", () => choose(blob, hit));
  return blob.size;
}

/** What the search took, and what it and the picture sent. */
export function showSearch(found, pictures, file, theirs) {
  const step = document.getElementById("search");
  step.querySelector("strong").textContent = duration(found.ms);
  const rows = [["vector", found.sent, "↑"], ["hits", found.received, "↓"]];
  if (pictures.count) rows.push([`${pictures.count} pictures`, pictures.size, "↓"]);
  const parts = rows.flatMap(([name, size, arrow]) => [
    make("dt", { textContent: `${arrow} ${name}` }),
    make("dd", { textContent: bytes(size) }),
  ]);
  step.querySelector("dl").replaceChildren(...parts);
  const instead = theirs === null && file.size > 2 * found.sent ? ` The picture would have been ${bytes(file.size)}.` : "";
  step.querySelector("p").textContent = `The server took ${duration(found.server)} of it.${instead}`;
}

function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}
