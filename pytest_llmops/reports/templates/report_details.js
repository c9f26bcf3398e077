import { bdi, buildTable, h, icon, svg, toneOf } from "./report_elements.js";
import { showMeter, showPicture } from "./report_pictures.js";
import { showTrajectories } from "./report_trajectory.js";
/** @import { Call, Case, Child, Score } from "./report_types.js" */
/** @import { Report } from "./report.js" */

// Facts of a case besides its texts: measurements, passages, judges, calls, origin.

const SCORE_WORDS = /** @type {Record<string, string>} */ ({ errored: "no score", recorded: "recorded" });

/**
 * Details of a test below its texts: title, with a count if it holds several; its content.
 * A new kind of detail (guardrails) is an entry here and a key of the test's view.
 * @type {{ title: string, count: (one: Case) => number, show: (report: Report, one: Case) => Child[] }[]}
 */
export const SECTIONS = [
  { title: "Measurements", count: (one) => one.scores?.length || 0, show: (report, one) => [showScores(report, one.scores || [])] },
  {
    title: "Trajectory", count: (one) => one.trajectories?.length || 0,
    show: (report, one) => showTrajectories((place) => showText(report, place), report, one.trajectories || []),
  },
  {
    title: "Passages",
    count: (one) => (one.scores || []).reduce((most, score) => Math.max(most, score.passages?.length || 0), 0),
    show: (report, one) => showPassages(report, one),
  },
  { title: "Threshold sweep", count: (one) => (one.scores || []).filter((score) => score.sweep).length, show: (_, one) => showSweeps(one) },
  { title: "Judge", count: (one) => (one.scores || []).filter((score) => score.judge).length, show: (report, one) => showJudges(report, one) },
  { title: "Calls", count: (one) => one.calls?.length || 0, show: (report, one) => (one.calls || []).map((call) => showCall(report, call)) },
  { title: "Failure text", count: (one) => (one.message === undefined ? 0 : 1), show: (report, one) => [showText(report, one.message ?? 0)] },
  { title: "Texts", count: (one) => one.texts?.length || 0, show: (report, one) => (one.texts || []).flatMap(([label, place]) => [h("h4", {}, bdi(label)), showText(report, place)]) },
  { title: "Origin", count: () => 1, show: (report, one) => showOrigin(report, one) },
];

/** A text in a box that scrolls. @param {Report} report @param {number} place @returns {HTMLElement} */
export function showText(report, place) {
  const text = report.page.texts[place];
  const body = report.textOf(place);
  const isLong = body.length > 600 || body.split("\n", 13).length > 12;
  const pre = h("pre", { dir: "auto", tabindex: isLong ? 0 : null }, body);
  if (typeof text === "string") return pre;
  return h("div", {}, pre, h("p", { class: "muted" }, sayCut(text[1])));
}

/** Images and players of sounds, from data URIs that html_media.py has checked. @param {Report} report @param {number[]} places @returns {HTMLElement[]} */
export function showMedia(report, places) {
  return places.map((place) => {
    const { label, kind, why, address } = report.page.media[place];
    if (!address) return h("p", { class: "muted" }, bdi(`${label} ${why}`));
    const content = kind === "image" ? h("img", { src: address, alt: label }) : h("audio", { src: address, controls: true, preload: "metadata" });
    return h("figure", { class: "media" }, content, h("figcaption", {}, bdi(label)));
  });
}

/** @param {number} count  characters */
export function sayCut(count) {
  return `cut here: ${count.toLocaleString("en")} more characters are in the run file`;
}

/** @param {Report} report @param {Score[]} scores */
function showScores(report, scores) {
  const rows = scores.map((score) => [
    h("span", {}, bdi(score.name), score.version && h("span", { class: "muted" }, " ", bdi(score.version))),
    h("span", {}, score.value, " ", score.doubt && h("span", { class: "tag" }, score.doubt)), score.threshold || "–", showMeter(score),
    h("span", { class: `word ${toneOf(score.status)}` }, icon(score.status), `${SCORE_WORDS[score.status] || score.status}`),
    h(
      "div", {}, score.reason && bdi(score.reason), score.samples && h("p", { class: "muted" }, `trials ${score.samples}`),
      ...(score.evidence || []).map(([label, place]) => h("p", {}, h("span", { class: "muted" }, bdi(label), " "), bdi(report.textOf(place)))),
      score.picture && showPicture(score.picture),
      score.more !== undefined && h("details", {}, h("summary", {}, "details"), showText(report, score.more)),
    ),
  ]);
  return buildTable(["metric", "value", "threshold", "0 to 1", "status", "reason"], rows);
}

/** Hit rate, false hits and saving of a cache by its threshold, as curves and as numbers. @param {Case} one @returns {Child[]} */
function showSweeps(one) {
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

/** The retrieved passages, and the expected ones. @param {Report} report @param {Case} one @returns {Child[]} */
function showPassages(report, one) {
  return (one.scores || []).filter((score) => score.passages).map((score) => {
    const rows = (score.passages || []).map(([rank, id, place, relevant]) => [
      rank, bdi(id), relevant === null ? "" : h("span", { class: relevant ? "green" : "muted" }, relevant ? "relevant" : "not relevant"),
      place === null ? "" : bdi(report.textOf(place)),
    ]);
    return buildTable(["rank", "id", "relevance", "text"], rows, `${score.name} ${score.value}${score.reason ? `: ${score.reason}` : ""}`);
  });
}

/** @param {Report} report @param {Case} one @returns {Child[]} */
function showJudges(report, one) {
  return (one.scores || []).flatMap((score) => {
    const { judge } = score;
    if (!judge) return [];
    const facts = [...(judge.dimensions || []).map((pair) => pair.join(" ")), judge.votes && `votes ${judge.votes}`].filter(Boolean).join(" · ");
    return [
      h("p", {}, h("b", {}, bdi(score.name)), " ", bdi(judge.score), facts && bdi(` · ${facts}`), h("span", { class: "muted" }, " ", bdi(`${judge.name} (${judge.calibration})`))),
      score.reason && h("p", { class: "reason" }, bdi(score.reason)),
      judge.raw !== undefined && h("details", {}, h("summary", {}, "the judge's reply"), showText(report, judge.raw)),
    ];
  }).concat((one.calls || []).filter((call) => call.purpose === "judge").map((call) => showCall(report, call)));
}

/** @param {Report} report @param {Call} call */
function showCall(report, call) {
  const details = h(
    "details", { class: "call", toggle: () => {
      if (details.childElementCount > 1) return;
      details.append(h("div", {}, ...call.parts.flatMap(([label, place, media = []]) => [
        h("h4", { class: label === "output" ? "answer" : null }, bdi(label)), showText(report, place), ...showMedia(report, media),
      ])));
    } },
    h(
      "summary", {}, h("b", {}, bdi(call.title)), ...call.facts.flatMap((fact) => [" · ", bdi(fact)]),
      call.tools && bdi(` · tools offered: ${call.tools}`),
    ),
  );
  return details;
}

/** @param {Report} report @param {Case} one @returns {Child[]} */
function showOrigin(report, one) {
  return [
    h("dl", { class: "pairs" }, ...(one.facts || []).flatMap(([key, value]) => [h("dt", {}, bdi(key)), h("dd", {}, bdi(value))]), one.tags && h("dt", {}, "tags"), one.tags && h("dd", {}, bdi(one.tags.join(", ")))),
    one.more !== undefined && h("details", {}, h("summary", {}, "more facts"), showText(report, one.more)),
    h("pre", { class: "rerun", tabindex: 0 }, one.rerun),
  ];
}
