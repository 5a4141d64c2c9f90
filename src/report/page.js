"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("leaderboard");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  let selected = null;

  // ---- the table: a click on a heading sorts, empty cells stay last ----
  const sortBy = (column) => {
    const heading = headings[column];
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const number = heading.classList.contains("number");
    const key = (row) => row.cells[column].dataset.sort;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = number ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return up ? order : -order;
    });
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  };
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => sortBy(column)));

  const select = (configuration) => {
    selected = selected === configuration ? null : configuration;
    for (const row of body.rows) {
      const on = Number(row.dataset.configuration) === selected;
      if (on) row.setAttribute("aria-selected", "true"); else row.removeAttribute("aria-selected");
    }
    drawCurves();
  };
  for (const row of body.rows) {
    row.tabIndex = 0;
    row.addEventListener("click", () => select(Number(row.dataset.configuration)));
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); select(Number(row.dataset.configuration)); }
    });
  }

  // ---- figures ----
  const curvesAt = document.getElementById("curves");
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const few = ["--accent", "#3a78b5", "#2f9e7b", "#b3588f", "#8a7bc8", "#c99a1e", "#5d9fb0", "#8c8c8c"];
  const places = new Map(data.configurations.map((c, index) => [c.number, { ...c, index }]));
  const drawn = [...new Set((data.curves || []).map((c) => c.configuration))].sort((a, b) => places.get(a).index - places.get(b).index);
  const rank = new Map(drawn.map((number, index) => [number, index]));

  const mixed = (a, b, share) => {
    const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [from, to] = [parts(a), parts(b)];
    return `rgb(${from.map((v, i) => Math.round(v + (to[i] - v) * share)).join(",")})`;
  };
  const colourOf = (number) => {
    const place = rank.get(number) ?? drawn.length;
    if (place === 0) return colour("--accent");
    if (drawn.length <= few.length) return few[place];
    return mixed(colour("--rank-near"), colour("--rank-far"), Math.sqrt((place - 1) / Math.max(1, drawn.length - 2)));
  };

  const narrow = () => window.innerWidth < 560;
  const axis = (title) => ({
    title: { text: title, standoff: 8, font: { size: 12, color: colour("--soft") } },
    gridcolor: colour("--line"), linecolor: colour("--line-strong"), zeroline: false, ticks: "", automargin: true,
    tickfont: { size: 11, color: colour("--soft") },
  });
  const layout = (extra) => ({
    font: { family: colour("--sans"), color: colour("--ink"), size: 12 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: "zoom",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line-strong"), font: { family: colour("--sans"), color: colour("--ink"), size: 12 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--line-strong"), activecolor: colour("--accent") },
    margin: { l: 52, r: 8, t: 28, b: 44 }, ...extra,
  });
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"], displayModeBar: "hover" };

  // Unless all of it is asked for, the figure begins below the first fall, where configurations part: its upper end is the highest
  // loss that a ranked configuration has after a fifth of the way.
  const lossRange = (x, log) => {
    let [low, high] = [Infinity, -Infinity];
    for (const curve of data.curves) {
      if (places.get(curve.configuration).place === null) continue;
      for (const [xs, ys] of [[curve[x], curve.loss], [curve.validation[x], curve.validation.loss]]) {
        const from = 0.2 * xs[xs.length - 1];
        ys.forEach((y, i) => { low = Math.min(low, y); if (xs[i] >= from) high = Math.max(high, y); });
      }
    }
    if (!(high > low)) return {};
    const room = 0.06 * (high - low);
    const ends = [Math.max(low - room, low / 2), high + room];
    return { range: log ? ends.map(Math.log10) : ends };
  };

  function drawCurves() {
    if (!curvesAt || !window.Plotly) return;
    const x = document.querySelector("input[name=x]:checked").value;
    const log = document.getElementById("log").checked;
    const training = document.getElementById("training").checked;
    const whole = document.getElementById("whole").checked;
    const legend = Math.min(drawn.length, narrow() ? 4 : 8);
    const listed = new Set();
    const traces = [];
    // The best are drawn last, so that they lie on top.
    const order = [...data.curves].sort((a, b) => rank.get(b.configuration) - rank.get(a.configuration));
    for (const curve of order) {
      const place = places.get(curve.configuration);
      const hue = colourOf(curve.configuration);
      const front = selected === null ? rank.get(curve.configuration) === 0 : selected === curve.configuration;
      const faded = selected !== null && !front;
      const strong = front && drawn.length > 1;
      const text = `<b>${place.place ? place.place + ". " : ""}${escaped(place.name || "configuration " + place.number)}</b><br>seed ${curve.seed}`;
      const unit = x === "hours" ? "%{x:.3f} h" : `%{x:,} ${x}`;
      const shared = { legendgroup: String(curve.configuration), text, type: "scatter" };
      const points = curve.validation;
      if (training || points.loss.length === 0) {
        traces.push({ ...shared, x: curve[x], y: curve.loss, mode: "lines", showlegend: false,
          line: { color: hue, width: 1 }, opacity: faded ? 0.06 : front && selected !== null ? 0.8 : 0.3,
          hovertemplate: `%{text}<br>training loss %{y:.3f}, smoothed<br>${unit}<extra></extra>` });
      }
      if (points.loss.length > 0) {
        const first = !listed.has(curve.configuration);
        listed.add(curve.configuration);
        traces.push({ ...shared, x: points[x], y: points.loss, mode: "lines+markers",
          name: escaped(place.short), showlegend: first && rank.get(curve.configuration) < legend,
          legendrank: 1000 + rank.get(curve.configuration),
          line: { color: hue, width: strong ? 2.6 : 1.4 }, marker: { color: hue, size: strong ? 6 : 4 }, opacity: faded ? 0.12 : 1,
          hovertemplate: `%{text}<br>held-out loss %{y:.3f}<br>${unit}<extra></extra>` });
      }
    }
    const titles = { tokens: "target tokens trained on", steps: "optimizer steps", hours: "hours inside training steps" };
    const side = !narrow() && drawn.length > 1;
    Plotly.react(curvesAt, traces, layout({
      xaxis: { ...axis(titles[x]), type: log ? "log" : "linear", ...(log ? { dtick: 1 } : {}) },
      yaxis: { ...axis("loss, nats per token"), type: log ? "log" : "linear", ...(log ? { nticks: 6 } : {}), ...(whole ? { autorange: true } : lossRange(x, log)) },
      showlegend: drawn.length > 1,
      legend: {
        title: { text: escaped(data.settings) + (drawn.length > legend ? `<br>best ${legend} of ${drawn.length}` : ""), font: { size: 11, color: colour("--soft") } },
        font: { size: 11 }, tracegroupgap: 0, itemclick: "toggle", itemdoubleclick: "toggleothers",
        ...(side ? { x: 1, xanchor: "right", y: 1, bgcolor: colour("--paper") + "d0" } : { orientation: "h", y: -0.22 }),
      },
    }), config);
  }

  function drawAxes() {
    if (!window.Plotly) return;
    for (const at of document.querySelectorAll("[data-axis]")) {
      const figure = data.axes[Number(at.dataset.axis)];
      const hidden = narrow() ? 0.1 : 0.08;
      // Points of one value lie side by side, always at the same place.
      const beside = (index) => (((index * 0.618034) % 1) - 0.5) * 2 * hidden;
      const points = figure.points;
      const named = (p) => escaped(places.get(p[2]).name || "configuration " + p[2]) + (p[3] === null ? "" : `<br>seed ${p[3]}`);
      const kept = figure.means.map((mean, index) => [index, mean]).filter((pair) => pair[1] !== null);
      Plotly.react(at, [
        { type: "scatter", mode: "markers", x: points.map((p, i) => p[0] + beside(i)), y: points.map((p) => p[1]), text: points.map(named),
          marker: { color: colour("--rank-near"), size: 6, opacity: Math.max(0.2, Math.min(0.7, 30 / points.length + 0.2)) },
          hovertemplate: `%{text}<br>${data.unit} %{y:.4~g}<extra></extra>` },
        { type: "scatter", mode: "lines+markers", x: kept.map((p) => p[0]), y: kept.map((p) => p[1]), text: kept.map((p) => escaped(figure.values[p[0]])),
          line: { color: colour("--accent"), width: 2 }, marker: { color: colour("--accent"), size: 9, symbol: "diamond", line: { color: colour("--paper"), width: 1.5 } },
          hovertemplate: `mean at ${"%{text}"}: %{y:.4~g}<extra></extra>` },
      ], layout({
        showlegend: false,
        xaxis: { ...axis(""), tickvals: figure.values.map((_, i) => i), ticktext: figure.values.map(escaped), range: [-0.5, figure.values.length - 0.5], showgrid: false },
        yaxis: { ...axis(data.unit), nticks: 6 },
        margin: { l: 52, r: 8, t: 28, b: 32 },
      }), config);
    }
  }

  const drawAll = () => { drawCurves(); drawAxes(); };
  if (window.Plotly) {
    const controls = document.getElementById("controls");
    if (controls) {
      controls.hidden = false;
      controls.addEventListener("change", drawCurves);
    }
    drawAll();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    let small = narrow();
    window.addEventListener("resize", () => { if (small !== narrow()) { small = narrow(); drawAll(); } });
  }
})();
