// What the page asks of the service, with the bytes and the time of each question.

/** An answer that is an error, or none. */
export class Refused extends Error {
  constructor(status, code, message, hint) {
    super(hint ? `${message}. ${hint}` : message);
    this.status = status;
    this.code = code;
  }
}

export class Service {
  #key = null; // in memory only

  /** The key that requests bring from now on. */
  unlock(key) {
    this.#key = key;
  }

  /** The encoder that answers. */
  async model() {
    const { body } = await this.#json("/v1/models");
    return body.data[0];
  }

  /** How the service is; never needs the key. */
  async health() {
    return (await this.#json("/health")).body;
  }

  /** A file of the service: the network, or the picture of an item. */
  async file(path) {
    return (await this.#ask(path, {})).blob().catch(gone);
  }

  /** The vector of a picture, made on the server. */
  async embed(picture) {
    const form = new FormData();
    form.append("input", picture, "picture");
    const asked = await this.#json("/v1/embeddings", await packed(form));
    return { ...asked, vector: Float32Array.from(asked.body.data[0].embedding), space: asked.body.space };
  }

  /** The nearest items of a vector, which goes with its space or not at all. */
  async search(vector, space, k) {
    // Nine digits are enough to have each float32 back as it was.
    const numbers = Array.from(vector, (value) => Number(value.toPrecision(9)));
    const body = JSON.stringify({ vector: numbers, space, k });
    return this.#json("/v1/search", { body, headers: { "Content-Type": "application/json" } });
  }

  async #json(path, given = null) {
    const begin = performance.now();
    const answer = await this.#ask(path, given === null ? {} : { method: "POST", ...given });
    const text = await answer.text().catch(gone);
    const ms = performance.now() - begin;
    const sent = given === null ? 0 : new Blob([given.body]).size;
    return { body: parsed(text), sent, received: new Blob([text]).size, ms, server: steps(answer) };
  }

  async #ask(path, given) {
    const headers = { ...given.headers, ...(this.#key === null ? {} : { Authorization: `Bearer ${this.#key}` }) };
    const answer = await fetch(path, { ...given, headers }).catch(gone);
    if (!answer.ok) throw await refused(answer);
    return answer;
  }
}

/** A form as the bytes that will be sent, so that they can be counted. */
async function packed(form) {
  const whole = new Response(form);
  const type = whole.headers.get("content-type");
  return { body: await whole.arrayBuffer(), headers: { "Content-Type": type } };
}

/** The milliseconds that the server itself took. */
function steps(answer) {
  const told = answer.headers.get("server-timing") ?? "";
  return [...told.matchAll(/dur=([\d.]+)/g)].reduce((sum, [, ms]) => sum + Number(ms), 0);
}

function gone() {
  throw new Refused(0, "no_answer", "The service does not answer", "Is it still running?");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(0, "strange", "Something else than the service has answered", "Is there a proxy before it?");
  }
}

async function refused(answer) {
  const document_ = await answer.json().catch(() => null); // a proxy's refusal is no JSON
  const error = document_?.error ?? {};
  return new Refused(answer.status, error.code, sentence(error.message ?? `Refused with ${answer.status}`), error.hint);
}

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1);
}
