import { bdi, button, counted, h, icon, sayWord } from "./report_elements.js";
import { findDomain, plotAxis, plotChange } from "./report_pictures.js";
/** @import { Causes, Child, GateRow } from "./report_types.js" */
/** @import { Domain } from "./report_pictures.js" */
/** @import { Report } from "./report.js" */

// The first screen: the verdict, the edit or the cause, and the metrics.

const MAX_METRICS = 4; // in the overview; the tab has all

/** @param {Report} report */
export function buildHeader(report) {
  return h(
    "header", {},
    h("div", { class: "top" }, h("p", {}, "LLM regression report"), h("p", {}, ...report.page.ran.map((text, place) => h("span", { class: place > 0 && text.includes(" in ") ? "long" : null }, place > 0 && " · ", bdi(text))))),
    buildVerdict(report), buildOverview(report),
  );
}

/** @param {Report} report */
function buildVerdict(report) {
  const { word, tone, sentence, merge, facts, why, also, caution } = report.page.headline;
  const merged = merge && `${merge}${facts.length ? ":" : "."}`;
  return h(
    "section", { class: `verdict ${tone}`, "aria-label": "Verdict" },
    h("h1", { class: "headline" }, h("span", { class: "badge" }, icon(word), word), " ", bdi(`${sentence}.`)),
    (merged || facts.length > 0 || why) && h(
      "p", { class: "facts" }, merged && h("b", {}, merged),
      ...facts.flatMap((fact, place) => [" ", h("span", {}, bdi(fact), place < facts.length - 1 ? ";" : ".")]), why && " ", why && bdi(`${why}.`),
    ),
    also && h("p", {}, bdi(also)),
    caution && h("p", { class: "caution" }, h("b", {}, "Caution:"), " ", bdi(`${caution}.`)),
    ...buildNext(report),
  );
}

/** The next step, with a command to copy; the one that accepts a drop is behind a click. @param {Report} report @returns {Child[]} */
function buildNext(report) {
  const { next, command, override } = report.page.headline;
  const parts = [];
  if (next) parts.push(h("p", { class: "next" }, h("b", {}, "Next:"), " ", h("span", {}, bdi(next)), " ", ...(command ? showCommand(report, command) : [])));
  if (override) parts.push(h("details", { class: "override" }, h("summary", {}, "If the drop is intended"), h("p", { class: "next" }, h("span", {}, "a person accepts it:"), " ", ...showCommand(report, override))));
  return parts;
}

/** @param {Report} report @param {string} command @returns {Child[]} */
function showCommand(report, command) {
  return [h("code", { class: "cmd", tabindex: 0 }, command), button("Copy", () => report.copy(command, "the command"))];
}

/** @param {Report} report */
function buildOverview(report) {
  const { causes, changes } = report.page;
  const rows = changes.filter((row) => !row.family && !row.quiet);
  if (!causes && !rows.length) return null;
  return h("div", { class: `overview${causes && rows.length ? " two" : ""}` }, causes && buildCauses(causes), rows.length > 0 && buildMetricTable(report, rows));
}

/** @param {Causes} causes */
function buildCauses({ title, items }) {
  return h(
    "section", { class: "causes" }, h("h2", {}, title),
    ...items.flatMap(({ text, note, lines }) => [
      h("p", {}, bdi(text), note && h("span", { class: "muted" }, ", ", note)),
      lines.length > 0 && h("div", { class: "lines", dir: "auto" }, ...lines.map(showLine)),
    ]),
  );
}

/** A line of a difference: its sign is a column of its own. @param {string} line */
function showLine(line) {
  const tag = line.startsWith("- ") ? "del" : line.startsWith("+ ") ? "ins" : "p";
  return h(tag, {}, bdi(line.slice(2)));
}

/** Before, now, change and its picture; all rows have one scale. @param {Report} report @param {GateRow[]} rows */
function buildMetricTable(report, rows) {
  const shown = rows.filter((row, place) => place < MAX_METRICS || row.phone);
  const onPhone = shown.filter((row) => row.phone);
  const domains = { wide: findDomain(shown), narrow: findDomain(onPhone, { isNarrow: true }) };
  const link = (/** @type {string} */ style, /** @type {string} */ text) => h("a", { href: report.hash({ view: "metrics" }), class: `nowrap ${style}` }, text);
  const rest = rows.length - shown.length;
  const restOnPhone = rows.length - onPhone.length;
  const head = ["Metric", "Before", "Now", "Change", "Points"].map((title, place) => h("th", { scope: "col", class: place ? "n" : null }, title));
  return h(
    "section", { class: "metrics" },
    h(
      "table", {}, h("thead", {}, h("tr", {}, ...head, h("th", { scope: "col", class: "pic" }, plotAxis(domains.wide)), h("th", { scope: "col" }, "Verdict"))),
      h("tbody", {}, ...shown.map((row) => buildMetricRow(row, domains, row === onPhone[0]))),
    ),
    h(
      "p", { class: "legend" }, "1 point is 1 % of a metric's scale. ",
      shown.some((row) => row.at !== null) && h("span", { class: "long" }, "Dot: the change. Line: its likely range. Dashed: limit, −5 points. Left of 0 is worse. "),
      onPhone.some((row) => row.at !== null) && h("span", { class: "phone" }, "Dot: change, line: likely range, dashed: limit, left of 0: worse. "),
      rest > 0 && link("long", `and ${rest} more`), restOnPhone > 0 && link("phone", `+ ${counted(restOnPhone, "more metric")}`),
    ),
  );
}

/** A row; on a phone the verdict is next to the name, and only the first picture has labels. @param {GateRow} row @param {{ wide: Domain, narrow: Domain }} domains @param {boolean} labelled */
function buildMetricRow(row, domains, labelled) {
  const styles = [!row.phone && "wide", labelled && "labelled"].filter(Boolean);
  return h(
    "tr", { class: styles.join(" ") || null }, h("th", { scope: "row" }, bdi(row.name), h("span", { class: "phone" }, " ", sayWord(row.word, row.tone))),
    h("td", { class: "n before" }, row.before), h("td", { class: "n" }, h("b", {}, row.now)), h("td", { class: "n change" }, row.change),
    h("td", { class: "n points" }, row.points, row.at !== null && h("span", { class: "phone" }, " points")),
    h("td", { class: "pic" }, h("span", { class: "wide" }, plotChange(row, domains.wide)), h("span", { class: "phone" }, plotChange(row, domains.narrow, labelled))),
    h("td", { class: "wide" }, sayWord(row.word, row.tone)),
  );
}
