"use strict";
// The charts, their legends, what is said where one points, and the choice of light or dark.
// Names come from the data beside the page and are only ever set as text.
(() => {
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const tip = document.getElementById("tip");
  const views = {};

  const dayOf = (value) =>
    new Date(value).toLocaleDateString("en-GB", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short", year: "numeric" });
  const amountOf = (value, unit) => {
    const digits = { minimumFractionDigits: unit[0] || unit[1].length < 6 ? 2 : 0, maximumFractionDigits: unit[0] || unit[1].length < 6 ? 2 : 0 };
    return (value < 0 ? "-" : "") + unit[0] + Math.abs(value).toLocaleString("en", digits) + unit[1];
  };

  // The lines said of a mark.
  const linesOf = (chart, datum) => {
    const lines = [];
    if (datum.d !== undefined) lines.push(dayOf(datum.d));
    if (datum.w !== undefined) lines.push(`${datum.w} ${String(datum.h).padStart(2, "0")}:00 UTC`);
    if (datum.a !== undefined) lines.push("stood out: see Anomalies");
    if (datum.e !== undefined) lines.push(datum.e);
    if (datum.s !== undefined) lines.push(chart.names[datum.s]);
    if (datum.v !== undefined) lines.push(amountOf(datum.v, chart.unit));
    if (datum.lo !== undefined && datum.hi !== datum.lo) lines.push(`${amountOf(Math.min(datum.lo, datum.hi), chart.unit)} to ${amountOf(Math.max(datum.lo, datum.hi), chart.unit)}`);
    return lines;
  };

  const tooltip = (chart) => (_handler, event, item, value) => {
    if (value === null || value === undefined || !item.datum) {
      tip.hidden = true;
      return;
    }
    tip.replaceChildren(...linesOf(chart, item.datum).map((line) => {
      const part = document.createElement("div");
      part.textContent = line;
      return part;
    }));
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
    const above = event.clientY - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${above < 8 ? event.clientY + 18 : above}px`;
  };

  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false };
  const embedded = Object.entries(charts).map(async ([id, chart]) => {
    const place = document.querySelector(`[data-chart="${id}"]`);
    views[id] = (await vegaEmbed(place, chart.spec, { ...options, tooltip: tooltip(chart) })).view;
  });
  Promise.all(embedded).then(() => {
    document.documentElement.dataset.drawn = "yes";
  });

  // On paper a chart is as wide as the paper, so that its labels can be read.
  window.addEventListener("beforeprint", () => {
    for (const view of Object.values(views)) view.signal("width", 660).run();
  });
  window.addEventListener("afterprint", () => window.dispatchEvent(new Event("resize")));

  // Legends: a button shows or hides its series; the last one all of them.
  for (const legend of document.querySelectorAll("[data-legend]")) {
    const buttons = [...legend.querySelectorAll("[data-series]")];
    const all = legend.querySelector("[data-all]");
    const draw = () => {
      const hidden = buttons.filter((one) => one.getAttribute("aria-pressed") === "false").map((one) => one.dataset.series);
      all.textContent = hidden.length ? "Show all" : "Hide all";
      views[legend.dataset.legend]?.signal("hidden", hidden).runAsync();
    };
    for (const button of buttons) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
        draw();
      });
    }
    all.addEventListener("click", () => {
      const pressed = String(all.textContent === "Show all");
      for (const button of buttons) button.setAttribute("aria-pressed", pressed);
      draw();
    });
  }

  // Light, dark, or as the system has it.
  const theme = document.getElementById("theme");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
})();
