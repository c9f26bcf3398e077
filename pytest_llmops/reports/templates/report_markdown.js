/** @import { Case } from "./report_types.js" */
/** @import { Report } from "./report.js" */

/** A test for an issue or an agent: texts in fences that they cannot end. @param {Report} report @param {Case} one */
export function markdownOf(report, one) {
  const line = (/** @type {string} */ text) => text.replace(/[\\`*_{}[\]<>()#+!|@&~:-]/g, "\\$&");
  const ticks = (/** @type {string} */ text, /** @type {number} */ least) => "`".repeat(Math.max(least, ...[...text.matchAll(/`+/g)].map((match) => match[0].length + 1)));
  const code = (/** @type {string} */ text) => {
    const [fence, pad] = [ticks(text, 1), /^`|`$/.test(text) ? " " : ""];
    return `${fence}${pad}${text.replace(/\s+/g, " ")}${pad}${fence}`;
  };
  const fenced = (/** @type {string} */ title, /** @type {string} */ text) => {
    const fence = ticks(text, 3);
    return `**${line(title)}**\n\n${fence}text\n${text}\n${fence}`;
  };
  const parts = [`### ${one.outcome}: ${code(`${one.file}::${one.name}`)}`];
  const moved = (one.moved || []).map(([name, before, after, needs]) => `- ${line(name)}: ${before ? `${line(before)} → ` : ""}${line(after)}${needs ? ` (needs ${line(needs)})` : ""}`);
  if (moved.length) parts.push(`${line(one.kind)}\n\n${moved.join("\n")}`);
  const scores = (one.scores || []).map((score) => `- ${line(score.name)}: ${line(score.value)}${score.threshold ? ` (needs ${line(score.threshold)})` : ""}, ${score.status}${score.reason ? `: ${line(score.reason)}` : ""}`);
  if (scores.length) parts.push(scores.join("\n"));
  /** @type {[string, number | undefined][]} */
  const texts = [
    ["failure", one.message], ["question", one.question], ["expected", one.expected], ["answer before", one.before],
    [one.before === undefined ? "answer" : "answer now", one.now],
  ];
  for (const [title, place] of texts) if (place !== undefined) parts.push(fenced(title, report.textOf(place)));
  if (one.steps) parts.push(fenced("steps since the baseline", one.steps.lines.map(([sign, text]) => `${sign} ${text}`).join("\n")));
  parts.push(fenced("run it again", one.rerun));
  return `${parts.join("\n\n")}\n`;
}
