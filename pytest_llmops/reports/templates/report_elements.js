/** @import { Child } from "./report_types.js" */

// Elements of the page. Everything that a model, a judge or a document wrote is set as text, never as markup.

/**
 * Return an element; strings become text.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | ((event: any) => void) | null | undefined>} [attributes]
 *   A function is a listener, true an attribute without a value; null, undefined and false are left out.
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Text of others, in its own direction of writing. @param {string} text @param {string} [style] */
export const bdi = (text, style) => h("bdi", { class: style }, text);

/** The shape means the same as the colour. @type {Record<string, string>} */
const ICONS = {
  check: "M3 8.5l3.5 3.5L13 4.5",
  cross: "M4 4l8 8M12 4l-8 8",
  mark: "M8 3v6M8 12.9v.1",
  question: "M5 6a3 3 0 1 1 4.2 2.7C8.3 9.2 8 9.7 8 10.5M8 13.4v.1",
  down: "M8 3v10M4 9l4 4 4-4",
  up: "M8 13V3M4 7l4-4 4 4",
  line: "M3 8h10",
  dot: "M6 8a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
};
/** By kind, outcome, word of a verdict, or status of a score. @type {Record<string, string>} */
const SIGNS = {
  RED: "cross", AMBER: "question", GREEN: "check", ERROR: "mark", FAIL: "cross", PASS: "check", NONE: "line",
  failed: "cross", "no score": "mark", "no recording": "mark", error: "mark", errored: "mark", worse: "down", better: "up",
  passed: "check", unchanged: "check", skipped: "line", xfailed: "line", xpassed: "question", undecided: "question",
  "no drop of 5 or more": "check", equal: "check", holds: "check", broken: "cross", "not proved": "question",
};
/** The colour of a kind, an outcome, or the status of a score; others have the colour of the text. @type {Record<string, string>} */
const TONES = {
  failed: "red", worse: "red", "no score": "violet", "no recording": "violet", error: "violet", errored: "violet", better: "green",
  xpassed: "amber", review: "amber",
};

/** @param {string} kind */
export const toneOf = (kind) => TONES[kind] || "plain";

/** @param {string} kind  a key of `SIGNS`; others are a dot */
export function icon(kind) {
  const path = svg("path", { d: ICONS[SIGNS[kind] || "dot"] });
  return svg("svg", { class: "i", viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}

/** A word with its sign and colour. @param {string} word @param {string} [tone] */
export const sayWord = (word, tone) => h("span", { class: `word ${tone || toneOf(word)}` }, icon(word), word);

/** A button with a text. @param {string} title @param {() => void} click */
export const button = (title, click) => h("button", { type: "button", class: "small", click }, title);

/** A sentence: the first letter is large, and there is a full stop. @param {string} text */
export function sentence(text) {
  const full = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:…]["”')]?$/.test(full) ? full : `${full}.`;
}

/**
 * @param {Child[]} head
 * @param {Child[][]} rows
 * @param {string} [caption]
 * @param {string[]} [styles]  of each column: "n" is a number, "opt" is left out on a phone
 */
export function buildTable(head, rows, caption, styles = []) {
  const cell = (/** @type {Child} */ content, /** @type {number} */ place) => (
    place ? h("td", { class: styles[place] }, content) : h("th", { scope: "row", class: styles[0] }, content)
  );
  const heads = head.map((content, place) => (content ? h("th", { scope: "col", class: styles[place] }, content) : h("td", { class: styles[place] })));
  const table = h(
    "table", {}, caption && h("caption", {}, caption), head.length ? h("thead", {}, h("tr", {}, ...heads)) : null,
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map(cell)))),
  );
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || String(head[0] || "table") }, table);
}

/** @param {number} count @param {string} noun */
export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
