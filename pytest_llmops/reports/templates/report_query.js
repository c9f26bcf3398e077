/** @import { Case, Page } from "./report_types.js" */

// The search: words, states, tags and numbers that cases must have.

/** Words for the state of a test in a query, and the states they stand for. @type {Record<string, string[]>} */
export const STATES = {
  bad: ["failed", "errored", "worse"],
  regressed: ["worse"],
  improved: ["better"],
  pass: ["passed"],
  fail: ["failed"],
};
const KNOWN_STATES = [
  "passed", "failed", "errored", "skipped", "xfailed", "xpassed", "no-recording", "no-score", "error", "worse", "better", "edited",
  "changed", "unchanged", "new", "not-comparable", "review",
];
export const FIELDS = /** @type {const} */ (["cost", "latency", "tokens"]);
const TERM = /(-?)(?:"([^"]*)"?|(\S+))/g;
const COMPARISON = /^([^<>=\s]+)(<=|>=|<|>|=)(.*)$/;

/** The kind of a case as a word of a query. @param {string} kind */
export const stateOf = (kind) => kind.replaceAll(" ", "-");

/** @param {Case} one */
export function statesOf(one) {
  const states = [stateOf(one.kind), one.outcome];
  if (one.review) states.push("review");
  return states;
}

/** @param {number} value @param {string} sign @param {number} limit */
function compare(value, sign, limit) {
  if (sign === "<") return value < limit;
  if (sign === ">") return value > limit;
  if (sign === "<=") return value <= limit;
  return sign === ">=" ? value >= limit : Math.abs(value - limit) < 1e-9;
}

/** @param {Case} one @param {string} name @returns {number[]} */
function numbersOf(one, name) {
  const field = FIELDS.find((known) => known === name);
  const value = field && one[field];
  if (field) return value === undefined ? [] : [value];
  return (one.scores || []).flatMap((score) => {
    const full = score.name.split(" [")[0].toLowerCase();
    return score.number !== undefined && (full === name || full.endsWith(`.${name}`)) ? [score.number] : [];
  });
}

/**
 * Read `s:failed @tag metric<0.5 text -text "two words"`; all terms must hold.
 * @param {string} text
 * @param {Page} page
 * @param {(place: number) => string} contentOf  all text of a case in lower case
 * @returns {{ fits: (place: number) => boolean, states: string[], problem: string }}
 */
export function parseQuery(text, page, contentOf) {
  /** @type {((place: number) => boolean)[]} */
  const tests = [];
  /** @type {string[]} */
  const states = [];
  let problem = "";
  for (const [, minus, quoted, plain] of text.matchAll(TERM)) {
    const word = (quoted ?? plain).toLowerCase();
    if (!word || word === "-") continue;
    const test = quoted === undefined ? parseTerm(word) : null;
    const content = (/** @type {number} */ place) => contentOf(place).includes(word);
    const fits = test || content;
    tests.push(minus ? (place) => !fits(place) : fits);
  }

  /** @param {string} word @returns {((place: number) => boolean) | null} */
  function parseTerm(word) {
    if (word.startsWith("s:")) {
      const wanted = word.slice(2).split(",").filter(Boolean).flatMap((name) => STATES[name] || [name]);
      states.push(...wanted);
      const unknown = wanted.find((name) => !KNOWN_STATES.includes(name));
      if (unknown) problem = `no state "${unknown}": expected ${KNOWN_STATES.join(", ")}`;
      return (place) => !wanted.length || statesOf(page.cases[place]).some((state) => wanted.includes(state));
    }
    if (word.length > 1 && word.startsWith("@")) {
      return (place) => (page.cases[place].tags || []).some((tag) => tag.toLowerCase() === word.slice(1));
    }
    const [, name, sign, number] = word.match(COMPARISON) || [];
    if (!name) return null;
    const limit = Number(number);
    if (!number || Number.isNaN(limit)) {
      problem = `${name}${sign}: expected a number after ${sign}, got ${number ? `"${number}"` : "nothing"}; "${word}" is searched as text`;
      return null;
    }
    if (!page.cases.some((one) => numbersOf(one, name).length)) problem = `no test has a value of "${name}"`;
    return (place) => numbersOf(page.cases[place], name).some((value) => compare(value, sign, limit));
  }
  return { fits: (place) => tests.every((test) => test(place)), states, problem };
}
