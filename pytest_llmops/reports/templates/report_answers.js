import { h } from "./report_elements.js";
/** @import { Child, Edit } from "./report_types.js" */

// How two answers differ, by the rule of differences.py: marked where at least 40 % of the words stay, else two texts.

const MAX_WORDS = 400; // of each text: the comparison is quadratic
const MIN_SHARE = 0.4; // of the words of the longer text
const LEAST_UNCHANGED = 2; // words: fewer between two changes belong to the change
const SHOWN_BEFORE = 3; // words before the first difference from which a cut text begins
const CHARS_READ = MAX_WORDS * 40;
const PIECES = /[\p{L}\p{N}]+\s*|_+\s*|[^\p{L}\p{N}_\s]\s*|\s+/gu;
const IS_WORD = /^[\p{L}\p{N}]/u;

/** @param {string} text */
function isJson(text) {
  if (!/^\s*[{[]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Return the pieces of two texts; null: too little stays, or they are too long, so that both texts are shown.
 * @param {string} before
 * @param {string} after
 * @returns {Edit[] | null}
 */
export function diffAnswers(before, after) {
  const byLine = isJson(before) && isJson(after);
  const split = (/** @type {string} */ text) => (byLine ? text.match(/[^\n]*\n|[^\n]+$/g) : text.slice(0, CHARS_READ).match(PIECES)) || [];
  const count = (/** @type {string[]} */ pieces) => (byLine ? pieces.length : pieces.filter((piece) => IS_WORD.test(piece)).length);
  const old = split(before);
  const now = split(after);
  const longer = Math.max(count(old), count(now));
  if (!old.length || !now.length || !longer || longer > MAX_WORDS || Math.max(old.length, now.length) > 2 * MAX_WORDS) return null;
  const edits = alignPieces(old, now);
  const common = edits.filter((edit) => edit.kind === "same").map((edit) => edit.text);
  if (count(common) < MIN_SHARE * longer) return null;
  return joinEdits(edits, byLine ? 0 : LEAST_UNCHANGED);
}

/** The longest common subsequence of two lists of pieces; blanks at their ends do not count. @param {string[]} a @param {string[]} b @returns {Edit[]} */
function alignPieces(a, b) {
  const [left, right] = [a, b].map((pieces) => pieces.map((piece) => piece.trim()));
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const place = i * width + j;
      longest[place] = left[i] === right[j] ? longest[place + width + 1] + 1 : Math.max(longest[place + width], longest[place + 1]);
    }
  }
  /** @type {Edit[]} */
  const edits = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && left[i] === right[j]) {
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

/** One old and one new piece between two that are the same. @param {Edit[]} edits @param {number} least  words @returns {Edit[]} */
function joinEdits(edits, least) {
  /** @type {{ same: string[], old: string, new: string }[]} */
  const runs = [{ same: [], old: "", new: "" }];
  for (const { kind, text } of edits) {
    const last = runs[runs.length - 1];
    if (kind !== "same") last[kind] += text;
    else if (last.old || last.new) runs.push({ same: [text], old: "", new: "" });
    else last.same.push(text);
  }
  /** @type {Edit[]} */
  const joined = [];
  let [old, now] = ["", ""];
  const flush = () => {
    if (old) joined.push({ kind: "old", text: old });
    if (now) joined.push({ kind: "new", text: now });
    [old, now] = ["", ""];
  };
  for (const [place, run] of runs.entries()) {
    const same = run.same.join("");
    const isInner = place > 0 && (run.old || run.new);
    if (isInner && run.same.filter((piece) => IS_WORD.test(piece)).length < least) {
      old += same;
      now += same;
    } else {
      flush();
      if (same) joined.push({ kind: "same", text: same });
    }
    old += run.old;
    now += run.new;
  }
  flush();
  return joined;
}

/**
 * The pieces with their marks. Blanks after a marked text are not marked; where a text has none before a mark, there is one.
 * @param {Edit[]} edits
 * @returns {Child[]}
 */
export function showEdits(edits) {
  /** @type {Child[]} */
  const children = [];
  let last = " ";
  for (const { kind, text } of edits) {
    const words = text.trimEnd();
    const isMark = kind !== "same" && words;
    if (isMark && !/\s$/.test(last) && IS_WORD.test(words)) children.push(" ");
    children.push(isMark ? h(kind === "old" ? "del" : "ins", {}, words) : text);
    if (isMark) children.push(text.slice(words.length));
    last = text;
  }
  return children;
}

/** The place three words before the first difference; 0 if that is the beginning. @param {string} before @param {string} after */
export function findStart(before, after) {
  let place = 0;
  while (place < before.length && place < after.length && before[place] === after[place]) place += 1;
  if (place === before.length && place === after.length) return 0;
  const words = [...before.slice(0, place).matchAll(/\S+/g)].map((match) => match.index);
  if (words.length <= SHOWN_BEFORE) return 0;
  return words[words.length - SHOWN_BEFORE];
}
