// The OpenAPI document for people: each path with what it does, an example to send, and how it may refuse.
"use strict";

function element(name, text, children = []) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/** A docstring's text, in which what stands between two pairs of backticks is code. */
function prose(text) {
  const parts = text.split("``").map((part, place) => (place % 2 ? element("code", part) : part));
  return element("p", "", parts);
}

function curl(method, path, operation) {
  const line = `curl ${location.origin}${path}`;
  const json = operation.requestBody?.content["application/json"];
  if (!json) return [method === "get" ? line : `${line} -X ${method.toUpperCase()}`];
  const examples = Object.values(json.examples ?? {}).map((example) => example.value);
  return examples.map((value) => `${line} --json '${JSON.stringify(value)}'`);
}

function section(method, path, operation) {
  const refusals = Object.entries(operation.responses).filter(([status]) => status !== "200");
  const list = refusals.map(([status, answer]) => element("li", `${status}: ${answer.description}`));
  return element("section", "", [
    element("h2", `${method.toUpperCase()} ${path}`),
    prose(operation.description),
    ...curl(method, path, operation).map((line) => element("pre", line)),
    element("details", "", [element("summary", "Refusals"), element("ul", "", list)]),
  ]);
}

async function show() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`refused with ${answer.status}`);
  const document_ = await answer.json();
  document.getElementById("about").textContent = document_.info.description;
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      document.getElementById("paths").append(section(method, path, operation));
    }
  }
}

show().catch((error) => {
  document.getElementById("about").textContent = `The OpenAPI document cannot be read: ${error.message}.`;
});
