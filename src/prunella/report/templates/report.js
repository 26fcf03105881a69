(() => {
  "use strict";
  const root = document.documentElement;
  const holder = document.getElementById("figure-data");
  const specs = holder ? JSON.parse(holder.textContent) : {};
  const plots = Object.keys(specs).map((key) => document.getElementById(key));
  const PRINT_WIDTH = 640; // fits A4 and Letter with their margins, in CSS pixels
  const NARROW = 560;
  let printing = false;
  const shownFrames = {}; // id of a figure with frames -> number of the one that is shown

  // Put the present colour scheme's values in where the figure names a CSS variable.
  const painted = (value, key, style) => {
    if (Array.isArray(value)) return value.map((entry) => painted(entry, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, entry]) => [name, painted(entry, name, style)])
      );
    }
    if (typeof value === "string" && /color$/.test(key) && value.startsWith("var(")) {
      return style.getPropertyValue(value.slice(4, -1)).trim();
    }
    return value;
  };

  const replaced = (layout, dotted, value) => {
    const names = dotted.split(".");
    const last = names.pop();
    const parent = names.reduce((entry, name) => (entry[name] = entry[name] || {}), layout);
    parent[last] = value;
  };

  const draw = (plot) => {
    const width = printing ? PRINT_WIDTH : plot.clientWidth;
    if (!width) return;
    const { frames, ...still } = specs[plot.id];
    const frame = frames ? frames[shownFrames[plot.id] || 0] : [];
    const { data, layout, narrow } = painted(still, "", getComputedStyle(root));
    frame.forEach((part, index) => {
      const trace = data[index];
      Object.assign(trace, part, { marker: { ...trace.marker, ...part.marker } });
    });
    layout.width = width;
    if (width < NARROW) {
      for (const [dotted, value] of Object.entries(narrow)) replaced(layout, dotted, value);
    }
    plot.dataset.width = width;
    Plotly.react(plot, data, layout, { displayModeBar: false, doubleClick: false });
  };
  const drawAll = () => plots.forEach(draw);

  drawAll();
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (!printing && String(target.clientWidth) !== target.dataset.width) draw(target);
    }
  });
  plots.forEach((plot) => observer.observe(plot));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  // Paper is white and has no summaries to open.
  addEventListener("beforeprint", () => {
    printing = true;
    root.classList.add("printing");
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      part.dataset.opened = "";
    }
    drawAll();
  });
  addEventListener("afterprint", () => {
    printing = false;
    root.classList.remove("printing");
    for (const part of document.querySelectorAll("details[data-opened]")) {
      part.open = false;
      delete part.dataset.opened;
    }
    drawAll();
  });

  for (const stepper of document.querySelectorAll(".stepper")) {
    const slider = stepper.querySelector("input");
    const play = stepper.querySelector("button");
    const told = stepper.querySelector("output");
    const plot = document.getElementById(slider.dataset.figure);
    let timer = null;
    const show = () => {
      shownFrames[plot.id] = slider.value - 1;
      told.textContent = `step ${slider.value} of ${slider.max}`;
      draw(plot);
    };
    const stop = () => {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    };
    slider.addEventListener("input", () => {
      stop();
      show();
    });
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (slider.value === slider.max) slider.value = 1;
      play.textContent = "Pause";
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (slider.value === slider.max) stop();
      }, 200);
    });
    stepper.hidden = false;
  }

  const button = document.getElementById("copy");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const command = document.getElementById("command");
      try {
        await navigator.clipboard.writeText(command.textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 2000);
      } catch {
        // Not every browser lets a local file write to the clipboard: select the text instead.
        getSelection().selectAllChildren(command);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
  }
})();
