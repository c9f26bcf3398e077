// The page of an HTML report. Its data is compressed JSON in the element #data; `build_page` in html.py writes it and says
// what is in it. Everything that a model, a judge or a document wrote is set as text, never as markup, and nothing is loaded.

/**
 * @typedef {string | [string, number]} StoredText  a text, or a text that was cut with the number of characters left out
 * @typedef {[label: string, place: number]} LabelledText  the place is one in `Page.texts`
 * @typedef {{ score: string, name: string, dimensions?: [string, string][], votes?: string, raw?: number, calibration: string }} Judge
 * @typedef {[rank: string, id: string, place: number | null, relevant: boolean | null]} Passage
 * @typedef {[threshold: number | null, hitRate: number | null, falseHits: number | null, saving: number | null]} SweepRow
 * @typedef {{ name: string, value: string, number?: number, threshold?: string, status: string, reason?: string, version?: string,
 *   samples?: string, doubt?: string, bar?: number, tick?: number, evidence?: LabelledText[], judge?: Judge, passages?: Passage[],
 *   sweep?: SweepRow[], picture?: Picture, more?: number }} Score
 * @typedef {{ x?: unknown, y?: unknown, points?: unknown, diagonal?: unknown }} Picture  of a run file, so nothing is sure
 * @typedef {{ label: string, kind: string, why: string, address?: string }} Media  without an address, `why` it is not shown
 * @typedef {{ title: string, purpose: string, facts: string[], parts: [label: string, place: number, media?: number[]][], tools: string }} Call
 * @typedef {{ kind: string, what?: string, why?: string, scores?: [name: string, before: string, after: string, moved: string][],
 *   before?: number, after?: number }} Change
 * @typedef {{ id: string, file: string, name: string, outcome: string, headline?: string, blame?: string, review?: string,
 *   version?: string, model?: string, tags?: string[], cost?: number, tokens?: number, latency?: number, used?: string,
 *   message?: number, texts?: LabelledText[], scores?: Score[], calls?: Call[], facts?: [string, string][], more?: number,
 *   rerun: string, change?: Change, same?: string, media?: Record<string, number[]> }} Case
 * @typedef {{ name: string, version: string, doubt: string, n: string, values: string[], threshold: string, failed: number,
 *   errored: number, recorded: number, bins: number[], missed: number[], line: number | null }} Metric
 * @typedef {[place: number, scores: [value: string, status: string, moved: string][]]} Cell
 * @typedef {[name: string, differs: boolean, cells: Cell[][]]} Row
 * @typedef {{ label: string, passed: [number, number], facts: string[], means: string[] }} Column
 * @typedef {{ axis: string, test: string, prompt: string, metrics: string[], columns: Column[], rows: Row[] }} Matrix
 * @typedef {{ head: string[], rows: string[][], tests?: string }} Table
 * @typedef {{ style: string, status: string, sentence: string, about: string[], removed: string[], gone: number, unchanged: number,
 *   metrics: string[][] }} Gate
 * @typedef {{ id: string, case: string, test: string, judge: string, version: string, score: string, confidence: string,
 *   reason: string }} Review
 * @typedef {{ when: string, commit: string, verdict: [string, string], bad: [id: string, name: string][], rest: number,
 *   sides: Record<string, Record<string, [number: number, text: string, version: string]>> }} StoredRun
 * @typedef {{ verdict: [string, string, string], ran: string[], gates: Gate[], missed: [string, string[]] | null, outcomes: [string, string, number][],
 *   figures: [string, string, string][], notes: string[], metrics: Metric[], matrices: Matrix[], candidates: Table[],
 *   review: Review[], calls: string[][], run: [string, [string, string][]][], history: StoredRun[], cases: Case[], texts: StoredText[], media: Media[] }} Page
 * @typedef {{ kind: "same" | "old" | "new", text: string }} Edit
 * @typedef {Node | string | null | undefined | false} Child
 */

// ---------------------------------------------------------------------------------------------------------- elements

/**
 * Return an element; strings become text.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | ((event: any) => void) | null | undefined>} [attributes]
 *   A function is a listener, true an attribute without a value; null, undefined and false are left out.
 * @param {...Child} children
 * @returns {HTMLElement}
 */
function h(tag, attributes = {}, ...children) {
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
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Text of others, in its own direction of writing. @param {string} text @param {string} [style] */
const bdi = (text, style) => h("bdi", { class: style }, text);

/** The shape says the same as the colour. @type {Record<string, string>} */
const ICONS = {
  passed: "M3 8.5 6.5 12 13 4.5",
  failed: "M3.5 3.5l9 9m0-9-9 9",
  errored: "M8 2 14.5 13.5h-13zM8 6.5v3m0 1.2v1.2",
  worse: "M8 3v9.5M3.5 8.2 8 12.7l4.5-4.5",
  better: "M8 13V3.5M3.5 7.8 8 3.3l4.5 4.5",
  xpassed: "M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5 8.2l2.2 2.2L11 5.8",
  xfailed: "M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5.6 5.6l4.8 4.8m0-4.8-4.8 4.8",
  skipped: "M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5 8h6",
};

/** @param {string} kind */
function icon(kind) {
  const path = svg("path", { d: ICONS[kind] || "M5 8a3 3 0 1 0 6 0a3 3 0 1 0-6 0", fill: "none", stroke: "currentColor", "stroke-width": 1.9 });
  return svg("svg", { class: "i", width: 14, height: 14, viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}

/** @param {string[]} head @param {Child[][]} rows @param {string} [caption] */
function buildTable(head, rows, caption) {
  const cells = (/** @type {Child[]} */ row) => row.map((cell, place) => (place ? h("td", {}, cell) : h("th", { scope: "row" }, cell)));
  const table = h(
    "table", {}, caption && h("caption", {}, caption),
    head.length ? h("thead", {}, h("tr", {}, ...head.map((cell) => h("th", { scope: "col" }, cell)))) : null,
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...cells(row)))),
  );
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption || head[0] || "table" }, table);
}

/** @param {number} count @param {string} noun */
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// -------------------------------------------------------------------------------------------------------- differences

const MAX_WORDS = 1500; // of each text, after what is the same at both ends: the comparison is quadratic

/**
 * A picture of points, each `[x, y]` or `[x, y, how many it stands for]` with x and y from 0 to 1; with `diagonal`, where both are equal.
 * @param {Picture} picture
 * @returns {Child}
 */
function showPicture(picture) {
  const points = (Array.isArray(picture.points) ? picture.points : []).map((point) => (Array.isArray(point) ? point : []).map(Number))
    .filter(([x, y]) => x >= 0 && x <= 1 && y >= 0 && y <= 1).slice(0, 500);
  if (!points.length) return null;
  const most = Math.max(...points.map(([, , count]) => count || 1));
  const dots = points.map(([x, y, count]) => {
    const title = svg("title");
    title.textContent = `${picture.x} ${x.toFixed(2)}, ${picture.y} ${y.toFixed(2)}${count ? `, ${count.toLocaleString("en")} of them` : ""}`;
    return svg("circle", { cx: 10 + x * 160, cy: 130 - y * 120, r: 2 + 4 * Math.sqrt((count || 1) / most) }, title);
  });
  const label = `${picture.y} (upwards) by ${picture.x}, both from 0 to 1`;
  const axes = svg("path", { class: "course", d: `M10 10v120h160${picture.diagonal ? "M10 130L170 10" : ""}` });
  return h("figure", { class: "picture" }, svg("svg", { viewBox: "0 0 180 140", role: "img", "aria-label": label }, axes, ...dots), h("figcaption", {}, bdi(label)));
}

/**
 * Return the pieces of two texts word by word, with as few of them as can be read.
 * @param {string} before
 * @param {string} after
 * @returns {Edit[]}
 */
function diffWords(before, after) {
  const words = /[\p{L}\p{N}_]+\s*|[^\p{L}\p{N}_\s]\s*|\s+/gu;
  const old = before.match(words) || [];
  const now = after.match(words) || [];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old[old.length - 1 - end] === now[now.length - 1 - end]) end += 1;
  const [a, b] = [old.slice(start, old.length - end), now.slice(start, now.length - end)];
  /** @type {Edit[]} */
  const edits = [{ kind: "same", text: now.slice(0, start).join("") }];
  if (Math.max(a.length, b.length) > MAX_WORDS) edits.push({ kind: "old", text: a.join("") }, { kind: "new", text: b.join("") });
  else edits.push(...alignWords(a, b));
  edits.push({ kind: "same", text: now.slice(now.length - end).join("") });
  return joinEdits(edits);
}

/** The longest common subsequence of two lists of words. @param {string[]} a @param {string[]} b @returns {Edit[]} */
function alignWords(a, b) {
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const place = i * width + j;
      longest[place] = a[i] === b[j] ? longest[place + width + 1] + 1 : Math.max(longest[place + width], longest[place + 1]);
    }
  }
  /** @type {Edit[]} */
  const edits = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      edits.push({ kind: "same", text: b[j] });
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      edits.push({ kind: "old", text: a[i] });
      i += 1;
    } else {
      edits.push({ kind: "new", text: b[j] });
      j += 1;
    }
  }
  return edits;
}

/** One old and one new piece between two that are the same; a lone small word is none. @param {Edit[]} edits @returns {Edit[]} */
function joinEdits(edits) {
  /** @type {{ same: string, old: string, new: string }[]} */
  const runs = [{ same: "", old: "", new: "" }];
  for (const { kind, text } of edits) {
    const last = runs[runs.length - 1];
    if (!text) continue;
    if (kind !== "same") last[kind] += text;
    else if (last.old || last.new) runs.push({ same: text, old: "", new: "" });
    else last.same += text;
  }
  /** @type {Edit[]} */
  const joined = [];
  let [old, now] = ["", ""];
  const flush = () => {
    if (old) joined.push({ kind: "old", text: old });
    if (now) joined.push({ kind: "new", text: now });
    [old, now] = ["", ""];
  };
  for (const run of runs) {
    const isSmall = (old || now) && (run.old || run.new) && run.same.trim().length < 4;
    if (isSmall) {
      old += run.same;
      now += run.same;
    } else {
      flush();
      if (run.same) joined.push({ kind: "same", text: run.same });
    }
    old += run.old;
    now += run.new;
  }
  flush();
  return joined;
}

/** @param {Edit[]} edits @returns {Child[]} */
function showEdits(edits) {
  return edits.map(({ kind, text }) => (kind === "same" ? text : h(kind === "old" ? "del" : "ins", {}, text)));
}

// -------------------------------------------------------------------------------------------------------------- query

/** Words for the state of a test in a query, and the states they stand for. @type {Record<string, string[]>} */
const STATES = {
  bad: ["failed", "errored", "worse"],
  error: ["errored"],
  regressed: ["worse"],
  improved: ["better"],
  pass: ["passed"],
  fail: ["failed"],
};
const KNOWN_STATES = ["passed", "failed", "errored", "skipped", "xfailed", "xpassed", "worse", "better", "other", "new", "changed", "review"];
const FIELDS = /** @type {const} */ (["cost", "latency", "tokens"]);
const TERM = /(-?)(?:"([^"]*)"?|(\S+))/g;
const COMPARISON = /^([^<>=\s]+)(<=|>=|<|>|=)(.*)$/;

/** @param {Case} one */
function statesOf(one) {
  const states = [one.outcome];
  if (one.change) states.push(one.change.kind);
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
function parseQuery(text, page, contentOf) {
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

// ------------------------------------------------------------------------------------------------------- virtual list

/** A list that holds only the rows that can be seen; each row has a key, and keeps its height. */
class VirtualList {
  /**
   * @param {HTMLElement} root  the list; its rows are children of it
   * @param {HTMLElement | null} scroller  null: the window scrolls
   * @param {(key: number, place: number, count: number) => HTMLElement} draw
   * @param {(key: number) => number} guess  height of a row that was not drawn yet
   * @param {() => number} [inset]  height that is covered at the top of the window
   */
  constructor(root, scroller, draw, guess, inset = () => 0) {
    this.root = root;
    this.scroller = scroller;
    this.draw = draw;
    this.guess = guess;
    this.inset = inset;
    /** @type {number[]} */
    this.keys = [];
    /** @type {Map<number, HTMLElement>} */
    this.nodes = new Map();
    /** By key: what was measured, else what was guessed. @type {(number | undefined)[]} */
    this.heights = [];
    this.offsets = new Float64Array(1);
    this.all = false;
    this.before = h("div", { "aria-hidden": "true", role: "presentation" });
    this.after = h("div", { "aria-hidden": "true", role: "presentation" });
    root.replaceChildren(this.before, this.after);
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        if (root.isConnected) this.render();
      });
    };
    this.stop = new AbortController();
    (scroller || window).addEventListener("scroll", later, { passive: true, signal: this.stop.signal });
    window.addEventListener("resize", () => { this.heights = []; later(); }, { signal: this.stop.signal });
  }

  /** @param {number[]} keys */
  setKeys(keys) {
    this.keys = keys;
    for (const node of this.nodes.values()) node.remove();
    this.nodes.clear();
    this.render();
  }

  /** Draw a row again, if it can be seen. @param {number} key */
  redraw(key) {
    const node = this.nodes.get(key);
    this.heights[key] = undefined;
    if (node) {
      const place = this.keys.indexOf(key);
      const fresh = this.draw(key, place, this.keys.length);
      node.replaceWith(fresh);
      this.nodes.set(key, fresh);
    }
    this.render();
  }

  measure() {
    if (this.offsets.length !== this.keys.length + 1) this.offsets = new Float64Array(this.keys.length + 1);
    let sum = 0;
    for (let place = 0; place < this.keys.length; place += 1) {
      sum += this.heightOf(this.keys[place]);
      this.offsets[place + 1] = sum;
    }
  }

  /** @param {number} key */
  heightOf(key) {
    const height = this.heights[key] ?? this.guess(key);
    this.heights[key] = height;
    return height;
  }

  /** The row at a height, by its place. @param {number} y */
  find(y) {
    let [low, high] = [0, this.keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How far the list is scrolled, and how much of it can be seen. */
  view() {
    const top = this.root.getBoundingClientRect().top;
    return this.scroller
      ? { top: this.scroller.getBoundingClientRect().top - top, height: this.scroller.clientHeight }
      : { top: -top, height: window.innerHeight };
  }

  /** @param {number} by */
  scrollBy(by) {
    if (Math.abs(by) >= 1) (this.scroller || window).scrollBy({ top: by, behavior: "instant" });
  }

  render() {
    for (let round = 0; round < 4; round += 1) {
      this.measure();
      const { top, height } = this.view();
      const margin = this.all ? Infinity : 250;
      const first = this.find(Math.max(top - margin, 0));
      const last = Math.min(this.all ? this.keys.length : this.find(top + height + margin) + 1, this.keys.length);
      const anchor = Math.min(this.find(Math.max(top, 0)), this.keys.length - 1);
      const at = this.offsets[Math.max(anchor, 0)];
      this.place(first, last);
      if (!this.remember(first, last)) return;
      this.measure();
      if (top > 0 && anchor >= 0) this.scrollBy(this.offsets[anchor] - at);
    }
  }

  /** Put the rows from first to last into the list, and no others. @param {number} first @param {number} last */
  place(first, last) {
    const wanted = new Set(this.keys.slice(first, last));
    for (const [key, node] of this.nodes) {
      if (!wanted.has(key)) {
        node.remove();
        this.nodes.delete(key);
      }
    }
    let previous = this.before;
    for (let place = first; place < last; place += 1) {
      const key = this.keys[place];
      const node = this.nodes.get(key) || this.draw(key, place, this.keys.length);
      this.nodes.set(key, node);
      if (previous.nextSibling !== node) previous.after(node);
      previous = node;
    }
    this.before.style.height = `${this.offsets[first] || 0}px`;
    this.after.style.height = `${Math.max(this.offsets[this.keys.length] - this.offsets[Math.max(last, 0)], 0)}px`;
  }

  /** Keep the heights of what is drawn; true if one is not what was thought. @param {number} first @param {number} last */
  remember(first, last) {
    let changed = false;
    for (const key of this.keys.slice(first, last)) {
      const height = this.nodes.get(key)?.getBoundingClientRect().height ?? 0;
      if (height && Math.abs(height - this.heightOf(key)) > 0.5) changed = true;
      if (height) this.heights[key] = height;
    }
    return changed;
  }

  /** Scroll a row into view, to the top if it is not in view. @param {number} key @param {boolean} [always] */
  reveal(key, always = false) {
    const place = this.keys.indexOf(key);
    if (place < 0) return;
    for (let round = 0; round < 4; round += 1) {
      this.measure();
      const { top, height } = this.view();
      const above = top + this.inset();
      const [from, to] = [this.offsets[place], this.offsets[place + 1]];
      if (!always && from >= above && to <= top + height) return;
      this.scrollBy(from - above);
      this.render();
    }
  }
}

// ---------------------------------------------------------------------------------------------------------- the page

const STATE_WORDS = /** @type {Record<string, string>} */ ({ review: "to review" });
const SCORE_WORDS = /** @type {Record<string, string>} */ ({ errored: "not scored", recorded: "recorded" });
const KEYS = [
  ["j / k", "next, previous test"],
  ["] / [", "next, previous test that failed, was not scored or got worse"],
  ["Enter", "open or close the test"],
  ["d", "output: difference, now, before"],
  ["/", "search"],
  ["c", "copy the test as Markdown"],
  ["r", "copy the command that runs it again"],
  ["y", "copy a link to it"],
  ["1 to 7", "the tabs"],
  ["Esc", "leave the search, close this"],
];
const QUERY_HELP = [
  ["late fee", "tests with both words, in any text of theirs; \"late fee\" in quotes: side by side"],
  ["s:failed", "by state: failed, errored, passed, skipped, worse, better, new, review, bad; several as s:failed,worse"],
  ["@billing", "with this tag"],
  ["quality<5", "by a metric, on its own scale; also cost>0.01, latency>2, tokens>500"],
  ["-word", "without it; before any of these"],
];
const MAX_EVIDENCE = 3; // lines above the texts of a case; its measurements have all
const MAX_PRINTED = 500;
const DIFF_MODES = ["difference", "now", "before"];

/**
 * Details of a test below its texts: title, with a count if it holds several; what it shows.
 * A new kind of detail (trajectories, guardrails) is an entry here and a key of the test's view.
 * @type {{ title: string, count: (one: Case) => number, show: (report: Report, one: Case) => Child[] }[]}
 */
const SECTIONS = [
  { title: "Measurements", count: (one) => one.scores?.length || 0, show: (report, one) => [report.showScores(one.scores || [])] },
  {
    title: "Passages",
    count: (one) => (one.scores || []).reduce((most, score) => Math.max(most, score.passages?.length || 0), 0),
    show: (report, one) => report.showPassages(one),
  },
  { title: "Threshold sweep", count: (one) => (one.scores || []).filter((score) => score.sweep).length, show: (report, one) => report.showSweeps(one) },
  { title: "Judge", count: (one) => (one.scores || []).filter((score) => score.judge).length, show: (report, one) => report.showJudges(one) },
  { title: "Calls", count: (one) => one.calls?.length || 0, show: (report, one) => (one.calls || []).map((call) => report.showCall(call)) },
  { title: "Failure text", count: (one) => (one.message === undefined ? 0 : 1), show: (report, one) => [report.showText(one.message ?? 0)] },
  { title: "Origin", count: () => 1, show: (report, one) => report.showOrigin(one) },
];

class Report {
  /** @param {Page} page @param {HTMLElement} root */
  constructor(page, root) {
    this.page = page;
    this.root = root;
    this.query = "";
    this.sort = "";
    this.tab = "";
    this.current = -1;
    this.timer = 0;
    /** @type {Map<number, boolean>} */
    this.opened = new Map();
    /** @type {Map<string, boolean>} */
    this.sections = new Map();
    this.mode = DIFF_MODES[0];
    /** @type {(string | undefined)[]} */
    this.contents = [];
    /** @type {number[]} */
    this.shown = [];
    /** The tests, while they are shown. @type {VirtualList | null} */
    this.list = null;
    /** All lists of the tab. @type {VirtualList[]} */
    this.lists = [];
    this.places = new Map(page.cases.map((one, place) => [one.id, place]));
    this.status = h("span", { class: "status", role: "status", "aria-live": "polite" });
    this.panel = h("div", { role: "tabpanel", id: "panel", "aria-labelledby": "tab-tests", tabindex: -1 });
    this.help = this.buildHelp();
    this.tabs = this.buildTabs();
    this.tabRow = h("div", { role: "tablist", class: "tabs", "aria-label": "Parts of the report", keydown: (event) => this.moveTab(event) });
    root.replaceChildren(this.buildHeader(), h("main", {}, this.tabRow, this.panel), this.buildFooter(), this.help);
  }

  // ------------------------------------------------------------------------------------------------------ first screen

  buildHeader() {
    const { verdict, ran, gates, missed, figures, notes } = this.page;
    return h(
      "header", {},
      h("div", { class: "top" }, h("h1", {}, "LLM regression report"), h("span", {}, bdi(ran.join(" · ")))),
      h("p", { class: "verdict" }, h("b", { class: verdict[1] }, icon(verdict[1]), ` ${verdict[0]}`), " ", h("span", {}, verdict[2])),
      ...gates.flatMap((gate) => this.buildGate(gate)),
      missed && h("p", { class: "failed" }, missed[0]),
      ...(missed ? missed[1] : []).map((command) => h(
        "p", { class: "record" }, h("code", {}, command), " ", h("button", { type: "button", class: "small", click: () => this.copy(command, "the command") }, "copy command"),
      )),
      figures.length > 0 && h(
        "dl", { class: "figures" },
        ...figures.map(([name, text, style]) => h("div", {}, h("dt", {}, name), h("dd", { class: style }, bdi(text)))),
      ),
      notes.length > 0 && h(
        "details", { class: "notes" }, h("summary", {}, counted(notes.length, "note")),
        h("ul", {}, ...notes.map((note) => h("li", {}, bdi(note)))),
      ),
    );
  }

  /** @param {Gate} gate @returns {Child[]} */
  buildGate(gate) {
    const label = ["NONE", this.page.verdict[0]].includes(gate.status) ? null : h("b", { class: gate.style }, gate.status);
    return [
      h("p", { class: "gate" }, label, label && " ", bdi(gate.sentence)),
      h("p", {}, this.describeChanges(gate)),
      gate.about.length > 0 && h("p", { class: "power" }, bdi(gate.about.join(" · "))),
    ];
  }

  /** @param {Gate} gate */
  describeChanges(gate) {
    const kinds = ["worse", "better", "changed", "other", "new"].map((kind) => [kind, this.page.cases.filter((one) => one.change?.kind === kind).length]);
    const parts = [...kinds, ["removed", gate.gone], ["unchanged", gate.unchanged]].filter(([kind, n]) => n || kind === "worse");
    return `Since the baseline: ${parts.map(([kind, n]) => `${n} ${kind}`).join(", ")}.`;
  }

  buildFooter() {
    return h(
      "footer", {},
      h("p", {}, "Costs that nobody knows are left out, never counted as zero. Latencies are those of the real calls, also when they are replayed."),
      h("p", {}, h("button", { type: "button", class: "link", click: () => this.help.showModal() }, "Keys and search"), " ( ? )"),
    );
  }

  /** @returns {HTMLDialogElement} */
  buildHelp() {
    const rows = (/** @type {string[][]} */ list) => list.map(([key, text]) => [h("kbd", {}, key), text]);
    return /** @type {HTMLDialogElement} */ (h(
      "dialog", { "aria-label": "Keys and search" },
      buildTable([], rows(KEYS), "Keys"), buildTable([], rows(QUERY_HELP), "Search"),
      h("p", {}, h("button", { type: "button", click: () => this.help.close() }, "close")),
    ));
  }

  /** The tabs that have something to show: name, title, count, what builds it. */
  buildTabs() {
    const { page } = this;
    const matrices = (/** @type {string} */ axis) => page.matrices.filter((matrix) => matrix.axis === axis);
    const sides = (/** @type {Matrix[]} */ list) => new Set(list.flatMap(({ axis, prompt, columns }) => columns.map(({ label }) => `${axis === "prompt" ? prompt : ""} ${label}`))).size;
    const [prompts, models] = [matrices("prompt"), matrices("model")];
    return [
      { name: "tests", title: "Tests", count: page.cases.length, build: () => this.buildTests() },
      { name: "prompts", title: "Prompt versions", count: sides(prompts), build: () => prompts.map((matrix) => this.buildMatrix(matrix)) },
      { name: "models", title: "Models", count: sides(models), build: () => [...this.buildCandidates(), ...models.map((matrix) => this.buildMatrix(matrix))] },
      { name: "metrics", title: "Metrics", count: page.metrics.length, build: () => this.buildMetrics() },
      { name: "review", title: "To review", count: page.review.length, build: () => this.buildReview() },
      { name: "history", title: "Over time", count: page.history.length, build: () => this.buildHistory() },
      { name: "run", title: "Run", count: -1, build: () => this.buildRun() },
    ].filter((tab) => tab.count || tab.name === "tests");
  }

  /** @param {string} name */
  showTab(name) {
    const tab = this.tabs.find((known) => known.name === name) || this.tabs[0];
    if (this.tab === tab.name) return;
    this.tab = tab.name;
    for (const list of this.lists.splice(0)) list.stop.abort();
    this.list = null;
    this.tabRow.replaceChildren(...this.tabs.map((known) => h(
      "button", {
        type: "button", role: "tab", id: `tab-${known.name}`, "aria-controls": "panel", "aria-selected": String(known === tab),
        tabindex: known === tab ? 0 : -1, click: () => this.go({ view: known.name }),
      },
      known.title, known.count > 0 && h("span", { class: "count" }, ` ${known.count.toLocaleString("en")}`),
    )));
    this.panel.setAttribute("aria-labelledby", `tab-${tab.name}`);
    this.panel.className = `panel-${tab.name}`;
    this.panel.replaceChildren();
    this.panel.append(...tab.build().filter((child) => child instanceof Node));
    if (tab.name === "tests") this.applyQuery();
  }

  /** @param {KeyboardEvent} event */
  moveTab(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const place = this.tabs.findIndex((tab) => tab.name === this.tab);
    this.go({ view: this.tabs[(place + by + this.tabs.length) % this.tabs.length].name });
    document.getElementById(`tab-${this.tab}`)?.focus();
  }

  // ------------------------------------------------------------------------------------------------------------- tests

  buildTests() {
    const { page } = this;
    if (!page.cases.length) return [h("p", { class: "muted" }, "No tests were recorded: nothing ran, or nothing that uses this plugin.")];
    this.box = /** @type {HTMLInputElement} */ (h("input", {
      type: "search", placeholder: "Search: words s:failed @tag metric<0.5  ( / )", "aria-label": "Search the tests", "aria-describedby": "problem",
      autocomplete: "off", spellcheck: "false", value: this.query, input: () => this.go({ q: this.box?.value ?? "" }, true),
    }));
    const sorts = [["", "worst first"], ["name", "by name"], ["cost", "by cost"], ["latency", "by latency"], ["tokens", "by tokens"]];
    this.sorter = /** @type {HTMLSelectElement} */ (h(
      "select", { "aria-label": "Order of the tests", change: () => this.go({ sort: this.sorter?.value ?? "" }, true) },
      ...sorts.map(([value, title]) => h("option", { value, selected: value === this.sort }, title)),
    ));
    this.chips = this.countStates().map(([state, count]) => h(
      "button", { type: "button", class: `chip ${state}`, "aria-pressed": "false", "data-state": state, click: () => this.toggleState(state) },
      icon(state), ` ${STATE_WORDS[state] || state} ${count.toLocaleString("en")}`,
    ));
    this.problem = h("span", { class: "problem", id: "problem", role: "status" });
    this.tools = h(
      "div", { class: "tools" },
      h("div", { class: "search" }, this.box, this.sorter), h("div", { class: "chips" }, ...this.chips), this.problem, this.status,
    );
    const rows = h("div", { class: "cases", role: "list", "aria-label": "Tests" });
    this.list = new VirtualList(
      rows, null, (key, place, count) => this.buildCase(key, place, count),
      (key) => (this.isOpen(key) ? 520 : page.cases[key].headline || page.cases[key].change ? 62 : 42),
      () => this.tools?.getBoundingClientRect().height ?? 0,
    );
    this.lists.push(this.list);
    const removed = page.gates.flatMap((gate) => gate.removed);
    const gone = page.gates.reduce((sum, gate) => sum + gate.gone, 0);
    return [
      this.tools, rows,
      removed.length > 0 && h("section", { class: "removed" }, h("h2", {}, "In the baseline, not in this run"), h("ul", {}, ...removed.map((name) => h("li", {}, bdi(name)))), gone > removed.length && `and ${gone - removed.length} more`),
    ];
  }

  /** States of the tests with their counts, what is bad first. @returns {[string, number][]} */
  countStates() {
    /** @type {Record<string, number>} */
    const counts = {};
    for (const one of this.page.cases) for (const state of statesOf(one)) counts[state] = (counts[state] || 0) + 1;
    const order = ["failed", "errored", "worse", "better", "xpassed", "review", "new", "changed", "other", "passed", "xfailed", "skipped"];
    return order.filter((state) => counts[state]).map((state) => [state, counts[state]]);
  }

  /** @param {string} state */
  toggleState(state) {
    const { states } = parseQuery(this.query, this.page, () => "");
    const wanted = states.includes(state) ? states.filter((known) => known !== state) : [...states, state];
    const rest = this.query.replace(/(^|\s)s:\S*/g, "").trim();
    this.go({ q: [wanted.length ? `s:${wanted.join(",")}` : "", rest].filter(Boolean).join(" ") });
  }

  /** All text of a test in lower case. @param {number} place */
  contentOf(place) {
    let content = this.contents[place];
    if (content === undefined) {
      const one = this.page.cases[place];
      const places = new Set([one.message, ...(one.texts || []).map((text) => text[1]), one.change?.before, one.change?.after]);
      const parts = [one.file, one.name, one.version, one.model, one.review, one.blame, ...(one.tags || [])];
      for (const score of one.scores || []) parts.push(score.name, score.reason);
      for (const text of places) if (text !== undefined) parts.push(this.textOf(text));
      content = parts.filter(Boolean).join("\n").toLowerCase();
      this.contents[place] = content;
    }
    return content;
  }

  /** Read the texts for the search while nothing else is to do. @param {number} place */
  readAhead(place = 0) {
    const until = performance.now() + 8;
    let next = place;
    while (next < this.page.cases.length && performance.now() < until) {
      this.contentOf(next);
      next += 1;
    }
    if (next < this.page.cases.length) setTimeout(() => this.readAhead(next), 0);
  }

  applyQuery() {
    if (!this.list) return;
    const { cases } = this.page;
    const { fits, states, problem } = parseQuery(this.query, this.page, (place) => this.contentOf(place));
    this.shown = [];
    for (let place = 0; place < cases.length; place += 1) if (fits(place)) this.shown.push(place);
    const field = FIELDS.find((known) => known === this.sort);
    if (field) this.shown.sort((a, b) => (cases[b][field] ?? -1) - (cases[a][field] ?? -1));
    if (this.sort === "name") {
      const names = new Intl.Collator("en", { numeric: true });
      this.shown.sort((a, b) => names.compare(`${cases[a].file} ${cases[a].name}`, `${cases[b].file} ${cases[b].name}`));
    }
    if (this.current >= 0 && !fits(this.current)) this.current = -1;
    for (const chip of this.chips || []) chip.setAttribute("aria-pressed", String(states.includes(chip.dataset.state || "")));
    if (this.problem) this.problem.textContent = problem;
    const all = counted(cases.length, "test");
    this.status.textContent = this.shown.length === cases.length ? all : `${this.shown.length.toLocaleString("en")} of ${all}`;
    this.list.setKeys(this.shown);
  }

  /** @param {number} place */
  isOpen(place) {
    const one = this.page.cases[place];
    return this.opened.get(place) ?? (!one.same && (one.outcome === "failed" || one.outcome === "errored" || one.change?.kind === "worse"));
  }

  /** @param {number} place @param {number} row @param {number} count */
  buildCase(place, row, count) {
    const one = this.page.cases[place];
    const open = this.isOpen(place);
    const [state] = one.change && one.outcome === "passed" ? [one.change.kind] : [one.outcome];
    const missed = (one.scores || []).filter((score) => score.status === "failed" || score.status === "errored").slice(0, 3);
    const line = [one.headline, one.blame, one.review && `to review: ${one.review}`].filter(Boolean).join(" · ");
    const head = h(
      "button", { type: "button", class: "head", id: `head-${place}`, "aria-expanded": String(open), click: () => this.toggle(place) },
      h("span", { class: state }, icon(state)), h("span", { class: `state ${state}` }, state), bdi(one.name, "name"),
      h(
        "span", { class: "side" },
        ...(open ? [] : missed.map((score) => h("span", { class: score.status }, bdi(`${score.name} ${score.value}`)))),
        one.review && h("span", { class: "tag" }, "review"), one.version && bdi(one.version), one.model && bdi(one.model, "model"),
        one.used && h("span", {}, one.used), bdi(one.file, "file"),
      ),
    );
    return h(
      "div", {
        class: `case${open ? " open" : ""}${place === this.current ? " current" : ""}`, role: "listitem", "data-id": one.id, "data-state": state,
        "aria-posinset": row + 1, "aria-setsize": count,
      },
      h("h2", {}, head),
      !open && (line || one.change) && h("p", { class: "line" }, bdi(line || one.change?.what || "")),
      open && this.buildPane(place, one),
    );
  }

  /** @param {number} place @param {Case} one */
  buildPane(place, one) {
    const missed = (one.scores || []).filter((score) => score.status === "failed" || score.status === "errored");
    const sections = SECTIONS.map((section, number) => ({ ...section, key: `${place}.${number}`, n: section.count(one) })).filter((section) => section.n);
    const button = (/** @type {string} */ title, /** @type {() => void} */ click) => h("button", { type: "button", class: "small", click }, title);
    return h(
      "div", { class: "pane", role: "group", "aria-labelledby": `head-${place}` },
      one.change && this.showChange(one.change),
      one.blame && h("p", { class: "why failed" }, one.blame),
      ...missed.slice(0, 6).map((score) => this.showWhy(score)),
      missed.length > 6 && h("p", { class: "muted" }, `and ${missed.length - 6} more in the measurements`),
      one.same && h("p", { class: "why errored" }, "no recording, for the same reason as ", h("a", { href: this.hash({ case: one.same }) }, bdi(this.page.cases[this.places.get(one.same) ?? 0].name))),
      !missed.length && !one.same && one.message !== undefined && this.showText(one.message, `message ${one.outcome}`),
      one.review && h("p", { class: "why errored" }, "to review: ", bdi(one.review)),
      this.showTexts(one),
      h(
        "div", { class: "more" },
        ...sections.map((section) => h(
          "button", {
            type: "button", class: "small", "aria-expanded": String(!!this.sections.get(section.key)),
            click: () => this.toggleSection(place, section.key, section.title),
          },
          section.title, section.n > 1 && h("span", { class: "count" }, ` ${section.n}`),
        )),
        h("span", { class: "gap" }),
        button("copy as Markdown", () => this.copyMarkdown(place)), button("copy command", () => this.copy(one.rerun, "the command")),
        button("copy link", () => this.copyLink(place)),
      ),
      ...sections.filter((section) => this.sections.get(section.key)).map((section) => h(
        "section", { class: "section", "aria-label": section.title }, h("h3", {}, section.title), ...section.show(this, one),
      )),
    );
  }

  /** @param {Change} change */
  showChange(change) {
    const style = change.kind === "worse" ? "failed" : change.kind === "better" ? "passed" : "muted";
    return h(
      "p", { class: "change" }, h("b", { class: style }, `${change.kind} `), change.why && bdi(change.why),
      ...(change.scores || []).flatMap(([name, before, after, moved]) => [
        h("span", { class: "moved" }, bdi(name), ` ${before} → `, h("b", { class: moved === "worse" ? "failed" : moved === "better" ? "passed" : "" }, after, moved === "worse" ? " ▼" : moved === "better" ? " ▲" : "")),
      ]),
      !change.scores?.length && !change.why && change.what && bdi(change.what),
    );
  }

  /** Why a measurement failed: its value, what was needed, the reason and the evidence. @param {Score} score */
  showWhy(score) {
    return h(
      "div", { class: "why" },
      h(
        "p", {}, h("span", { class: score.status }, icon(score.status)), h("b", {}, bdi(score.name)), h("b", { class: score.status }, score.value),
        score.threshold && score.status === "failed" && `needs ${score.threshold}`, this.showMeter(score),
        score.doubt && h("span", { class: "tag" }, score.doubt),
      ),
      score.reason && h("p", { class: "reason" }, bdi(score.reason)),
      ...(score.evidence || []).slice(0, MAX_EVIDENCE).map(([label, place]) => h("p", { class: "evidence" }, h("span", { class: "muted" }, bdi(label), " "), bdi(this.textOf(place).slice(0, 300)))),
    );
  }

  /** @param {Score} score */
  showMeter(score) {
    if (score.bar === undefined) return null;
    const parts = [svg("rect", { class: "track", y: 4, width: 100, height: 4 }), svg("rect", { class: "fill", y: 4, width: score.bar, height: 4 })];
    if (score.tick !== undefined) parts.push(svg("path", { d: `M${score.tick} 0v12` }));
    return svg("svg", { class: `meter ${score.status}`, width: 100, height: 12, viewBox: "0 0 100 12", "aria-hidden": "true" }, ...parts);
  }

  /** Input, expected and output; the output as a difference to the baseline's, where that is known. @param {Case} one */
  showTexts(one) {
    const { before, after } = one.change || {};
    const columns = ["input", "expected", "output"].map((kind) => {
      const texts = (one.texts || []).filter(([label, place]) => label.startsWith(kind) && (before === undefined || place !== after));
      const blocks = texts.flatMap(([label, place]) => [h("h3", {}, bdi(label)), this.showText(place)]);
      if (kind === "output" && before !== undefined && after !== undefined) blocks.push(...this.showOutputChange(before, after, (one.texts || []).find(([label, place]) => label.startsWith(kind) && place === after)?.[0] ?? kind));
      blocks.push(...this.showMedia(one.media?.[kind] || []));
      return blocks.length > 0 && h("div", { class: kind }, ...blocks);
    }).filter(Boolean);
    return columns.length > 0 && h("div", { class: "texts" }, ...columns);
  }

  /** @param {number} before @param {number} after @param {string} label */
  showOutputChange(before, after, label) {
    const modes = DIFF_MODES.map((mode) => h(
      "button", { type: "button", class: "small", "aria-pressed": String(mode === this.mode), click: () => this.setMode(mode) }, mode,
    ));
    const pre = this.mode === "difference"
      ? h("pre", { dir: "auto", class: "diff", tabindex: 0 }, ...showEdits(diffWords(this.textOf(before), this.textOf(after))))
      : this.showText(this.mode === "now" ? after : before);
    return [h("h3", {}, bdi(label), " since the baseline ", h("span", { class: "modes" }, ...modes)), pre];
  }

  /** @param {string} mode */
  setMode(mode) {
    this.mode = mode;
    if (!this.page.cases.some((one) => one.change?.before !== undefined)) this.status.textContent = "no output of the baseline is known";
    for (const place of [...(this.list?.nodes.keys() || [])]) if (this.page.cases[place].change) this.list?.redraw(place);
  }

  /** @param {number} place */
  textOf(place) {
    const text = this.page.texts[place];
    return typeof text === "string" ? text : text[0];
  }

  /** @param {number} place @param {string} [style] @returns {HTMLElement} */
  showText(place, style) {
    const text = this.page.texts[place];
    const body = this.textOf(place);
    const isLong = body.length > 600 || body.split("\n", 13).length > 12;
    const pre = h("pre", { dir: "auto", class: style, tabindex: isLong ? 0 : null }, body);
    if (typeof text === "string") return pre;
    return h("div", {}, pre, h("p", { class: "muted" }, `cut here: ${text[1].toLocaleString("en")} more characters are in the run file`));
  }

  // ------------------------------------------------------------------------------------------------------------ media

  /** Images and players of sounds, from data URIs that html_media.py has checked. @param {number[]} places @returns {HTMLElement[]} */
  showMedia(places) {
    return places.map((place) => {
      const { label, kind, why, address } = this.page.media[place];
      if (!address) return h("p", { class: "muted" }, bdi(`${label} ${why}`));
      const content = kind === "image" ? h("img", { src: address, alt: label }) : h("audio", { src: address, controls: true, preload: "metadata" });
      return h("figure", { class: "media" }, content, h("figcaption", {}, bdi(label)));
    });
  }

  /** @param {Score[]} scores */
  showScores(scores) {
    const rows = scores.map((score) => [
      h("span", {}, bdi(score.name), score.version && h("span", { class: "muted" }, " ", bdi(score.version))),
      h("span", {}, score.value, " ", score.doubt && h("span", { class: "tag" }, score.doubt)), score.threshold || "–", this.showMeter(score),
      h("span", { class: score.status }, icon(score.status), ` ${SCORE_WORDS[score.status] || score.status}`),
      h(
        "div", {}, score.reason && bdi(score.reason), score.samples && h("p", { class: "muted" }, `trials ${score.samples}`),
        ...(score.evidence || []).map(([label, place]) => h("p", {}, h("span", { class: "muted" }, bdi(label), " "), bdi(this.textOf(place)))),
        score.picture && showPicture(score.picture),
        score.more !== undefined && h("details", {}, h("summary", {}, "details"), this.showText(score.more)),
      ),
    ]);
    return buildTable(["metric", "value", "threshold", "0 to 1", "status", "reason"], rows);
  }

  /** Hit rate, false hits and saving of a cache by its threshold, as curves and as numbers. @param {Case} one @returns {Child[]} */
  showSweeps(one) {
    return (one.scores || []).flatMap((score) => {
      const rows = (score.sweep || []).filter((row) => typeof row[0] === "number");
      if (!rows.length) return [];
      const [low, high] = [Number(rows[0][0]), Number(rows[rows.length - 1][0])];
      const names = ["hit rate", "false hits", "saving"];
      const percent = (/** @type {number | null | undefined} */ share) => (typeof share === "number" ? `${(share * 100).toFixed(1)} %` : "–");
      const at = (/** @type {number} */ threshold) => 10 + (high > low ? ((threshold - low) / (high - low)) * 300 : 150);
      const curves = names.map((name, place) => {
        const points = rows.filter((row) => typeof row[place + 1] === "number")
          .map((row) => `${at(Number(row[0]))} ${118 - Math.min(Math.max(Number(row[place + 1]), 0), 1) * 108}`);
        const title = svg("title");
        title.textContent = name;
        return svg("path", { class: `course sweep${place}`, d: points.length ? `M${points.join("L")}` : "" }, title);
      });
      const axis = svg("path", { class: "axis", d: "M10 10v108h300" });
      const marks = [["100 %", 12, 9, "start"], [String(low), 10, 127, "start"], [String(high), 310, 127, "end"]].map(([mark, x, y, anchor]) => {
        const element = svg("text", { x, y, "text-anchor": anchor });
        element.textContent = String(mark);
        return element;
      });
      const label = `${names.join(", ")} by threshold, ${low} to ${high}`;
      return [
        h(
          "figure", {}, h("figcaption", {}, bdi(score.name), ...names.map((name, place) => h("span", { class: `key${place}` }, ` ━ ${name}`))),
          svg("svg", { class: "sweep", viewBox: "0 0 320 128", role: "img", "aria-label": label }, axis, ...marks, ...curves),
        ),
        buildTable(["threshold", ...names], rows.map((row) => [String(row[0]), percent(row[1]), percent(row[2]), percent(row[3])])),
      ];
    });
  }

  /** What was retrieved, and what should have been. @param {Case} one @returns {Child[]} */
  showPassages(one) {
    return (one.scores || []).filter((score) => score.passages).map((score) => {
      const rows = (score.passages || []).map(([rank, id, place, relevant]) => [
        rank, bdi(id), relevant === null ? "" : h("span", { class: relevant ? "passed" : "muted" }, relevant ? "relevant" : "not relevant"),
        place === null ? "" : bdi(this.textOf(place)),
      ]);
      return buildTable(["rank", "id", "relevance", "text"], rows, `${score.name} ${score.value}${score.reason ? `: ${score.reason}` : ""}`);
    });
  }

  /** @param {Case} one @returns {Child[]} */
  showJudges(one) {
    return (one.scores || []).flatMap((score) => {
      const { judge } = score;
      if (!judge) return [];
      const facts = [...(judge.dimensions || []).map((pair) => pair.join(" ")), judge.votes && `votes ${judge.votes}`].filter(Boolean).join(" · ");
      return [
        h("p", {}, h("b", {}, bdi(score.name)), " ", bdi(judge.score), facts && bdi(` · ${facts}`), h("span", { class: "muted" }, " ", bdi(`${judge.name} (${judge.calibration})`))),
        score.reason && h("p", { class: "reason" }, bdi(score.reason)),
        judge.raw !== undefined && h("details", {}, h("summary", {}, "the judge's reply"), this.showText(judge.raw)),
      ];
    }).concat((one.calls || []).filter((call) => call.purpose === "judge").map((call) => this.showCall(call)));
  }

  /** @param {Call} call */
  showCall(call) {
    const details = h(
      "details", { class: "call", toggle: () => {
        if (details.childElementCount > 1) return;
        details.append(h("div", {}, ...call.parts.flatMap(([label, place, media = []]) => [
          h("h4", { class: label === "output" ? "answer" : null }, bdi(label)), this.showText(place), ...this.showMedia(media),
        ])));
      } },
      h(
        "summary", {}, h("b", {}, bdi(call.title)), ...call.facts.flatMap((fact) => [" · ", bdi(fact)]),
        call.tools && bdi(` · tools offered: ${call.tools}`),
      ),
    );
    return details;
  }

  /** @param {Case} one @returns {Child[]} */
  showOrigin(one) {
    return [
      h("dl", { class: "pairs" }, ...(one.facts || []).flatMap(([key, value]) => [h("dt", {}, bdi(key)), h("dd", {}, bdi(value))]), one.tags && h("dt", {}, "tags"), one.tags && h("dd", {}, bdi(one.tags.join(", ")))),
      one.more !== undefined && h("details", {}, h("summary", {}, "more facts"), this.showText(one.more)),
      h("pre", { class: "rerun", tabindex: 0 }, one.rerun),
    ];
  }

  // ------------------------------------------------------------------------------------------------------- other tabs

  /** @returns {Child[]} */
  buildCandidates() {
    const { candidates } = this.page;
    if (!candidates.length) return [h("p", { class: "muted" }, "No case ran with every model: there is nothing to compare.")];
    const tables = candidates.map((table) => buildTable(table.head, table.rows.map((row) => row.map((cell) => bdi(cell))), table.tests));
    return [...tables, h("p", { class: "legend" }, "Tokens, cost and latency are the application's, without its judges.")];
  }

  /** Rows are cases, columns are versions or models, with the outputs side by side. @param {Matrix} matrix */
  buildMatrix(matrix) {
    const state = { only: "", base: -1 };
    const { columns } = matrix;
    const body = h("div", { role: "rowgroup" });
    const scroller = h("div", { class: "grid", role: "table", "aria-label": matrix.prompt || matrix.test, "aria-rowcount": matrix.rows.length + 1, tabindex: 0 });
    const widths = `minmax(7rem, 11rem) repeat(${columns.length}, minmax(16rem, 1fr))`;
    const row = (/** @type {HTMLElement[]} */ cells, /** @type {number} */ number) => {
      const element = h("div", { class: "row", role: "row", "aria-rowindex": number }, ...cells);
      element.style.gridTemplateColumns = widths;
      element.style.minWidth = `${7 + 16 * columns.length}rem`;
      return element;
    };
    const outputOf = (/** @type {Cell} */ [place]) => {
      const texts = (this.page.cases[place].texts || []).filter(([label]) => label.startsWith("output"));
      return texts.length ? this.textOf(texts[0][1]) : null;
    };
    const outputsOf = (/** @type {Cell[]} */ cells) => cells.map((cell) => outputOf(cell) ?? "").join("\n");
    const head = columns.map((column) => {
      const [passed, ran] = column.passed;
      return h(
        "div", { role: "columnheader", class: "headcell" }, h("b", {}, bdi(column.label)),
        h("p", {}, h("b", {}, ran ? `${Math.round((100 * passed) / ran)} %` : "–"), ` ${passed} of ${ran} passed`),
        h("p", {}, ...matrix.metrics.map((name, place) => h("span", { class: "score" }, bdi(name), " ", h("b", {}, column.means[place])))),
        h("p", {}, bdi(column.facts.join(" · "))),
      );
    });
    const drawCell = (/** @type {Cell} */ cell, /** @type {Cell[]} */ base) => {
      const [place, scores] = cell;
      const one = this.page.cases[place];
      const output = outputOf(cell);
      const other = base.length && base[0] !== cell ? outputOf(base[0]) : null;
      return h(
        "div", {},
        h("p", {}, h("a", { class: one.outcome, href: this.hash({ view: "tests", q: "", case: one.id }) }, icon(one.outcome), ` ${one.outcome}`)),
        ...scores.map(([value, status, moved], number) => h(
          "p", { class: "score" }, bdi(matrix.metrics[number]), " ", h("b", { class: status === "failed" || status === "errored" ? status : "" }, value),
          moved && state.base < 1 && h("span", { class: moved === "better" ? "passed" : "failed", title: `${moved} than the first column` }, moved === "better" ? " ▲" : " ▼"),
        )),
        output !== null && h("pre", { dir: "auto" }, ...(other === null ? [output.slice(0, 2000)] : showEdits(diffWords(other, output)))),
      );
    };
    const list = new VirtualList(body, scroller, (key) => {
      const [name, , cells] = matrix.rows[key];
      const base = state.base < 0 ? [] : cells[state.base];
      return row([
        h("div", { role: "rowheader" }, bdi(name)),
        ...cells.map((cell) => h("div", { role: "cell" }, ...(cell.length ? cell.map((single) => drawCell(single, base)) : [h("span", { class: "muted" }, "not run")]))),
      ], key + 2);
    }, () => 190);
    const shown = h("span", { class: "status", role: "status" });
    const apply = () => {
      const keys = matrix.rows.flatMap(([, differs, cells], key) => {
        const fits = state.only === "outcome" ? differs : state.only === "output" ? new Set(cells.map(outputsOf)).size > 1 : true;
        return fits ? [key] : [];
      });
      shown.textContent = keys.length === matrix.rows.length ? counted(keys.length, "case") : `${keys.length} of ${counted(matrix.rows.length, "case")}`;
      list.setKeys(keys);
      scroller.classList.toggle("differs", state.base >= 0);
    };
    const select = (/** @type {string} */ label, /** @type {string[][]} */ options, /** @type {(value: string) => void} */ set) => h(
      "label", {}, `${label} `, h("select", { change: (/** @type {any} */ event) => { set(event.target.value); apply(); } }, ...options.map(([value, title]) => h("option", { value }, title))),
    );
    scroller.append(h("div", { role: "rowgroup", class: "headrow" }, row([h("div", { role: "columnheader", class: "headcell" }, "case; means"), ...head], 1)), body);
    this.lists.push(list);
    requestAnimationFrame(apply);
    return h(
      "section", { class: "matrix" },
      h("h2", {}, bdi(matrix.prompt || matrix.test), matrix.prompt && h("span", { class: "muted" }, " in ", bdi(matrix.test))),
      h(
        "div", { class: "controls" },
        select("cases", [["", "all"], ["outcome", "only where outcomes differ"], ["output", "only where outputs differ"]], (value) => { state.only = value; }),
        select("outputs", [["-1", "in full"], ...columns.map((column, place) => [String(place), `as difference to ${column.label}`])], (value) => { state.base = Number(value); }),
        shown,
      ),
      scroller,
      h("p", { class: "legend" }, "▲ better and ▼ worse than the first column, by the number shown, left out beside differences to another column; one run of a case proves no difference."),
    );
  }

  /** @returns {Child[]} */
  buildMetrics() {
    const { metrics, gates } = this.page;
    const rows = metrics.map((metric) => [
      h("span", {}, bdi(metric.name), " ", metric.doubt && h("span", { class: "tag" }, metric.doubt), metric.version && h("span", { class: "muted" }, " ", bdi(metric.version))),
      metric.n, ...metric.values, metric.threshold,
      h("span", { class: metric.failed ? "failed" : "muted" }, String(metric.failed)), h("span", { class: metric.errored ? "errored" : "muted" }, String(metric.errored)),
      h("span", { class: metric.recorded ? "" : "muted" }, String(metric.recorded)), this.showHistogram(metric),
    ]);
    const table = buildTable(["metric", "n", "mean", "median", "min", "max", "threshold", "failed", "not scored", "no threshold", "distribution"], rows, "Metrics of this run");
    const changes = gates.flatMap((gate) => gate.metrics).map((row) => row.map((cell) => bdi(cell)));
    if (!changes.length) return [table];
    return [buildTable(["metric", "role", "verdict", "baseline", "now", "change", "above (95 %)", "noticed in 8 of 10 runs", "cases"], changes, "Since the baseline"), table];
  }

  /** @param {Metric} metric */
  showHistogram(metric) {
    if (!metric.bins.length) return null;
    const top = Math.max(...metric.bins) || 1;
    const bars = metric.bins.flatMap((count, place) => {
      const height = count ? Math.round((count / top) * 27) + 1 : 0;
      return height ? [svg("rect", { class: metric.missed.includes(place) ? "missed" : "bar", x: place * 12 + 1, y: 31 - height, width: 10, height })] : [];
    });
    bars.push(svg("path", { d: "M0 32h120M.5 32v3M60 32v3M119.5 32v3" }));
    if (metric.line !== null) bars.push(svg("path", { class: "threshold", d: `M${metric.line * 120} 0v34` }));
    const label = `${metric.n} values from 0 to 1, by tenths: ${metric.bins.join(", ")}`;
    return svg("svg", { class: "hist", width: 120, height: 36, viewBox: "0 0 120 36", role: "img", "aria-label": label }, ...bars);
  }

  /** @returns {Child[]} */
  buildReview() {
    const rows = this.page.review.map((item) => [
      h("span", {}, h("a", { href: this.hash({ view: "tests", q: "", case: item.id }) }, bdi(item.case)), item.test && h("span", { class: "muted" }, " ", bdi(item.test))),
      h("span", {}, bdi(item.judge), " ", h("span", { class: "muted" }, bdi(item.version))), item.score, item.confidence, bdi(item.reason),
    ]);
    return [
      h("p", {}, "The least sure first. A judge that is not sure has decided nothing: ", h("code", {}, "llmops judge export-labels run.json --out labels.jsonl"), " writes these answers down for people to label."),
      buildTable(["case", "judge", "score", "confidence", "why"], rows, "For a person to look at"),
    ];
  }

  /** Charts of the stored runs, and a table of them. @returns {Child[]} */
  buildHistory() {
    const { history } = this.page;
    const names = (/** @type {string[][]} */ lists) => [...new Set(lists.flat())];
    const charts = h("div", { class: "charts" });
    const draw = (/** @type {string} */ side) => {
      const measures = names(history.map((run) => Object.keys(run.sides[side] || {})));
      charts.replaceChildren(...measures.map((name) => this.buildChart(name, history.map((run) => run.sides[side]?.[name]))));
    };
    const sides = names(history.map((run) => Object.keys(run.sides)));
    const select = h("select", { change: (/** @type {any} */ event) => draw(event.target.value) }, ...sides.map((side) => h("option", { value: side }, side)));
    draw(sides[0]);
    const rows = history.map((run, place) => [
      h("span", { id: `run-${place}` }, run.when || "not dated"), run.commit, h("span", {}, h("b", {}, run.verdict[0]), ` ${run.verdict[1]}`),
      h("div", {}, ...run.bad.map(([id, name]) => h("p", {}, this.places.has(id) ? h("a", { href: this.hash({ view: "tests", q: "", case: id }) }, bdi(name)) : bdi(name))), run.rest > 0 && `and ${run.rest} more`),
    ]).reverse();
    return [
      h("div", { class: "controls" }, h("label", {}, "of ", select)), charts,
      h("p", { class: "legend" }, "Two versions of a metric are not one line. A test of an older run leads to the same test of this run."),
      buildTable(["run", "commit", "verdict", "failed or not scored"], rows, "Runs, the newest first"),
    ];
  }

  /** One measure over the runs; a run without a value leaves a gap. @param {string} name @param {([number, string, string] | undefined)[]} values */
  buildChart(name, values) {
    const numbers = values.flatMap((value) => (value ? [value[0]] : []));
    const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
    const at = (/** @type {number} */ place) => 10 + (place * 300) / Math.max(values.length - 1, 1);
    const up = (/** @type {number} */ number) => (high > low ? 62 - ((number - low) / (high - low)) * 52 : 36);
    const textOf = (/** @type {number} */ number) => values.find((value) => value?.[0] === number)?.[1] ?? "";
    const range = high > low ? ` ${textOf(low)} to ${textOf(high)}` : "";
    const parts = values.flatMap((value, place) => {
      const next = values[place + 1];
      const isLine = value && next && value[2] === next[2];
      return isLine ? [svg("path", { class: "course", d: `M${at(place)} ${up(value[0])}L${at(place + 1)} ${up(next[0])}` })] : [];
    });
    const points = values.flatMap((value, place) => {
      if (!value) return [];
      const run = this.page.history[place];
      const label = [value[1], run.when, run.commit].filter(Boolean).join(", ");
      const title = svg("title");
      title.textContent = label;
      const point = svg("a", { href: this.hash({ view: "history", run: String(place) }), "aria-label": label }, title, svg("circle", { cx: at(place), cy: up(value[0]), r: 5 }));
      return [point];
    });
    const last = values.findLast(Boolean);
    return h(
      "figure", {}, h("figcaption", {}, bdi(name), " ", h("b", {}, last ? last[1] : ""), h("span", { class: "muted" }, range)),
      svg("svg", { viewBox: "0 0 320 72", role: "group", "aria-label": `${name} over the runs` }, ...parts, ...points),
    );
  }

  /** @returns {Child[]} */
  buildRun() {
    const { calls, run } = this.page;
    const head = ["asked by", "live", "replayed", "tokens in", "tokens out", "spent", "saved by replay", "without a price"];
    return [
      calls.length > 0 && buildTable(head, calls.map((row) => row.map((cell) => bdi(cell))), "Calls"),
      h("div", { class: "columns" }, ...run.map(([title, rows]) => buildTable([], rows.map((row) => row.map((cell) => bdi(cell))), title))),
    ];
  }

  // ------------------------------------------------------------------------------------------- address, keys, clipboard

  /** The address of a state: what is given, the rest as it is. @param {Record<string, string>} changes */
  hash(changes) {
    const known = { view: this.tab === "tests" ? "" : this.tab, q: this.query, sort: this.sort, case: this.page.cases[this.current]?.id || "", ...changes };
    if (known.view === "tests") known.view = "";
    return `#${new URLSearchParams(Object.entries(known).filter(([, value]) => value)).toString()}`;
  }

  /** Change the state, and the address with it. @param {Record<string, string>} changes @param {boolean} [quiet]  no step back in the history */
  go(changes, quiet = false) {
    const hash = this.hash("q" in changes ? { case: "", ...changes } : changes);
    if (!quiet) setAddress(() => history.pushState(null, "", hash));
    this.read(hash);
    if (quiet) this.keepAddress();
  }

  /** Write the state into the address when no key follows: browsers limit how often. */
  keepAddress() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => setAddress(() => history.replaceState(null, "", this.hash({}))), 150);
  }

  /** Show what an address says. @param {string} hash */
  read(hash) {
    // `#case-...` alone is a link of an older report.
    const values = new URLSearchParams(/^#case-\w+$/.test(hash) ? `case=${hash.slice(1)}` : hash.slice(1));
    const id = values.get("case") || "";
    const run = values.get("run");
    const [query, sort] = [values.get("q") || "", values.get("sort") || ""];
    const changed = query !== this.query || sort !== this.sort;
    this.query = query;
    this.sort = sort;
    this.showTab(values.get("view") || "tests");
    if (this.box && this.box.value !== query) this.box.value = query;
    if (this.sorter) this.sorter.value = sort;
    if (changed && this.tab === "tests") this.applyQuery();
    if (run) {
      const row = document.getElementById(`run-${Number(run)}`)?.closest("tr");
      for (const other of this.panel.querySelectorAll("tr.current")) other.classList.remove("current");
      row?.classList.add("current");
      row?.scrollIntoView({ block: "center" });
    }
    const place = this.places.get(id);
    if (id && place === undefined) this.status.textContent = `the test of this link (${id.slice(0, 40)}) is not in this run`;
    if (place !== undefined && place !== this.current && this.tab === "tests") {
      if (!this.shown.includes(place)) {
        this.query = "";
        if (this.box) this.box.value = "";
        this.applyQuery();
      }
      this.select(place, true, true);
    }
  }

  /** Make a test the current one. @param {number} place @param {boolean} [open] @param {boolean} [always]  scroll it to the top */
  select(place, open = false, always = false) {
    const before = this.current;
    this.current = place;
    if (open) this.opened.set(place, true);
    if (before >= 0) this.list?.redraw(before);
    this.list?.reveal(place, always);
    this.list?.redraw(place);
    document.getElementById(`head-${place}`)?.focus({ preventScroll: true });
  }

  /** Go on in what is shown. @param {number} by @param {boolean} [bad]  only tests that failed, were not scored or got worse */
  step(by, bad = false) {
    if (this.tab !== "tests" || !this.shown.length) return;
    let row = this.shown.indexOf(this.current);
    if (row < 0) row = by > 0 ? -1 : this.shown.length;
    for (row += by; row >= 0 && row < this.shown.length; row += by) {
      const place = this.shown[row];
      if (bad && !statesOf(this.page.cases[place]).some((state) => STATES.bad.includes(state))) continue;
      this.select(place);
      this.keepAddress();
      return;
    }
    this.status.textContent = by > 0 ? "this is the last one" : "this is the first one";
  }

  /** @param {number} place */
  toggle(place) {
    this.opened.set(place, !this.isOpen(place));
    this.select(place);
  }

  /** @param {number} place @param {string} key @param {string} title */
  toggleSection(place, key, title) {
    this.sections.set(key, !this.sections.get(key));
    this.list?.redraw(place);
    const row = this.list?.nodes.get(place);
    for (const button of row?.querySelectorAll("button") || []) if (button.textContent?.startsWith(title)) button.focus({ preventScroll: true });
  }

  /** @param {string} text @param {string} what */
  async copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.status.textContent = `copied ${what}`;
    } catch {
      this.status.textContent = "this browser does not let the page copy";
    }
  }

  /** @param {number} place */
  copyLink(place) {
    return this.copy(location.href.split("#")[0] + this.hash({ view: "", q: "", sort: "", case: this.page.cases[place].id }), "the link");
  }

  /** @param {number} place */
  copyMarkdown(place) {
    return this.copy(this.markdownOf(this.page.cases[place]), "the test as Markdown");
  }

  /** A test for an issue or an agent: texts in fences that they cannot end. @param {Case} one */
  markdownOf(one) {
    const line = (/** @type {string} */ text) => text.replace(/[\\`*_{}[\]<>()#+!|@&~:-]/g, "\\$&");
    const ticks = (/** @type {string} */ text, /** @type {number} */ least) => "`".repeat(Math.max(least, ...[...text.matchAll(/`+/g)].map((match) => match[0].length + 1)));
    const code = (/** @type {string} */ text) => {
      const [fence, pad] = [ticks(text, 1), /^`|`$/.test(text) ? " " : ""];
      return `${fence}${pad}${text.replace(/\s+/g, " ")}${pad}${fence}`;
    };
    const fenced = (/** @type {string} */ title, /** @type {string} */ text) => {
      const fence = ticks(text, 3);
      return `**${line(title)}**\n\n${fence}text\n${text}\n${fence}`;
    };
    const parts = [`### ${one.outcome}: ${code(`${one.file}::${one.name}`)}`];
    if (one.change?.what) parts.push(`${line(one.change.kind)} than the baseline: ${line(one.change.what)}`);
    const scores = (one.scores || []).map((score) => `- ${line(score.name)}: ${line(score.value)}${score.threshold ? ` (needs ${line(score.threshold)})` : ""}, ${score.status}${score.reason ? `: ${line(score.reason)}` : ""}`);
    if (scores.length) parts.push(scores.join("\n"));
    if (one.message !== undefined) parts.push(fenced("failure", this.textOf(one.message)));
    for (const [label, place] of one.texts || []) parts.push(fenced(label, this.textOf(place)));
    if (one.change?.before !== undefined) parts.push(fenced("output of the baseline", this.textOf(one.change.before)));
    parts.push(fenced("run it again", one.rerun));
    return `${parts.join("\n\n")}\n`;
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) {
      if (event.key === "Escape" && target === this.box) {
        this.go({ q: "" }, true);
        target.blur();
      }
      return;
    }
    const one = this.page.cases[this.current];
    /** @type {Record<string, () => void>} */
    const actions = {
      j: () => this.step(1),
      k: () => this.step(-1),
      "]": () => this.step(1, true),
      "[": () => this.step(-1, true),
      d: () => this.setMode(DIFF_MODES[(DIFF_MODES.indexOf(this.mode) + 1) % DIFF_MODES.length]),
      "?": () => this.help.showModal(),
      "/": () => {
        this.go({ view: "tests" }, true);
        this.box?.focus();
      },
    };
    if (one && this.tab === "tests") {
      Object.assign(actions, { c: () => this.copyMarkdown(this.current), r: () => this.copy(one.rerun, "the command"), y: () => this.copyLink(this.current) });
      if (target.tagName !== "BUTTON" && target.tagName !== "A" && target.tagName !== "SUMMARY") actions.Enter = () => this.toggle(this.current);
    }
    const tab = this.tabs[Number(event.key) - 1];
    const action = tab && event.key.length === 1 ? () => this.go({ view: tab.name }) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Print the tests of the list, as many as fit on some hundred pages. @param {boolean} all */
  print(all) {
    if (!this.list) return;
    this.list.all = all;
    this.list.setKeys(all ? this.shown.slice(0, MAX_PRINTED) : this.shown);
    const rest = this.shown.length - MAX_PRINTED;
    if (all && rest > 0) this.panel.append(h("p", { class: "printed" }, `and ${counted(rest, "more test")}: a narrower search prints them`));
    else if (!all) this.panel.querySelector(".printed")?.remove();
  }

  start() {
    this.read(location.hash);
    window.addEventListener("hashchange", () => this.read(location.hash));
    window.addEventListener("popstate", () => this.read(location.hash));
    document.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
    setTimeout(() => this.readAhead(), 0);
  }
}

/** A page in a sandbox may not change its address: its state changes all the same. @param {() => void} change */
function setAddress(change) {
  try {
    change();
  } catch { /* nothing to do */ }
}

/** @returns {Promise<Page>} */
async function readPage() {
  const element = document.getElementById("data");
  const text = atob(element?.textContent || "");
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  element?.replaceChildren();
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
try {
  new Report(await readPage(), root).start();
} catch (error) {
  root.replaceChildren(h("p", { role: "alert" }, `The data of this report cannot be read (${error}): the file is damaged or cut off, or the browser is older than 2024. Write the report again, or read the run file.`));
}
