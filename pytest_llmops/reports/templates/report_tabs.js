import { bdi, buildTable, h, sayWord, svg } from "./report_elements.js";
import { findDomain, plotAxis, plotChange, showHistogram } from "./report_pictures.js";
/** @import { Child, GateRow } from "./report_types.js" */
/** @import { Report } from "./report.js" */

/** @param {Report} report @returns {Child[]} */
export function buildMetrics(report) {
  const { changes, decision, metrics } = report.page;
  const parts = [];
  if (changes.length) parts.push(buildChangeTable(changes));
  if (decision.length) parts.push(h("section", { class: "decision" }, h("h2", {}, "How this was decided"), ...decision.map((text) => h("p", {}, bdi(text)))));
  const rows = metrics.map((metric) => [
    h("span", {}, bdi(metric.name), " ", metric.doubt && h("span", { class: "tag" }, metric.doubt), metric.version && h("span", { class: "muted" }, " ", bdi(metric.version))),
    metric.n, ...metric.values, metric.threshold,
    h("span", { class: metric.failed ? "red" : "muted" }, String(metric.failed)), h("span", { class: metric.errored ? "violet" : "muted" }, String(metric.errored)),
    h("span", { class: metric.recorded ? "" : "muted" }, String(metric.recorded)), showHistogram(metric),
  ]);
  parts.push(buildTable(["metric", "n", "mean", "median", "min", "max", "threshold", "failed", "no score", "no threshold", "distribution"], rows, "Scores of this run"));
  return parts;
}

/** All figures of the metrics since the baseline. @param {GateRow[]} changes */
function buildChangeTable(changes) {
  const domain = findDomain(changes);
  const head = ["metric", "verdict", "before", "now", "change", "points", "likely range", plotAxis(domain), "smallest drop detected", "trials", "no score", "cases"];
  const rows = changes.map((row) => [
    bdi(row.name), sayWord(row.word, row.tone), row.before, h("b", {}, row.now), row.change, row.points, row.range || "–", plotChange(row, domain),
    row.detectable, row.trials, row.unscored, row.cases,
  ]);
  const styles = ["", "", "n", "n", "n opt", "n", "n", "pic", "n opt", "n opt", "n opt", "n opt"];
  return buildTable(head, rows, "Since the baseline: before, now and change on the metric's own scale, the rest in points", styles);
}

/** @param {Report} report @returns {Child[]} */
export function buildReview(report) {
  const rows = report.page.review.map((item) => [
    h("span", {}, h("a", { href: report.hash({ view: "", q: "", case: item.id }) }, bdi(item.case)), item.test && h("span", { class: "muted" }, " ", bdi(item.test))),
    h("span", {}, bdi(item.judge), " ", h("span", { class: "muted" }, bdi(item.version))), item.score, item.confidence, bdi(item.reason),
  ]);
  return [
    h("p", {}, "The least certain first. The verdict of an uncertain judge decides nothing: ", h("code", {}, "llmops judge export-labels run.json --out labels.jsonl"), " writes these answers to a file for people to label."),
    buildTable(["case", "judge", "score", "confidence", "why"], rows, "For a person to look at"),
  ];
}

/** Charts of the stored runs, and a table of them. @param {Report} report @returns {Child[]} */
export function buildHistory(report) {
  const { history } = report.page;
  const names = (/** @type {string[][]} */ lists) => [...new Set(lists.flat())];
  const charts = h("div", { class: "charts" });
  const draw = (/** @type {string} */ side) => {
    const measures = names(history.map((run) => Object.keys(run.sides[side] || {})));
    charts.replaceChildren(...measures.map((name) => buildChart(report, name, history.map((run) => run.sides[side]?.[name]))));
  };
  const sides = names(history.map((run) => Object.keys(run.sides)));
  const select = h("select", { change: (/** @type {any} */ event) => draw(event.target.value) }, ...sides.map((side) => h("option", { value: side }, side)));
  draw(sides[0]);
  const rows = history.map((run, place) => [
    h("span", { id: `run-${place}` }, run.when || "not dated"), run.commit, h("span", {}, h("b", {}, run.verdict[0]), ` ${run.verdict[1]}`),
    h("div", {}, ...run.bad.map(([id, name]) => h("p", {}, report.places.has(id) ? h("a", { href: report.hash({ view: "", q: "", case: id }) }, bdi(name)) : bdi(name))), run.rest > 0 && `and ${run.rest} more`),
  ]).reverse();
  return [
    h("div", { class: "controls" }, h("label", {}, "of ", select)), charts,
    h("p", { class: "legend" }, "Each version of a metric has its own line. A test of an older run links to the same test of this run."),
    buildTable(["run", "commit", "verdict", "failed or without a score"], rows, "Runs, the newest first"),
  ];
}

/** One measure over the runs; a run without a value leaves a gap. @param {Report} report @param {string} name @param {([number, string, string] | undefined)[]} values */
export function buildChart(report, name, values) {
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
    const run = report.page.history[place];
    const label = [value[1], run.when, run.commit].filter(Boolean).join(", ");
    const title = svg("title");
    title.textContent = label;
    const point = svg("a", { href: report.hash({ view: "history", run: String(place) }), "aria-label": label }, title, svg("circle", { cx: at(place), cy: up(value[0]), r: 5 }));
    return [point];
  });
  const last = values.findLast(Boolean);
  return h(
    "figure", {}, h("figcaption", {}, bdi(name), " ", h("b", {}, last ? last[1] : ""), h("span", { class: "muted" }, range)),
    svg("svg", { viewBox: "0 0 320 72", role: "group", "aria-label": `${name} over the runs` }, ...parts, ...points),
  );
}

/** @param {Report} report @returns {Child[]} */
export function buildRun(report) {
  const { facts, notes, calls, run } = report.page;
  const head = ["calls of", "live", "replayed", "tokens in", "tokens out", "spent", "saved by replay", "without a price"];
  return [
    h("dl", { class: "pairs" }, ...facts.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, bdi(text))])),
    notes.length > 0 && h("section", {}, h("h2", {}, "Notes"), h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, bdi(note))))),
    calls.length > 0 && buildTable(head, calls.map((row) => row.map((cell) => bdi(cell))), "Calls"),
    h("div", { class: "columns" }, ...run.map(([title, rows]) => buildTable([], rows.map((row) => row.map((cell) => bdi(cell))), title))),
  ];
}
