import { bdi, h, svg } from "./report_elements.js";
/** @import { ChangeRow, Child, Metric, Picture, Score, Share } from "./report_types.js" */

// Pictures: changes with their likely ranges, meters, histograms, points, thresholds of a cache.

const WIDTH = 192;
const NARROW = 132; // on a phone
const LIMIT = -5; // points: a drop that has to be ruled out
const LABEL_SHARE = 0.8; // room for the label of the limit, of the width that is right of it

/** @typedef {{ low: number, high: number, limits: number[], width: number }} Domain */

/**
 * One scale for all rows: with the limits, and room for the label of the first one on the left.
 * @param {ChangeRow[]} rows
 * @param {{ limits?: number[], isNarrow?: boolean }} [how]
 * @returns {Domain}
 */
export function findDomain(rows, { limits = [LIMIT], isNarrow = false } = {}) {
  const numbers = rows.flatMap((row) => [row.at, row.low, row.high]).filter((number) => number !== null);
  const high = Math.max(...numbers, ...limits, 2) + 1;
  const low = Math.min(...numbers, LIMIT - 2) - 1;
  return { low: Math.min(low, LIMIT - LABEL_SHARE * (high - LIMIT)), high, limits, width: isNarrow ? NARROW : WIDTH };
}

/** @param {Domain} domain @param {number} points */
const scale = (domain, points) => Number((((points - domain.low) / (domain.high - domain.low)) * domain.width).toFixed(1));

/** @param {string} text @param {number} x @param {number} y @param {"start" | "middle" | "end"} anchor */
function writeLabel(text, x, y, anchor) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

/** The labels of the lines, which stand above the pictures. @param {Domain} domain */
function labelLines(domain) {
  const hasTwo = domain.limits.length > 1;
  const limit = domain.width === NARROW ? "−5 points" : "limit −5 points";
  const labels = [writeLabel(hasTwo ? "−5" : limit, scale(domain, LIMIT) + 3, 12, "end"), writeLabel("0", scale(domain, 0) - 3, 12, "start")];
  if (hasTwo) labels.push(writeLabel("+5", scale(domain, -LIMIT), 12, "start"));
  return labels;
}

/** @param {number} width @param {number} height @param {string} style @param {string} label  "": a picture without a meaning of its own @param {SVGElement[]} parts */
function drawPlot(width, height, style, label, parts) {
  /** @type {Record<string, string>} */
  const words = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return svg("svg", { class: `plot ${style}`, viewBox: `0 0 ${width} ${height}`, width, height, ...words }, ...parts);
}

/** @param {Domain} domain */
export const plotAxis = (domain) => drawPlot(domain.width, 16, "", "", labelLines(domain));

/** @param {number} low @param {number} high @param {number} y */
const drawRange = (low, high, y) => svg("path", { class: "whisker", d: `M${low} ${y}H${high}M${low} ${y - 4}v8M${high} ${y - 4}v8` });

/** The change of a metric, and its likely range. @param {ChangeRow} row @param {Domain} domain @param {boolean} [labelled]  with the labels of the lines */
export function plotChange(row, domain, labelled = false) {
  if (row.at === null) return null;
  const top = labelled ? 16 : 0;
  const parts = labelled ? labelLines(domain) : [];
  for (const limit of domain.limits) parts.push(svg("path", { class: "limit", d: `M${scale(domain, limit)} ${top + 1}v18` }));
  parts.push(svg("path", { class: "zero", d: `M${scale(domain, 0)} ${top + 1}v18` }));
  if (row.low !== null && row.high !== null) parts.push(drawRange(scale(domain, row.low), scale(domain, row.high), top + 10));
  parts.push(svg("circle", { cx: scale(domain, row.at), cy: top + 10, r: 4 }));
  const words = `change ${row.points} points${row.range && `, likely range ${row.range}`}`;
  return drawPlot(domain.width, top + 20, row.tone, words, parts);
}

/**
 * A share with its interval and limit. A bar begins at 0, so an axis that begins elsewhere has none.
 * @param {Share} share
 * @param {string} tone
 * @param {number} from  where the axis begins, from 0 to 1
 */
export function plotShare([, text, required, interval, value, low, high, limit], tone, from) {
  if (value === null) return null;
  const x = (/** @type {number} */ part) => Number((Math.max((part - from) / (1 - from), 0) * 136 + 4).toFixed(1));
  const parts = [];
  if (!from) parts.push(svg("rect", { class: "track", x: 4, y: 7, width: 136, height: 6 }), svg("rect", { class: "fill", x: 4, y: 7, width: x(value) - 4, height: 6 }));
  if (low !== null && high !== null) parts.push(drawRange(x(low), x(high), 10));
  parts.push(svg("circle", { cx: x(value), cy: 10, r: 4 }));
  if (limit !== null) parts.push(svg("path", { class: "mark", d: `M${x(limit)} 1v18` }));
  return drawPlot(144, 20, tone, `${text}, interval ${interval}, required ${required}`, parts);
}

/**
 * A picture of points, each `[x, y]` or `[x, y, how many it represents]` with x and y from 0 to 1; with `diagonal`, where both are equal.
 * @param {Picture} picture
 * @returns {Child}
 */
export function showPicture(picture) {
  const points = (Array.isArray(picture.points) ? picture.points : []).map((point) => (Array.isArray(point) ? point : []).map(Number))
    .filter(([x, y]) => x >= 0 && x <= 1 && y >= 0 && y <= 1).slice(0, 500);
  if (!points.length) return null;
  const most = Math.max(...points.map(([, , count]) => count || 1));
  const dots = points.map(([x, y, count]) => {
    const title = svg("title");
    title.textContent = `${picture.x} ${x.toFixed(2)}, ${picture.y} ${y.toFixed(2)}${count ? `, ${count.toLocaleString("en")} of them` : ""}`;
    return svg("circle", { cx: 10 + x * 160, cy: 130 - y * 120, r: 2 + 4 * Math.sqrt((count || 1) / most) }, title);
  });
  const label = `${picture.y} (upwards) by ${picture.x}, both from 0 to 1`;
  const axes = svg("path", { class: "course", d: `M10 10v120h160${picture.diagonal ? "M10 130L170 10" : ""}` });
  return h("figure", { class: "picture" }, svg("svg", { viewBox: "0 0 180 140", role: "img", "aria-label": label }, axes, ...dots), h("figcaption", {}, bdi(label)));
}

/** The value of a score from 0 to 1, with its threshold. @param {Score} score */
export function showMeter(score) {
  if (score.bar === undefined) return null;
  const parts = [svg("rect", { class: "track", y: 4, width: 100, height: 4 }), svg("rect", { class: "fill", y: 4, width: score.bar, height: 4 })];
  if (score.tick !== undefined) parts.push(svg("path", { d: `M${score.tick} 0v12` }));
  return svg("svg", { class: `meter ${score.status}`, width: 100, height: 12, viewBox: "0 0 100 12", "aria-hidden": "true" }, ...parts);
}

/** @param {Metric} metric */
export function showHistogram(metric) {
  if (!metric.bins.length) return null;
  const top = Math.max(...metric.bins) || 1;
  const bars = metric.bins.flatMap((count, place) => {
    const height = count ? Math.round((count / top) * 27) + 1 : 0;
    return height ? [svg("rect", { class: metric.missed.includes(place) ? "missed" : "bar", x: place * 12 + 1, y: 31 - height, width: 10, height })] : [];
  });
  bars.push(svg("path", { d: "M0 32h120M.5 32v3M60 32v3M119.5 32v3" }));
  if (metric.line !== null) bars.push(svg("path", { class: "threshold", d: `M${metric.line * 120} 0v34` }));
  const label = `${metric.n} values from 0 to 1, by tenths: ${metric.bins.join(", ")}`;
  return svg("svg", { class: "hist", width: 120, height: 36, viewBox: "0 0 120 36", role: "img", "aria-label": label }, ...bars);
}

