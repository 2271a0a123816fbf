// SPDX-License-Identifier: Apache-2.0
// Elements and texts. Whatever comes from outside is put in as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** An element with a class, a text and children. */
export function make(tag, name = "", text = null, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== null) element.textContent = String(text);
  element.append(...children);
  return element;
}

export function say(id, text) {
  const element = byId(id);
  const wanted = text === null || text === undefined ? "" : String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

export function fill(id, ...children) {
  byId(id).replaceChildren(...children);
}

/** A table of rows of texts; each cell a text, or an element. */
export function table(heads, rows) {
  const head = make("tr", "", null, ...heads.map((text) => make("th", "", text)));
  const body = rows.map((cells) =>
    make("tr", "", null, ...cells.map((cell) => (cell instanceof Node ? make("td", "", null, cell) : make("td", "", cell)))),
  );
  return make("table", "", null, make("thead", "", null, head), make("tbody", "", null, ...body));
}

// A sign beside each word, so that colour is never the only one.
const SIGNS = { good: "●", warn: "▲", bad: "■", quiet: "○" };

/** A word that says how well it is. */
export const tag = (kind, word) => make("span", `tag ${kind}`, `${SIGNS[kind]} ${word}`);

export function retag(id, kind, word) {
  const element = byId(id);
  element.className = `tag ${kind}`;
  say(id, `${SIGNS[kind]} ${word}`);
}

export const fixed = (value, digits = 2) => (typeof value === "number" ? value.toFixed(digits) : "–");

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

export function bytes(count) {
  return count >= 1e12 ? `${(count / 1e12).toFixed(2)} TB` : `${(count / 1e9).toFixed(1)} GB`;
}
