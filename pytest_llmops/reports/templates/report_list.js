import { h } from "./report_elements.js";

/** A list that holds only the rows that can be seen; each row has a key, and keeps its height. */
export class VirtualList {
  /**
   * @param {HTMLElement} root  the list; its rows are children of it
   * @param {HTMLElement | null} scroller  null: the window scrolls
   * @param {(key: number, place: number, count: number) => HTMLElement} draw
   * @param {(key: number) => number} guess  height of a row that was not drawn yet
   * @param {() => number} [inset]  height that is covered at the top of the window
   */
  constructor(root, scroller, draw, guess, inset = () => 0) {
    this.root = root;
    this.scroller = scroller;
    this.draw = draw;
    this.guess = guess;
    this.inset = inset;
    /** @type {number[]} */
    this.keys = [];
    /** @type {Map<number, HTMLElement>} */
    this.nodes = new Map();
    /** By key: the measured height, else the estimate. @type {(number | undefined)[]} */
    this.heights = [];
    this.offsets = new Float64Array(1);
    this.all = false;
    this.before = h("div", { "aria-hidden": "true", role: "presentation" });
    this.after = h("div", { "aria-hidden": "true", role: "presentation" });
    root.replaceChildren(this.before, this.after);
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        if (root.isConnected) this.render();
      });
    };
    this.stop = new AbortController();
    (scroller || window).addEventListener("scroll", later, { passive: true, signal: this.stop.signal });
    window.addEventListener("resize", () => { this.heights = []; later(); }, { signal: this.stop.signal });
  }

  /** @param {number[]} keys */
  setKeys(keys) {
    this.keys = keys;
    for (const node of this.nodes.values()) node.remove();
    this.nodes.clear();
    this.render();
  }

  /** Draw a row again, if it can be seen. @param {number} key */
  redraw(key) {
    const node = this.nodes.get(key);
    this.heights[key] = undefined;
    if (node) {
      const place = this.keys.indexOf(key);
      const fresh = this.draw(key, place, this.keys.length);
      node.replaceWith(fresh);
      this.nodes.set(key, fresh);
    }
    this.render();
  }

  measure() {
    if (this.offsets.length !== this.keys.length + 1) this.offsets = new Float64Array(this.keys.length + 1);
    let sum = 0;
    for (let place = 0; place < this.keys.length; place += 1) {
      sum += this.heightOf(this.keys[place]);
      this.offsets[place + 1] = sum;
    }
  }

  /** @param {number} key */
  heightOf(key) {
    const height = this.heights[key] ?? this.guess(key);
    this.heights[key] = height;
    return height;
  }

  /** The row at a height, by its place. @param {number} y */
  find(y) {
    let [low, high] = [0, this.keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How far the list is scrolled, and how much of it can be seen. */
  view() {
    const top = this.root.getBoundingClientRect().top;
    return this.scroller
      ? { top: this.scroller.getBoundingClientRect().top - top, height: this.scroller.clientHeight }
      : { top: -top, height: window.innerHeight };
  }

  /** @param {number} by */
  scrollBy(by) {
    if (Math.abs(by) >= 1) (this.scroller || window).scrollBy({ top: by, behavior: "instant" });
  }

  render() {
    for (let round = 0; round < 4; round += 1) {
      this.measure();
      const { top, height } = this.view();
      const margin = this.all ? Infinity : 150;
      const first = this.find(Math.max(top - margin, 0));
      const last = Math.min(this.all ? this.keys.length : this.find(top + height + margin) + 1, this.keys.length);
      const anchor = Math.min(this.find(Math.max(top, 0)), this.keys.length - 1);
      const at = this.offsets[Math.max(anchor, 0)];
      this.place(first, last);
      if (!this.remember(first, last)) return;
      this.measure();
      if (top > 0 && anchor >= 0) this.scrollBy(this.offsets[anchor] - at);
    }
  }

  /** Put the rows from first to last into the list, and no others. @param {number} first @param {number} last */
  place(first, last) {
    const wanted = new Set(this.keys.slice(first, last));
    for (const [key, node] of this.nodes) {
      if (!wanted.has(key)) {
        node.remove();
        this.nodes.delete(key);
      }
    }
    let previous = this.before;
    for (let place = first; place < last; place += 1) {
      const key = this.keys[place];
      const node = this.nodes.get(key) || this.draw(key, place, this.keys.length);
      this.nodes.set(key, node);
      if (previous.nextSibling !== node) previous.after(node);
      previous = node;
    }
    this.before.style.height = `${this.offsets[first] || 0}px`;
    this.after.style.height = `${Math.max(this.offsets[this.keys.length] - this.offsets[Math.max(last, 0)], 0)}px`;
  }

  /** Keep the heights of the drawn rows; true if one differs from its estimate. @param {number} first @param {number} last */
  remember(first, last) {
    let changed = false;
    for (const key of this.keys.slice(first, last)) {
      const height = this.nodes.get(key)?.getBoundingClientRect().height ?? 0;
      if (height && Math.abs(height - this.heightOf(key)) > 0.5) changed = true;
      if (height) this.heights[key] = height;
    }
    return changed;
  }

  /** Scroll a row into view, to the top if it is not in view. @param {number} key @param {boolean} [always] */
  reveal(key, always = false) {
    const place = this.keys.indexOf(key);
    if (place < 0) return;
    for (let round = 0; round < 4; round += 1) {
      this.measure();
      const { top, height } = this.view();
      const above = top + this.inset();
      const [from, to] = [this.offsets[place], this.offsets[place + 1]];
      if (!always && from >= above && to <= top + height) return;
      this.scrollBy(from - above);
      this.render();
    }
  }
}
