import { bdi, buildTable, h, sayWord } from "./report_elements.js";
/** @import { Child } from "./report_types.js" */
/** @import { Report } from "./report.js" */

// The tab Faults: faults that the tests survived with --llm-faults.

/** @param {Report} report @returns {Child[]} */
export function buildFaults(report) {
  const { sentence, kinds, ends, rest, unrecorded } = report.page.faults;
  const summaries = kinds.map(([label, counted, tone, text]) => [bdi(label), h("span", { class: tone }, counted), bdi(text || "–")]);
  const rows = ends.map(([id, test, label, status, tone, why, record]) => [
    h("a", { href: report.hash({ view: "", q: "", case: id }) }, bdi(test)), bdi(label), tone ? sayWord(status, tone) : bdi(status),
    h("div", {}, bdi(why), record && h("p", {}, h("code", {}, bdi(record)))),
  ]);
  return [
    h("p", { class: "legend" }, bdi(`${sentence}.`)),
    kinds.length > 0 && buildTable(["fault", "survived", "not survived, or not judged"], summaries, "Kinds of faults", ["", "n", ""]),
    rows.length > 0 && buildTable(["test", "fault", "how it ended", "why"], rows, "Not survived, or not judged"),
    rest > 0 && h("p", {}, `and ${rest.toLocaleString("en")} more: the run file has them all`),
    unrecorded.length > 0 && buildTable([], unrecorded.map((name) => [bdi(name)]), "Without a recorded call that a fault could hit"),
    h("p", { class: "legend" }, "A test survives a fault if it passes. A test without a verdict does not count as not survived."),
  ];
}
