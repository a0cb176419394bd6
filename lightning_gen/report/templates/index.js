"use strict";
(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const paint = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(dark));
  };
  paint(matchMedia("(prefers-color-scheme: dark)").matches);
  button.addEventListener("click", () => paint(root.dataset.theme !== "dark"));
  document.getElementById("filter").addEventListener("input", ({ target }) => {
    const wanted = target.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    for (const row of document.querySelectorAll("tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
    }
  });
})();
