import { bdi, button, h, icon, sentence, toneOf } from "./report_elements.js";
import { diffAnswers, findStart, showEdits } from "./report_answers.js";
import { SECTIONS, sayCut, showMedia } from "./report_details.js";
import { showStepChanges } from "./report_trajectory.js";
/** @import { Case, Child, Moved } from "./report_types.js" */
/** @import { Report } from "./report.js" */

// A case: kind, id and scores in one row; below it question and expected, and the answers before and now.

const MAX_LINES = 12; // of a text, before "Show all"
const MAX_CHARS = 900;
const LINE = 20; // pixels
const CLOSED = 37;
const CLOSED_SCORES = 2; // of a closed case
const PHONE = 720; // pixels of the window
const DEFAULT_SECTION = "Measurements";

/** The height of a case that was not drawn yet. @param {Report} report @param {number} place @param {boolean} open */
export function guessHeight(report, place, open) {
  if (!open) return CLOSED;
  const one = report.page.cases[place];
  const isPhone = window.innerWidth < PHONE;
  const width = isPhone ? window.innerWidth - 32 : (Math.min(window.innerWidth, 1240) - 504) / 2;
  const lines = (/** @type {number | undefined} */ text, /** @type {number} */ pixels) => (text === undefined ? 0 : Math.min(Math.ceil((report.textOf(text).length * 7) / pixels), MAX_LINES) + 1);
  const asked = lines(one.question, isPhone ? width : 288) + lines(one.expected, isPhone ? width : 288);
  const answers = [lines(one.before, width), lines(one.now, width)];
  const body = isPhone ? asked + answers[0] + answers[1] + 1 : Math.max(asked, ...answers);
  return 60 + body * LINE + (one.why ? LINE : 0) + (one.steps ? (one.steps.lines.length + 1) * LINE : 0);
}

/** @param {Report} report @param {number} place @param {number} row @param {number} count */
export function buildCase(report, place, row, count) {
  const one = report.page.cases[place];
  const open = report.isOpen(place);
  const scores = (one.moved || []).map(showMoved);
  const question = one.question === undefined ? "" : report.textOf(one.question).slice(0, 200);
  const head = h(
    "button", { type: "button", class: "head", id: `head-${place}`, "aria-expanded": String(open), click: () => report.toggle(place) },
    h("span", { class: "state tone" }, icon(one.kind), one.state || one.kind), bdi(one.label, "name"), ...(open ? [scores.length > 0 && h("span", { class: "scores" }, ...scores)] : [bdi(listScores(one), "scores")]),
    one.review && one.kind !== "no score" && h("span", { class: "tag" }, "to review"),
    !open && h("bdi", { class: "q", dir: "auto" }, one.same ? "no recording, as above" : question || one.why || ""),
    report.sort !== "" && one.used && h("span", { class: "where" }, one.used), open && one.test && bdi(one.test, "where"),
  );
  return h(
    "div", {
      class: `case ${toneOf(one.kind)}${open ? " open" : ""}${place === report.current ? " current" : ""}`, role: "listitem", "data-id": one.id,
      "data-kind": one.kind, "aria-posinset": row + 1, "aria-setsize": count,
    },
    h("h2", {}, head), ...(open ? [...buildActions(report, place, one), buildBody(report, place, one), buildDetails(report, place, one)] : []),
  );
}

/** @param {Moved} moved */
function showMoved([name, before, after, needs, moved]) {
  return h(
    "span", {}, bdi(name), " ", before && `${before} → `, h("b", { class: `tone ${moved ? toneOf(moved) : ""}` }, after),
    needs && h("span", { class: "muted" }, `, needs ${needs}`),
  );
}

/** The first scores of a closed case, as one text. @param {Case} one */
function listScores(one) {
  const moved = (one.moved || []).map(([name, before, after]) => `${name} ${before && `${before} → `}${after}`);
  const values = one.moved ? moved : (one.scores || []).map((score) => `${score.name} ${score.value}`);
  return values.slice(0, CLOSED_SCORES).join(", ");
}

/** Buttons that are seen while a pointer or the focus is in the case; on touch a menu opens them. @param {Report} report @param {number} place @param {Case} one @returns {Child[]} */
function buildActions(report, place, one) {
  const open = report.menu === place;
  return [
    h("button", {
      type: "button", class: "menu", "aria-expanded": String(open), "aria-label": `Details of ${one.label}, and what can be copied`,
      click: () => report.toggleMenu(place),
    }, "More"),
    h(
      "div", { class: `actions${open ? " shown" : ""}` },
      h("button", { type: "button", class: "small", "aria-expanded": String(report.detailed.has(place)), click: () => report.toggleDetails(place) }, "Details"),
      button("Copy command", () => report.copy(one.rerun, "the command")), button("Copy link", () => report.copyLink(place)),
      button("Copy Markdown", () => report.copyMarkdown(place)),
    ),
  ];
}

/** @param {Report} report @param {number} place @param {Case} one */
function buildBody(report, place, one) {
  const facts = /** @type {[string, number | undefined][]} */ ([["Question", one.question], ["Expected", one.expected]]).flatMap(([title, text]) => (
    text === undefined ? [] : [h("dt", {}, title), h("dd", { dir: "auto" }, ...clamp(report, place, title, text))]
  ));
  const asked = showMedia(report, one.media?.input || []);
  if (asked.length) facts.push(h("dt", {}, "Sent with it"), h("dd", {}, ...asked));
  const answers = showAnswers(report, place, one);
  return h(
    "div", { class: `body columns-${answers.length}${facts.length ? "" : " bare"}`, role: "group", "aria-labelledby": `head-${place}` },
    facts.length > 0 && h("dl", {}, ...facts), ...answers,
  );
}

/** The answers, one text or two, and why. @param {Report} report @param {number} place @param {Case} one @returns {Child[]} */
function showAnswers(report, place, one) {
  const why = [...showMedia(report, one.media?.output || []), ...showWhy(report, one), ...showStepChanges(one.steps)];
  const { before, now } = one;
  const trial = one.trial ? `, ${one.trial}` : "";
  const block = (/** @type {string} */ title, /** @type {Child[]} */ content, /** @type {string} */ style = "now") => h("div", { class: `text ${style}` }, h("h3", {}, title), ...content);
  if (now === undefined) {
    const message = one.message === undefined || one.same ? [] : clamp(report, place, "Failure", one.message, "pre");
    if (!message.length && !why.length) return [];
    return [block(message.length ? "Failure" : "Why", [...message, ...(message.length ? showStepChanges(one.steps) : why)])];
  }
  if (before === undefined) {
    const answer = clamp(report, place, "Answer", now);
    if (!one.lost) return [block(`Answer${trial}`, [...answer, ...why])];
    return [block("Before", [h("p", { class: "muted" }, one.lost)], ""), block(`Now${trial}`, [...answer, ...why])];
  }
  if (before === now) return [block(`${one.note ? "Before and now" : "Answer"}${trial}`, [...clamp(report, place, "Now", now), ...why])];
  const [old, fresh] = [report.textOf(before), report.textOf(now)];
  const edits = report.marks ? diffAnswers(old, fresh) : null;
  if (edits) return [block(`Before and now${trial}`, [h("p", { dir: "auto", class: "edits" }, ...showEdits(edits)), ...why])];
  const from = findStart(old, fresh);
  return [
    block("Before", clamp(report, place, "Before", before, "p", from), ""),
    block(`Now${trial}`, [...clamp(report, place, "Now", now, "p", from), ...why]),
  ];
}

/** Why it failed, got worse or has no score, as far as the two answers do not show it. @param {Report} report @param {Case} one @returns {Child[]} */
function showWhy(report, one) {
  const lines = [];
  if (one.same) {
    const first = report.page.cases[report.places.get(one.same) ?? 0];
    lines.push(h("p", { class: "why" }, "No recording, for the same reason as ", h("a", { href: report.hash({ case: one.same }) }, bdi(first.label)), "."));
  } else if (one.why) {
    const metric = one.kind === "no score" && one.moved ? `${one.moved[0][0]}: ` : "";
    lines.push(h("p", { class: "why" }, h("b", {}, bdi(metric ? `${metric}${one.why}.` : sentence(one.why)))));
  }
  for (const text of [one.note, one.blame, one.kind !== "no score" && one.review && `to review: ${one.review}`]) if (text) lines.push(h("p", { class: "why" }, bdi(sentence(text))));
  return lines;
}

/**
 * A text, the first lines of it if it is long, from a place shortly before the first difference.
 * @param {Report} report
 * @param {number} place
 * @param {string} title
 * @param {number} text
 * @param {string} [tag]
 * @param {number} [from]
 * @returns {Child[]}
 */
function clamp(report, place, title, text, tag = "p", from = 0) {
  const body = report.textOf(text);
  const stored = report.page.texts[text];
  const isLong = body.length > MAX_CHARS || body.split("\n", MAX_LINES + 1).length > MAX_LINES;
  const key = `${place}.${title}`;
  const isWhole = report.whole.has(key);
  if (!body) return [h("p", { class: "muted" }, "(empty)")];
  if (!isLong) return [h(tag, { dir: "auto" }, body)];
  const begun = !isWhole && from > 0 ? `… ${body.slice(from)}` : body;
  const children = [h(tag, { dir: "auto", class: isWhole ? "" : "clamped" }, begun)];
  if (isWhole && typeof stored !== "string") children.push(h("p", { class: "muted" }, sayCut(stored[1])));
  children.push(h("p", {}, button(isWhole ? "Show less" : "Show all", () => report.toggleWhole(place, key))));
  return children;
}

/** Measurements, calls, origin and more, a button for each. @param {Report} report @param {number} place @param {Case} one */
function buildDetails(report, place, one) {
  if (!report.detailed.has(place)) return null;
  const sections = SECTIONS.map((section, number) => ({ ...section, key: `${place}.${number}`, n: section.count(one) })).filter((section) => section.n);
  const isShown = (/** @type {{ key: string, title: string }} */ { key, title }) => report.sections.get(key) ?? title === DEFAULT_SECTION;
  return h(
    "div", { class: "pane" },
    h("div", { class: "more" }, ...sections.map((section) => h(
      "button", {
        type: "button", class: "small", "aria-expanded": String(isShown(section)),
        click: () => report.toggleSection(place, section.key, section.title, !isShown(section)),
      },
      section.title, section.n > 1 && h("span", { class: "count" }, ` ${section.n}`),
    ))),
    ...sections.filter(isShown).map((section) => h(
      "section", { class: "section", "aria-label": section.title }, h("h3", {}, section.title), ...section.show(report, one),
    )),
  );
}
