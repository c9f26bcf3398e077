import { bdi, buildTable, h, sayWord } from "./report_elements.js";
import { buildMatrix } from "./report_matrix.js";
import { findDomain, plotAxis, plotChange, plotShare } from "./report_pictures.js";
/** @import { ChangeRow, Child, Comparison, ComparisonTable, JudgeRow } from "./report_types.js" */
/** @import { Report } from "./report.js" */

// The tab Comparisons: tables of verdicts with their intervals, judges, and matrices of answers side by side.

const MARGIN = [-5, 5]; // points: within them, two versions are equal
const LOWEST_KEPT = 0.85; // where the axis of changed inputs begins, unless an interval begins below it

/** @param {Report} report @returns {Child[]} */
export function buildComparisons(report) {
  const { candidates, comparisons, matrices } = report.page;
  const { tables, judges } = comparisons;
  return [
    h("p", { class: "legend" }, bdi(describeComparisons(report))),
    ...tables.flatMap((table) => [h("section", { class: "compared" }, h("h2", {}, table.title), table.about && h("p", { class: "legend" }, table.about), buildRows(table))]),
    judges.length > 0 && h("section", { class: "compared" }, h("h2", {}, "Judges"), buildJudges(judges)),
    ...candidates.map((table) => buildTable(table.head, table.rows.map((row) => row.map((cell) => bdi(cell))), table.tests)),
    candidates.length > 0 && h("p", { class: "legend" }, "Tokens, cost and latency are the application's, without its judges."),
    ...matrices.map((matrix) => buildMatrix(report, matrix)),
  ];
}

/** The comparisons and their verdicts. @param {Report} report */
function describeComparisons({ page: { comparisons, matrices } }) {
  const axes = [...new Set(matrices.map((matrix) => (matrix.axis === "prompt" ? "prompt versions" : "models")))];
  const names = comparisons.compared || axes.join(", ");
  const words = names ? `Compared: ${names}.` : "";
  if (!comparisons.tables.length) return words;
  return `${words} An undecided comparison does not change the word at the top of the page. A broken limit of a red team does.`.trim();
}

/** @param {ComparisonTable} table */
function buildRows({ kind, title, rows }) {
  if (kind === "versions") return buildVersions(title, rows);
  if (kind === "sentinels" || kind === "others") {
    const cells = rows.map((row) => [nameRow(row), sayWord(row.word, row.tone), bdi(row.sentence)]);
    return buildTable(["compared", "verdict", "result"], cells, title);
  }
  return buildShares(kind, title, rows);
}

/** The compared thing; with details behind a click. @param {Comparison} row */
function nameRow(row) {
  const more = row.details.length > 0 || row.others.length > 0 || row.next;
  return h(
    "div", {}, bdi(row.name),
    more && h(
      "details", {}, h("summary", {}, "Details"), row.next && h("p", {}, h("b", {}, "Next:"), " ", bdi(`${row.next}.`)),
      ...row.details.map((text) => h("p", {}, bdi(text))), row.others.length > 0 && buildOthers(row.others),
    ),
  );
}

/** The other metrics of a comparison. @param {ChangeRow[]} others */
function buildOthers(others) {
  const rows = others.map((row) => [bdi(row.name), row.word ? sayWord(row.word, row.tone) : "–", row.before, row.now, row.points, row.range || "–"]);
  return buildTable(["metric", "verdict", "base", "variant", "points", "likely range"], rows, "", ["", "", "n", "n", "n", "n"]);
}

/** @param {string} title @param {Comparison[]} rows */
function buildVersions(title, rows) {
  const domain = findDomain(rows.flatMap((row) => (row.metric ? [row.metric] : [])), { limits: MARGIN });
  const cells = rows.map((row) => {
    const { metric } = row;
    const first = [nameRow(row), sayWord(row.word, row.tone)];
    if (!metric) return [...first, bdi(row.sentence), "–", "–", "–", "–", null, row.data];
    return [...first, bdi(metric.name), metric.before, h("b", {}, metric.now), metric.points, metric.range || "–", plotChange(metric, domain), row.data];
  });
  const head = ["compared", "verdict", "metric", "base", "variant", "points", "likely range", plotAxis(domain), "data"];
  return buildTable(head, cells, title, ["", "", "opt", "n opt", "n opt", "n", "n opt", "pic", "n opt"]);
}

/** @param {string} kind @param {string} title @param {Comparison[]} rows */
function buildShares(kind, title, rows) {
  const lows = rows.map((row) => row.share?.[5] ?? 1);
  const lowest = Math.floor(Math.min(LOWEST_KEPT, ...lows) * 20) / 20;
  const from = kind === "changed inputs" ? lowest : 0;
  const cells = rows.map((row) => {
    const { share } = row;
    const first = [nameRow(row), sayWord(row.word, row.tone)];
    if (!share) return [...first, bdi(row.sentence), "–", "–", "–", null, bdi(row.look)];
    const [counted, text, required, interval] = share;
    return [...first, counted, h("b", {}, text), required, interval, plotShare(share, row.tone, from), row.look ? bdi(row.look) : "–"];
  });
  const head = ["what", "verdict", "count", "share", "required", "95 % interval", `${Math.round(from * 100)} to 100 %`, "look at"];
  return buildTable(head, cells, title, ["", "", "n opt", "n", "n", "n opt", "pic opt", "opt"]);
}

/** @param {JudgeRow[]} judges */
function buildJudges(judges) {
  const rows = judges.map(([name, version, model, word, tone, agreement, canaries]) => [bdi(name), sayWord(word, tone), bdi(version), bdi(model), bdi(agreement), bdi(canaries)]);
  return buildTable(["judge", "verdict", "version", "model", "agreement with people", "bad answers"], rows, "", ["", "", "opt", "opt", "", "opt"]);
}
