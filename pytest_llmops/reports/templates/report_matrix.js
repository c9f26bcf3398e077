import { bdi, counted, h, icon, toneOf } from "./report_elements.js";
import { diffAnswers, showEdits } from "./report_answers.js";
import { VirtualList } from "./report_list.js";
/** @import { Cell, Child, Matrix } from "./report_types.js" */
/** @import { Report } from "./report.js" */

const MAX_OUTPUT = 2000; // characters of a text in a cell

/** An output, as a difference to another one where that helps. @param {string} output @param {string | null} other @returns {Child[]} */
function showOutput(output, other) {
  const edits = other === null ? null : diffAnswers(other, output);
  return edits ? showEdits(edits) : [output.slice(0, MAX_OUTPUT)];
}

/** Rows are cases, columns are versions or models, with the outputs side by side. @param {Report} report @param {Matrix} matrix */
export function buildMatrix(report, matrix) {
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
    const texts = (report.page.cases[place].texts || []).filter(([label]) => label.startsWith("output"));
    return texts.length ? report.textOf(texts[0][1]) : null;
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
    const one = report.page.cases[place];
    const output = outputOf(cell);
    const other = base.length && base[0] !== cell ? outputOf(base[0]) : null;
    return h(
      "div", {},
      h("p", {}, h("a", { class: `word ${toneOf(one.outcome)}`, href: report.hash({ view: "", q: "", case: one.id }) }, icon(one.outcome), one.outcome)),
      ...scores.map(([value, status, moved], number) => h(
        "p", { class: "score" }, bdi(matrix.metrics[number]), " ", h("b", { class: toneOf(status) }, value),
        moved && state.base < 1 && h("span", { class: toneOf(moved), title: `${moved} than the first column` }, moved === "better" ? " ▲" : " ▼"),
      )),
      output !== null && h("pre", { dir: "auto" }, ...showOutput(output, other)),
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
  report.lists.push(list);
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
    h("p", { class: "legend" }, "▲ better and ▼ worse than the first column, by the number shown. They are left out where outputs are shown as differences to another column. One run of a case proves no difference."),
  );
}
