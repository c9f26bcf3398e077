// The types of the page's data: `build_page` in html.py writes it. This file is for the type checker only, the page does not contain it.

/**
 * @typedef {string | [string, number]} StoredText  a text, or a text that was cut with the number of characters left out
 * @typedef {[label: string, place: number]} LabelledText  the place is one in `Page.texts`
 * @typedef {{ word: string, tone: string, title: string, sentence: string, merge: string, facts: string[], why: string, also: string,
 *   caution: string, next: string, command: string, override: string }} Headline
 * @typedef {{ title: string, items: { text: string, note: string, lines: string[] }[] }} Causes
 * @typedef {{ name: string, family: boolean, before: string, now: string, change: string, points: string, range: string, word: string,
 *   tone: string, at: number | null, low: number | null, high: number | null }} ChangeRow  a metric; the numbers are points
 * @typedef {ChangeRow & { quiet: boolean, phone: boolean, detectable: string, trials: string, unscored: string, cases: string }} GateRow
 * @typedef {[counted: string, share: string, required: string, interval: string, value: number | null, low: number | null,
 *   high: number | null, limit: number | null]} Share
 * @typedef {{ name: string, word: string, tone: string, decides: boolean, sentence: string, next: string, look: string, data: string,
 *   details: string[], metric: ChangeRow | null, others: ChangeRow[], share: Share | null }} Comparison
 * @typedef {{ kind: string, title: string, about: string, rows: Comparison[] }} ComparisonTable
 * @typedef {[name: string, version: string, model: string, word: string, tone: string, agreement: string, canaries: string]} JudgeRow
 * @typedef {{ score: string, name: string, dimensions?: [string, string][], votes?: string, raw?: number, calibration: string }} Judge
 * @typedef {[rank: string, id: string, place: number | null, relevant: boolean | null]} Passage
 * @typedef {[threshold: number | null, hitRate: number | null, falseHits: number | null, saving: number | null]} SweepRow
 * @typedef {{ name: string, value: string, number?: number, threshold?: string, status: string, reason?: string, version?: string,
 *   samples?: string, doubt?: string, bar?: number, tick?: number, evidence?: LabelledText[], judge?: Judge, passages?: Passage[],
 *   sweep?: SweepRow[], picture?: Picture, more?: number }} Score
 * @typedef {{ x?: unknown, y?: unknown, points?: unknown, diagonal?: unknown }} Picture  of a run file, so nothing is sure
 * @typedef {{ label: string, kind: string, why: string, address?: string }} Media  without an address, `why` it is not shown
 * @typedef {{ title: string, purpose: string, facts: string[], parts: [label: string, place: number, media?: number[]][], tools: string }} Call
 * @typedef {{ number: number, name: string, short: string, brief?: string, arguments?: number, result?: number, problem?: string,
 *   failed?: boolean, unexpected?: boolean, took?: string, started?: Trajectory }} AgentCall
 * @typedef {{ role: string, facts: string, agent?: string, text?: number, calls?: AgentCall[], cut?: number }} AgentStep
 * @typedef {{ title?: string, trials?: string, steps: AgentStep[], problems?: string[], cut?: number }} Trajectory
 * @typedef {{ lines: [sign: string, text: string][], rest: number, trials: string }} StepChanges
 * @typedef {[name: string, before: string, after: string, needs: string, moved: string]} Moved  a score, before and now
 * @typedef {{ id: string, kind: string, state?: string, label: string, test?: string, moved?: Moved[], why?: string, note?: string, trial?: string,
 *   question?: number, expected?: number, before?: number, now?: number, lost?: string, file: string, name: string, outcome: string,
 *   blame?: string, review?: string, version?: string, model?: string, tags?: string[], cost?: number, tokens?: number, latency?: number,
 *   used?: string, message?: number, texts?: LabelledText[], scores?: Score[], calls?: Call[], trajectories?: Trajectory[], steps?: StepChanges, facts?: [string, string][], more?: number,
 *   rerun: string, same?: string, media?: Record<string, number[]> }} Case
 * @typedef {{ name: string, version: string, doubt: string, n: string, values: string[], threshold: string, failed: number,
 *   errored: number, recorded: number, bins: number[], missed: number[], line: number | null }} Metric
 * @typedef {[place: number, scores: [value: string, status: string, moved: string][]]} Cell
 * @typedef {[name: string, differs: boolean, cells: Cell[][]]} Row
 * @typedef {{ label: string, passed: [number, number], facts: string[], means: string[] }} Column
 * @typedef {{ axis: string, test: string, prompt: string, metrics: string[], columns: Column[], rows: Row[] }} Matrix
 * @typedef {{ head: string[], rows: string[][], tests?: string }} Table
 * @typedef {{ id: string, case: string, test: string, judge: string, version: string, score: string, confidence: string,
 *   reason: string }} Review
 * @typedef {{ count: number, sentence: string, kinds: [label: string, counted: string, tone: string, text: string][],
 *   ends: [id: string, test: string, label: string, status: string, tone: string, why: string, record: string][], rest: number, unrecorded: string[] }} Faults
 * @typedef {{ when: string, commit: string, verdict: [string, string], bad: [id: string, name: string][], rest: number,
 *   sides: Record<string, Record<string, [number: number, text: string, version: string]>> }} StoredRun
 * @typedef {{ headline: Headline, ran: string[], causes: Causes | null, changes: GateRow[], decision: string[],
 *   chips: [kind: string, title: string, count: number][], unchanged: string, removed: { names: string[], count: number },
 *   metrics: Metric[], comparisons: { compared: string, count: number, tables: ComparisonTable[], judges: JudgeRow[] }, matrices: Matrix[], candidates: Table[], faults: Faults, review: Review[], facts: [string, string][],
 *   notes: string[], calls: string[][], run: [string, [string, string][]][], history: StoredRun[], cases: Case[], texts: StoredText[],
 *   media: Media[]
 *   }} Page
 * @typedef {{ kind: "same" | "old" | "new", text: string }} Edit
 * @typedef {Node | string | null | undefined | false} Child
 */
export {};
