import { bdi, buildTable, button, counted, h, icon, toneOf } from "./report_elements.js";
import { buildComparisons } from "./report_comparisons.js";
import { buildCase, guessHeight } from "./report_case.js";
import { VirtualList } from "./report_list.js";
import { markdownOf } from "./report_markdown.js";
import { buildFaults } from "./report_faults.js";
import { buildHeader } from "./report_overview.js";
import { FIELDS, STATES, parseQuery, stateOf, statesOf } from "./report_query.js";
import { buildHistory, buildMetrics, buildReview, buildRun } from "./report_tabs.js";
/** @import { Page } from "./report_types.js" */

// The page of an HTML report: its state, address, keys and tabs. Its data is compressed JSON in the element #data; `build_page` in
// html.py writes it. Nothing is loaded, and everything that a model, a judge or a document wrote is set as text.

const KEYS = [
  ["j / k", "next, previous case"],
  ["] / [", "next, previous case that failed, has no score or got worse"],
  ["Enter", "open or close the case"],
  ["d", "answers: differences marked, or both texts"],
  ["/", "search"],
  ["c", "copy the case as Markdown"],
  ["r", "copy the command that runs it again"],
  ["y", "copy a link to it"],
  ["1 to 7", "the tabs"],
  ["Esc", "leave the search, close this"],
];
const QUERY_HELP = [
  ["late fee", "cases with both words, in any text of theirs; \"late fee\" in quotes: side by side"],
  ["s:failed", "by state: failed, errored, no-score, no-recording, worse, better, edited, changed, unchanged, new, passed, skipped, review, bad; several as s:failed,worse"],
  ["@billing", "with this tag"],
  ["quality<5", "by a metric, on its own scale; also cost>0.01, latency>2, tokens>500"],
  ["-word", "without it; before any of these"],
];
const MAX_PRINTED = 500;
const FEWEST_OPEN = 3; // cases that are open at the start, if they changed or failed
const MOST_OPEN = 10;
const OPEN_HEIGHT = 2000; // pixels, beyond the first three
const QUIET = ["passed", "unchanged", "skipped", "xfailed"]; // kinds of cases that are closed at the start
// Tabs of older reports
const OLD_VIEWS = /** @type {Record<string, string>} */ ({ tests: "cases", prompts: "comparisons", models: "comparisons" });

export class Report {
  /** @param {Page} page @param {HTMLElement} root */
  constructor(page, root) {
    this.page = page;
    this.root = root;
    this.query = "";
    this.sort = "";
    this.tab = "";
    this.current = -1;
    this.timer = 0;
    /** Cases that were opened or closed. @type {Map<number, boolean>} */
    this.opened = new Map();
    /** Cases that are open unless they were closed: the first of the list. @type {Set<number>} */
    this.first = new Set();
    /** Cases whose details are shown. @type {Set<number>} */
    this.detailed = new Set();
    /** @type {Map<string, boolean>} */
    this.sections = new Map();
    /** Long texts that are shown whole. @type {Set<string>} */
    this.whole = new Set();
    /** The case whose menu is open, on a touch screen. */
    this.menu = -1;
    /** Whether differences are marked. */
    this.marks = true;
    /** @type {(string | undefined)[]} */
    this.contents = [];
    /** @type {number[]} */
    this.shown = [];
    /** The cases, while they are shown. @type {VirtualList | null} */
    this.list = null;
    /** All lists of the tab. @type {VirtualList[]} */
    this.lists = [];
    this.places = new Map(page.cases.map((one, place) => [one.id, place]));
    this.status = h("span", { class: "status", role: "status", "aria-live": "polite" });
    this.panel = h("div", { role: "tabpanel", id: "panel", "aria-labelledby": "tab-cases", tabindex: -1 });
    this.help = this.buildHelp();
    this.tabs = this.buildTabs();
    this.tabRow = h("div", { role: "tablist", class: "tabs", "aria-label": "Parts of the report", keydown: (event) => this.moveTab(event) });
    root.replaceChildren(buildHeader(this), h("main", {}, this.tabRow, this.panel), this.buildFooter(), this.help);
  }

  // ------------------------------------------------------------------------------------------------------------- tabs

  buildFooter() {
    return h(
      "footer", {},
      this.page.calls.length > 0 && h("p", {}, "Costs without a known price are left out, never counted as zero. Latencies come from the recorded calls."),
      h("p", {}, h("button", { type: "button", class: "link", click: () => this.help.showModal() }, "Keys and search"), " ( ? )"),
    );
  }

  /** @returns {HTMLDialogElement} */
  buildHelp() {
    const rows = (/** @type {string[][]} */ list) => list.map(([key, text]) => [h("kbd", {}, key), text]);
    return /** @type {HTMLDialogElement} */ (h(
      "dialog", { "aria-label": "Keys and search" },
      buildTable([], rows(KEYS), "Keys"), buildTable([], rows(QUERY_HELP), "Search"),
      h("p", {}, button("Close", () => this.help.close())),
    ));
  }

  /** The tabs that have something to show: name, title, count, what builds it. */
  buildTabs() {
    const { page } = this;
    return [
      { name: "cases", title: "Cases", count: page.cases.length, build: () => this.buildCases() },
      { name: "comparisons", title: "Comparisons", count: page.comparisons.count || page.matrices.length, build: () => buildComparisons(this) },
      { name: "faults", title: "Faults", count: page.faults.count, build: () => buildFaults(this) },
      { name: "metrics", title: "Metrics", count: Math.max(page.metrics.length, page.changes.filter((row) => !row.family).length), build: () => buildMetrics(this) },
      { name: "run", title: "Run", count: -1, build: () => buildRun(this) },
      { name: "review", title: "To review", more: " by a person", count: page.review.length, build: () => buildReview(this) },
      { name: "history", title: "Over time", count: page.history.length, build: () => buildHistory(this) },
    ].filter((tab) => tab.count || tab.name === "cases");
  }

  /** @param {string} wanted */
  showTab(wanted) {
    const name = OLD_VIEWS[wanted] || wanted;
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
      known.title, known.more && h("span", { class: "long" }, known.more), known.count > 0 && h("span", { class: "count" }, ` ${known.count.toLocaleString("en")}`),
    )));
    this.panel.setAttribute("aria-labelledby", `tab-${tab.name}`);
    this.panel.className = `panel-${tab.name}`;
    this.panel.replaceChildren();
    this.panel.append(...tab.build().filter((child) => child instanceof Node));
    if (tab.name === "cases") this.applyQuery();
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
  // ------------------------------------------------------------------------------------------------------------ cases

  buildCases() {
    const { page } = this;
    if (!page.cases.length) return [h("p", { class: "muted" }, page.headline.word === "ERROR" ? "No test ran." : "No tests were recorded: nothing ran, or nothing that uses this plugin.")];
    this.box = /** @type {HTMLInputElement} */ (h("input", {
      type: "search", placeholder: window.innerWidth < 720 ? "Search" : "Search: words s:failed @tag metric<0.5  ( / )", "aria-label": "Search the cases", "aria-describedby": "problem",
      autocomplete: "off", spellcheck: "false", value: this.query, input: () => this.go({ q: this.box?.value ?? "" }, true),
    }));
    const sorts = [["", "Worst first"], ["name", "By name"], ["cost", "By cost"], ["latency", "By latency"], ["tokens", "By tokens"]];
    this.sorter = /** @type {HTMLSelectElement} */ (h(
      "select", { "aria-label": "Order of the cases", change: () => this.go({ sort: this.sorter?.value ?? "" }, true) },
      ...sorts.map(([value, title]) => h("option", { value, selected: value === this.sort }, title)),
    ));
    const chips = page.chips.length > 1 ? page.chips.map(([kind, title, count]) => this.buildChip(stateOf(kind), kind, title, count)) : [];
    if (page.cases.some((one) => one.review && one.kind !== "no score")) chips.push(this.buildChip("review", "review", "To review", page.cases.filter((one) => one.review).length));
    this.chips = [this.buildChip("", "", "All", page.cases.length), ...chips];
    this.problem = h("span", { class: "problem", id: "problem", role: "status" });
    this.tools = h(
      "div", { class: "tools" }, h("div", { class: "search" }, this.box, this.sorter), h("div", { class: "chips" }, ...this.chips), this.problem, this.status,
    );
    const rows = h("div", { class: "cases", role: "list", "aria-label": "Cases" });
    this.list = new VirtualList(
      rows, null, (key, place, count) => buildCase(this, key, place, count), (key) => guessHeight(this, key, this.isOpen(key)),
      () => this.tools?.getBoundingClientRect().height ?? 0,
    );
    this.lists.push(this.list);
    const { names, count } = page.removed;
    return [
      this.tools, page.unchanged && h("p", { class: "legend" }, page.unchanged), rows,
      names.length > 0 && h(
        "section", { class: "removed" }, h("h2", {}, "In the baseline, not in this run"), h("ul", {}, ...names.map((name) => h("li", {}, bdi(name)))),
        count > names.length && `and ${count - names.length} more`,
      ),
    ];
  }

  /** A button that shows the cases of a state. @param {string} state  "": all @param {string} kind @param {string} title @param {number} count */
  buildChip(state, kind, title, count) {
    const [short, more] = title.split(/(?=,)/);
    return h(
      "button", { type: "button", class: `chip ${toneOf(kind)}`, "aria-pressed": "false", "data-state": state, title: state === "review" ? "To review by a person" : null, click: () => this.toggleState(state) },
      kind && icon(kind), short, more && h("span", { class: "long" }, more), ` ${count.toLocaleString("en")}`,
    );
  }

  /** @param {string} state  "": all */
  toggleState(state) {
    const { states } = parseQuery(this.query, this.page, () => "");
    const others = states.filter((known) => known !== state);
    const wanted = states.includes(state) ? others : [...others, state];
    const rest = this.query.replace(/(^|\s)s:\S*/g, "").trim();
    const chosen = state && wanted.length ? `s:${wanted.join(",")}` : "";
    this.go({ q: [chosen, rest].filter(Boolean).join(" ") });
  }

  /** All text of a test in lower case. @param {number} place */
  contentOf(place) {
    let content = this.contents[place];
    if (content === undefined) {
      const one = this.page.cases[place];
      const places = new Set([one.message, one.question, one.expected, one.before, one.now, ...(one.texts || []).map((text) => text[1])]);
      const parts = [one.file, one.name, one.label, one.why, one.version, one.model, one.review, one.blame, ...(one.tags || [])];
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
    for (const chip of this.chips || []) {
      const { state } = chip.dataset;
      chip.setAttribute("aria-pressed", String(state ? states.includes(state) : !states.length));
    }
    if (this.problem) this.problem.textContent = problem;
    this.status.textContent = this.shown.length === cases.length ? "" : `${this.shown.length.toLocaleString("en")} of ${counted(cases.length, "case")}`;
    this.first = this.findFirst();
    this.list.setKeys(this.shown);
  }

  /** The first cases of the list that are worth reading: three to ten, while they fit. */
  findFirst() {
    const first = new Set();
    let height = 0;
    for (const place of this.shown.slice(0, MOST_OPEN)) {
      const one = this.page.cases[place];
      if (QUIET.includes(one.kind) || one.same) continue;
      height += guessHeight(this, place, true);
      if (first.size >= FEWEST_OPEN && height > OPEN_HEIGHT) break;
      first.add(place);
    }
    return first;
  }

  /** @param {number} place */
  isOpen(place) {
    return this.opened.get(place) ?? this.first.has(place);
  }

  /** @param {number} place */
  textOf(place) {
    const text = this.page.texts[place];
    return typeof text === "string" ? text : text[0];
  }

  // ------------------------------------------------------------------------------------------- address, keys, clipboard

  /** The address of a state: the given changes, the rest as it is. @param {Record<string, string>} changes */
  hash(changes) {
    const known = { view: this.tab === "cases" ? "" : this.tab, q: this.query, sort: this.sort, case: this.page.cases[this.current]?.id || "", ...changes };
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

  /** Show the state of an address. @param {string} hash */
  read(hash) {
    // `#case-...` alone is a link of an older report.
    const values = new URLSearchParams(/^#case-\w+$/.test(hash) ? `case=${hash.slice(1)}` : hash.slice(1));
    const id = values.get("case") || "";
    const run = values.get("run");
    const [query, sort] = [values.get("q") || "", values.get("sort") || ""];
    const changed = query !== this.query || sort !== this.sort;
    this.query = query;
    this.sort = sort;
    this.showTab(values.get("view") || "cases");
    if (this.box && this.box.value !== query) this.box.value = query;
    if (this.sorter) this.sorter.value = sort;
    if (changed && this.tab === "cases") this.applyQuery();
    if (run) {
      const row = document.getElementById(`run-${Number(run)}`)?.closest("tr");
      for (const other of this.panel.querySelectorAll("tr.current")) other.classList.remove("current");
      row?.classList.add("current");
      row?.scrollIntoView({ block: "center" });
    }
    const place = this.places.get(id);
    if (id && place === undefined) this.status.textContent = `the case of this link (${id.slice(0, 40)}) is not in this run`;
    if (place !== undefined && place !== this.current && this.tab === "cases") {
      if (!this.shown.includes(place)) {
        this.query = "";
        if (this.box) this.box.value = "";
        this.applyQuery();
      }
      this.select(place, true, true);
    }
  }

  /** Make a case the current one. @param {number} place @param {boolean} [open] @param {boolean} [always]  scroll it to the top */
  select(place, open = false, always = false) {
    const before = this.current;
    this.current = place;
    if (open) this.opened.set(place, true);
    if (before >= 0) this.list?.redraw(before);
    this.list?.reveal(place, always);
    this.list?.redraw(place);
    document.getElementById(`head-${place}`)?.focus({ preventScroll: true });
  }

  /** Go on in the shown cases. @param {number} by @param {boolean} [bad]  only cases that failed, have no score or got worse */
  step(by, bad = false) {
    if (this.tab !== "cases" || !this.shown.length) return;
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

  /** Draw a case again, and keep the focus on one of its buttons. @param {number} place @param {string} title  the beginning of its text */
  redraw(place, title) {
    this.list?.redraw(place);
    const row = this.list?.nodes.get(place);
    for (const element of row?.querySelectorAll("button") || []) if (element.textContent?.startsWith(title)) element.focus({ preventScroll: true });
  }

  /** @param {number} place */
  toggleMenu(place) {
    this.menu = this.menu === place ? -1 : place;
    this.redraw(place, "More");
  }

  /** @param {number} place */
  toggleDetails(place) {
    if (!this.detailed.delete(place)) this.detailed.add(place);
    this.redraw(place, "Details");
  }

  /** @param {number} place @param {string} key */
  toggleWhole(place, key) {
    const isWhole = this.whole.delete(key);
    if (!isWhole) this.whole.add(key);
    this.redraw(place, isWhole ? "Show all" : "Show less");
  }

  /** @param {number} place @param {string} key @param {string} title @param {boolean} shown */
  toggleSection(place, key, title, shown) {
    this.sections.set(key, shown);
    this.redraw(place, title);
  }

  /** Mark the differences of two answers, or show both. */
  toggleMarks() {
    this.marks = !this.marks;
    for (const place of [...(this.list?.nodes.keys() || [])]) if (this.page.cases[place].before !== undefined) this.list?.redraw(place);
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
    return this.copy(markdownOf(this, this.page.cases[place]), "the case as Markdown");
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
      d: () => this.toggleMarks(),
      "?": () => this.help.showModal(),
      "/": () => {
        this.go({ view: "" }, true);
        this.box?.focus();
      },
    };
    if (one && this.tab === "cases") {
      Object.assign(actions, { c: () => this.copyMarkdown(this.current), r: () => this.copy(one.rerun, "the command"), y: () => this.copyLink(this.current) });
      if (target.tagName !== "BUTTON" && target.tagName !== "A" && target.tagName !== "SUMMARY") actions.Enter = () => this.toggle(this.current);
    }
    const tab = this.tabs[Number(event.key) - 1];
    const action = tab && event.key.length === 1 ? () => this.go({ view: tab.name }) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Print the cases of the list, as many as fit on some hundred pages. @param {boolean} all */
  print(all) {
    if (!this.list) return;
    this.list.all = all;
    this.list.setKeys(all ? this.shown.slice(0, MAX_PRINTED) : this.shown);
    const rest = this.shown.length - MAX_PRINTED;
    if (all && rest > 0) this.panel.append(h("p", { class: "printed" }, `and ${counted(rest, "more case")}: a narrower search prints them`));
    else if (!all) this.panel.querySelector(".printed")?.remove();
  }

  start() {
    // With --llm-faults a passed case shows only that it ran.
    this.read(location.hash || (this.page.faults.count ? "#view=faults" : ""));
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
