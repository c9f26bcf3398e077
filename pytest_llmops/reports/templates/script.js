"use strict";
// Only makes reading easier: everything is in the page without it. Text is set as text, never as markup.
(() => {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const box = document.getElementById("filter");
  const chips = all(".chip");
  const cases = all(".case");
  const files = all(".file");
  const shown = document.getElementById("shown");
  const index = new Map();

  // A long text stands once in the page; a reference is filled in when somebody opens its case.
  const target = (link) => document.getElementById(link.getAttribute("href").slice(1));
  const fill = (root) => {
    for (const same of all(".same", root)) {
      const source = target(same.querySelector("a"));
      if (!source) continue;
      const copy = document.createElement("pre");
      copy.dir = "auto";
      copy.textContent = source.textContent;
      same.replaceWith(copy);
    }
  };
  for (const one of cases) one.addEventListener("toggle", () => one.open && fill(one));

  const textOf = (one) => {
    if (!index.has(one)) {
      const elsewhere = all(".same a", one).map((link) => (target(link) || link).textContent);
      index.set(one, [one.textContent, ...elsewhere].join("\n").toLowerCase());
    }
    return index.get(one);
  };
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.outcome));
    let count = 0;
    for (const one of cases) {
      const fits = (!wanted.size || wanted.has(one.dataset.outcome)) && words.every((word) => textOf(one).includes(word));
      one.hidden = !fits;
      count += fits;
    }
    for (const file of files) file.hidden = !all(".case:not([hidden])", file).length;
    shown.textContent = count === cases.length ? `${count} tests` : `${count} of ${cases.length} tests`;
  };
  const reveal = () => {
    const place = location.hash && document.getElementById(location.hash.slice(1));
    const one = place && place.closest(".case");
    if (!one) return;
    if (one.hidden) {
      box.value = "";
      for (const chip of chips) chip.setAttribute("aria-pressed", "false");
      apply();
    }
    for (let outer = place; outer; outer = outer.parentElement) if (outer.tagName === "DETAILS") outer.open = true;
    place.scrollIntoView();
  };

  if (box) {
    document.querySelector(".tools").hidden = false;
    box.addEventListener("input", apply);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
        apply();
      });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName) && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        box.focus();
      } else if (event.key === "Escape" && event.target === box) {
        box.value = "";
        apply();
        box.blur();
      }
    });
    apply();
  }
  for (const toggle of all(".toggle")) {
    toggle.hidden = false;
    toggle.querySelector("input").addEventListener("change", (event) => {
      document.getElementById(event.target.dataset.table).classList.toggle("only-differing", event.target.checked);
    });
  }
  if (navigator.clipboard) {
    for (const button of all(".copy")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        navigator.clipboard.writeText(button.previousElementSibling.textContent).then(() => { button.textContent = "copied"; });
      });
    }
  }
  window.addEventListener("hashchange", reveal);
  reveal();
})();
