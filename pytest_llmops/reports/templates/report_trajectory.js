import { bdi, button, h } from "./report_elements.js";
/** @import { AgentCall, AgentStep, Child, StepChanges, Trajectory } from "./report_types.js" */
/** @import { Report } from "./report.js" */

// The steps of an agent, and the calls that differ from the baseline.

const MESSAGE_CHARS = 300; // characters of a message, before it is folded
const MESSAGE_LINES = 5;
const LEAST_FOR_ALL = 3; // calls, for a button that opens them all

/** The trajectories of a test. @param {(place: number) => HTMLElement} showText @param {Report} report @param {Trajectory[]} trajectories @returns {Child[]} */
export function showTrajectories(showText, report, trajectories) {
  return trajectories.map((trajectory) => {
    const steps = showSteps(showText, report, trajectory);
    const calls = steps.querySelectorAll("details.tool");
    const openAll = button("Open all calls", () => {
      const isClosed = [...calls].some((call) => !call.hasAttribute("open"));
      for (const call of calls) call.toggleAttribute("open", isClosed);
      openAll.textContent = isClosed ? "Close all calls" : "Open all calls";
    });
    return h(
      "div", { class: "trajectory" },
      h("h4", {}, bdi(trajectory.title || ""), trajectory.trials && ` (${trajectory.trials})`),
      calls.length >= LEAST_FOR_ALL && h("p", {}, openAll), steps,
    );
  });
}

/** @param {(place: number) => HTMLElement} showText @param {Report} report @param {Trajectory} trajectory @returns {HTMLElement} */
function showSteps(showText, report, trajectory) {
  return h(
    "div", {}, h("ol", { class: "steps", role: "list" }, ...trajectory.steps.map((step) => showStep(showText, report, step))),
    trajectory.cut ? h("p", { class: "muted" }, `${trajectory.cut.toLocaleString("en")} more steps are not stored`) : null,
    ...(trajectory.problems || []).map((problem) => h("p", { class: "problem" }, bdi(problem))),
  );
}

/** @param {(place: number) => HTMLElement} showText @param {Report} report @param {AgentStep} step */
function showStep(showText, report, step) {
  const isAgent = step.role === "assistant";
  return h(
    "li", { class: isAgent ? "assistant" : null },
    h("p", { class: "who" }, h("b", {}, bdi(isAgent ? step.agent || step.role : step.role)), !isAgent && step.agent && bdi(` ${step.agent}`), step.facts && h("span", { class: "muted" }, ` ${step.facts}`)),
    step.text !== undefined && showMessage(showText, report, step.text),
    ...(step.calls || []).flatMap((call) => showToolCall(showText, report, call)),
    step.cut ? h("p", { class: "muted" }, `${step.cut.toLocaleString("en")} more calls are not stored`) : null,
  );
}

/** A message; a long one is folded to its beginning. @param {(place: number) => HTMLElement} showText @param {Report} report @param {number} place */
function showMessage(showText, report, place) {
  const text = report.textOf(place);
  const isLong = text.length > MESSAGE_CHARS || text.split("\n", MESSAGE_LINES + 1).length > MESSAGE_LINES;
  if (!isLong) return h("p", { class: "message", dir: "auto" }, text);
  const beginning = text.slice(0, MESSAGE_CHARS / 2).replace(/\s+/g, " ");
  return fold(h("summary", {}, bdi(`${beginning} …`)), "message", () => [showText(place)]);
}

/** A call, with the steps of the agent that it started below it. @param {(place: number) => HTMLElement} showText @param {Report} report @param {AgentCall} call @returns {Child[]} */
function showToolCall(showText, report, call) {
  const summary = h(
    "summary", {}, h("span", { class: "muted" }, `${call.number} `), h("b", {}, bdi(call.name)), call.short && bdi(` ${call.short}`),
    call.brief !== undefined && h("span", { class: "muted" }, " → ", bdi(call.brief || "(empty)")),
    ...[call.failed && "error", call.problem && "invalid arguments"].flatMap((word) => (word ? [" ", h("span", { class: "tag red" }, word)] : [])),
    ...(call.unexpected ? [" ", h("span", { class: "tag" }, "not expected")] : []), call.took && h("span", { class: "muted" }, ` ${call.took}`),
  );
  const content = () => [
    call.problem && h("p", { class: "problem" }, bdi(call.problem)),
    h("h5", {}, "Arguments"), call.arguments === undefined ? h("p", { class: "muted" }, "none") : showText(call.arguments),
    h("h5", {}, call.failed ? "Result (error)" : "Result"), call.result === undefined ? h("p", { class: "muted" }, "not known") : showText(call.result),
  ];
  const { started } = call;
  return [
    fold(summary, `tool${call.failed || call.problem ? " red" : ""}`, content),
    started && h("details", { class: "started", open: true }, h("summary", {}, bdi(started.title || "")), showSteps(showText, report, started)),
  ];
}

/** Details whose content is made when they are opened first. @param {HTMLElement} summary @param {string} style @param {() => Child[]} content */
function fold(summary, style, content) {
  const details = h("details", { class: style, toggle: () => {
    if (details.childElementCount > 1) return;
    details.append(h("div", {}, ...content()));
  } }, summary);
  return details;
}

/** The calls that differ from the baseline. @param {StepChanges | undefined} changes @returns {Child[]} */
export function showStepChanges(changes) {
  if (!changes) return [];
  const tags = /** @type {Record<string, string>} */ ({ "+": "ins", "-": "del" });
  return [
    h("h3", {}, `Steps since the baseline${changes.trials ? ` (${changes.trials})` : ""}`),
    h(
      "div", { class: "lines" }, ...changes.lines.map(([sign, text]) => (tags[sign] ? h(tags[sign], {}, bdi(text)) : h("span", { class: "changed" }, bdi(text)))),
      changes.rest > 0 && h("p", { class: "muted" }, `and ${changes.rest.toLocaleString("en")} more`),
    ),
  ];
}
