"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const memory = { get: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
                   set: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* a file without storage */ } } };

  // -- light and dark
  const plots = new Map(); // the chart of each figure that has been seen
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paint = (theme) => {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(theme === "dark"));
    for (const plot of plots.values()) restyle(plot);
  };
  const chosen = () => memory.get("theme") ?? (system.matches ? "dark" : "light");
  button.addEventListener("click", () => {
    memory.set("theme", root.dataset.theme === "dark" ? "light" : "dark");
    paint(chosen());
  });
  system.addEventListener("change", () => paint(chosen()));

  // -- charts: drawn when they come into view, in the colours of the page
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  function restyle(plot) {
    const [text, faint, line] = ["--text", "--faint", "--line"].map(colour);
    const font = getComputedStyle(document.body).fontFamily;
    for (const model of plot.references()) {
      if (model.type.endsWith("Axis")) {
        model.setv({ axis_label_text_color: faint, major_label_text_color: faint, axis_line_color: line, major_tick_line_color: line,
                     axis_label_text_font: font, major_label_text_font: font, axis_label_text_font_style: "normal" });
      } else if (model.type === "Grid") {
        model.setv({ grid_line_color: line, grid_line_alpha: 0.6 });
      } else if (model.type === "ColorBar") {
        model.setv({ background_fill_color: null, major_label_text_color: faint, title_text_color: faint, title_text_font: font, major_label_text_font: font });
      } else if (model.type === "GlyphRenderer" && model.tags.length) {
        const { colour: number } = model.tags[0];
        const shown = number === "text" ? text : number < 0 ? colour("--grey") : colour(`--c${number}`);
        for (const name of ["line_color", "fill_color", "text_color"]) if (name in model.glyph.properties) model.glyph.setv({ [name]: shown });
      }
    }
  }
  const axisChosen = () => document.querySelector("#axis input:checked")?.value ?? "step";
  const axisName = (axis) => data.axes[axis];
  function stand(plot, axis) {
    const sources = [...plot.references()].filter((model) => model.type === "ColumnDataSource");
    const movable = sources.filter((source) => source.columns().includes("x") && source.columns().includes("step"));
    if (!movable.length) return;
    const over = movable.every((source) => source.columns().includes(axis)) ? axis : "step";
    for (const source of movable) {
      const columns = Object.fromEntries(source.columns().map((name) => [name, source.get_column(name)]));
      source.data = { ...columns, x: columns[over] };
    }
    for (const model of plot.below) model.axis_label = axisName(over);
  }
  function show(plot, group, visible) {
    for (const model of plot.references()) {
      if (model.type === "GlyphRenderer" && model.tags.length && String(model.tags[0].colour) === group) model.visible = visible;
    }
  }
  async function drawn(figure) {
    const place = figure.querySelector(".plot");
    const views = await Bokeh.embed.embed_item(data.charts[figure.dataset.chart], place);
    const plot = [...views.roots][0].model;
    plots.set(figure, plot);
    restyle(plot);
    if (matchMedia("(pointer: coarse)").matches) plot.toolbar.active_drag = null; // dragging scrolls the page
    if (axisChosen() !== "step") stand(plot, axisChosen());
    for (const box of all("#groups input:not(:checked)")) show(plot, box.value, false);
    figure.dataset.drawn = "";
  }
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { seen.unobserve(target); drawn(target); }
    }
  }, { rootMargin: "300px" });
  for (const input of all("#axis input")) input.addEventListener("change", () => {
    memory.set("axis", input.value);
    for (const [figure, plot] of plots) if (figure.closest("#curves")) stand(plot, input.value);
  });
  for (const box of all("#groups input")) box.addEventListener("change", () => {
    for (const [figure, plot] of plots) if (figure.closest("#curves")) show(plot, box.value, box.checked);
  });

  // -- pictures over time
  const slider = document.getElementById("step");
  if (slider) {
    const steps = data.steps;
    const move = () => {
      const step = steps[slider.value];
      document.getElementById("step-shown").textContent = step.toLocaleString("en");
      slider.setAttribute("aria-valuetext", `step ${step}`);
      for (const image of all("img[data-kind]")) {
        const frames = data.pictures[image.dataset.kind][image.dataset.run];
        const [at, source] = frames.findLast(([at]) => at <= step) ?? frames[0];
        if (image.dataset.at === String(at)) continue;
        image.dataset.at = at;
        image.src = source;
        image.alt = `${image.dataset.title} at step ${at}`;
        image.closest("figure").querySelector(".at").textContent = `step ${at.toLocaleString("en")}`;
      }
      memory.set("step", Number(slider.value) === steps.length - 1 ? "last" : slider.value);
    };
    slider.addEventListener("input", move);
    const before = memory.get("step");
    if (before !== null && before !== "last" && Number(before) < steps.length) slider.value = before;
    move();
    const play = document.getElementById("play");
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
    play.addEventListener("click", () => {
      if (timer !== null) { stop(); return; }
      if (Number(slider.value) === steps.length - 1) slider.value = 0;
      play.textContent = "Stop";
      move();
      timer = setInterval(() => {
        if (Number(slider.value) === steps.length - 1) { stop(); return; }
        slider.value = Number(slider.value) + 1;
        move();
      }, 350);
    });
  }

  // -- commands to copy
  for (const copy of all(".copy")) copy.addEventListener("click", async () => {
    const code = copy.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch { // without a secure context: select it
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });

  // -- while it trains: load the page again when the run has changed
  if (data.live) {
    scrollTo(0, Number(memory.get("scroll") ?? 0));
    addEventListener("scroll", () => memory.set("scroll", scrollY));
    const look = async () => {
      try {
        const answer = await fetch("state", { cache: "no-store" });
        if ((await answer.text()) !== data.live) location.reload();
      } catch { document.getElementById("live").textContent = "The command that serves this page has ended."; }
    };
    setInterval(look, 3000);
  }

  const axisBefore = document.querySelector(`#axis input[value="${memory.get("axis")}"]:enabled`);
  if (data.live && axisBefore) axisBefore.checked = true;
  paint(chosen());
  for (const figure of all("[data-chart]")) seen.observe(figure);
})();
