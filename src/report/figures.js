// ---- the other figures: a function each, given where to draw, its data, and which of the section's drawings it is ----
const tall = (at, pixels) => { at.style.height = `${pixels}px`; };
const rows = (values) => values.map(escaped);
const hiddenIn = (number) => !isKept(number);
const opacityOf = (number) => (hiddenIn(number) ? 0.08 : selected !== null && selected !== number ? 0.25 : 1);

const drawers = {
  differences(at, figure) {
    const rows_ = figure.rows.filter((row) => isKept(row.configuration));
    tall(at, 64 + 22 * Math.max(1, rows_.length));
    const within = (x) => Math.max(-figure.end, Math.min(figure.end, x));
    const [least, most] = [Math.min(0, ...rows_.map((row) => within(row.lower))), Math.max(0, ...rows_.map((row) => within(row.upper)))];
    // Bars that go on beyond the axis end in an arrow.
    const ends = rows_.flatMap((row, y) => [{ row, y, x: row.upper, symbol: "triangle-right" }, { row, y, x: row.lower, symbol: "triangle-left" }]).filter((end) => within(end.x) !== end.x);
    const room = 0.03 * (most - least) || 1;
    const hue = (row) => (row.tied ? colour("--accent") : colour("--rank-near"));
    const text = (row) => `<b>${escaped(named(row.configuration))}</b><br>${row.difference > 0 ? "+" : ""}${row.difference} ${figure.unit}, from ${row.lower} to ${row.upper}<br>` + (row.tied ? "may be the best" : "not the best");
    draw(at, [
      ...rows_.map((row, i) => ({ type: "scatter", mode: "lines", x: [within(row.lower), within(row.upper)], y: [i, i], line: { color: hue(row), width: 3 }, opacity: 0.45 * opacityOf(row.configuration), hoverinfo: "skip" })),
      { type: "scatter", mode: "markers", x: ends.map((end) => within(end.x)), y: ends.map((end) => end.y), hoverinfo: "skip", cliponaxis: false,
        marker: { size: 10, symbol: ends.map((end) => end.symbol), color: ends.map((end) => hue(end.row)), opacity: ends.map((end) => 0.6 * opacityOf(end.row.configuration)) } },
      { type: "scatter", mode: "markers", x: rows_.map((row) => row.difference), y: rows_.map((_, i) => i), text: rows_.map(text), customdata: rows_.map((row) => row.configuration), hovertemplate: "%{text}<extra></extra>",
        marker: { size: 9, color: rows_.map(hue), opacity: rows_.map((row) => opacityOf(row.configuration)), line: { color: colour("--paper"), width: 1.5 } } },
    ], {
      margin: { l: 60, r: 16, t: 8, b: 44 },
      shapes: [{ type: "line", xref: "x", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: colour("--line-strong"), width: 1 }, layer: "below" }],
      xaxis: { ...axis(`above the best, ${figure.unit}`), nticks: 7, range: [least - room, most + room] },
      yaxis: { ...axis(""), tickvals: rows_.map((_, i) => i), ticktext: rows_.map((row) => escaped(cut(places.get(row.configuration)?.short || named(row.configuration), narrow() ? 16 : 40))), range: [rows_.length - 0.4, -0.6], showgrid: false, fixedrange: true },
    });
  },

  axes(at, figure) {
    const width = narrow() ? 0.1 : 0.08;
    // Points of one value lie side by side, always at the same place.
    const offset = (index) => (((index * 0.618034) % 1) - 0.5) * 2 * width;
    const points = figure.points;
    const label = (p) => escaped(named(p[2])) + (p[3] === null ? "" : `<br>seed ${p[3]}`);
    const means = figure.means.map((mean, index) => [index, mean, figure.lower[index], figure.upper[index]]).filter((m) => m[1] !== null);
    const bars = means.some((m) => m[2] !== null);
    const strength = Math.max(0.2, Math.min(0.7, 30 / points.length + 0.2));
    draw(at, [
      { type: "scatter", mode: "markers", x: points.map((p, i) => p[0] + offset(i)), y: points.map((p) => p[1]), text: points.map(label), customdata: points.map((p) => p[2]),
        marker: { color: points.map((p) => (p[2] === selected ? colour("--accent") : colour("--rank-near"))), size: 6, opacity: points.map((p) => strength * opacityOf(p[2])) },
        hovertemplate: `%{text}<br>${data.unit} %{y:.4~g}<extra></extra>` },
      { type: "scatter", mode: "lines+markers", x: means.map((m) => m[0]), y: means.map((m) => m[1]), text: means.map((m) => escaped(figure.values[m[0]])),
        line: { color: colour("--accent"), width: 2 }, marker: { color: colour("--accent"), size: 9, symbol: "diamond", line: { color: colour("--paper"), width: 1.5 } },
        error_y: bars ? { type: "data", symmetric: false, array: means.map((m) => (m[3] ?? m[1]) - m[1]), arrayminus: means.map((m) => m[1] - (m[2] ?? m[1])), color: colour("--accent"), thickness: 1.2, width: 4 } : {},
        hovertemplate: "mean at %{text}: %{y:.4~g}<extra></extra>" },
    ], {
      xaxis: { ...axis(""), tickvals: figure.values.map((_, i) => i), ticktext: rows(figure.values.map((v) => cut(v, 18))), range: [-0.5, figure.values.length - 0.5], showgrid: false },
      yaxis: { ...axis(data.unit), nticks: 6 },
      margin: { l: 52, r: 8, t: 12, b: 32 },
    });
  },

  pairs(at, figure) {
    tall(at, 64 + 34 * figure.y.length);
    const shade = (z) => (z === null ? null : data.unit === "perplexity" ? Math.log(z) : z);
    const texts = figure.z.map((row) => row.map((z) => (z === null ? "" : figureText(z))));
    const hover = figure.z.map((row, y) => row.map((z, x) => `${escaped(figure.down)} ${escaped(figure.y[y])}<br>${escaped(figure.across)} ${escaped(figure.x[x])}<br>` + (z === null ? "no result" : `${data.unit} ${figureText(z)}, ${figure.n[y][x]} configuration${figure.n[y][x] === 1 ? "" : "s"}`)));
    // Numbers stand in the cells where there is room for them, dark on light and light on dark.
    const room = at.clientWidth / figure.x.length > 46 && figure.x.length * figure.y.length <= 150;
    const shades = figure.z.flat().filter((z) => z !== null).map(shade);
    const [least, most] = [Math.min(...shades), Math.max(...shades)];
    const ink = (z) => colour((shade(z) - least) / (most - least || 1) < 0.34 ? "--heat-ink" : "--ink");
    const numbers = !room ? [] : figure.z.flatMap((row, y) => row.flatMap((z, x) => (z === null ? [] : [{ x, y, text: texts[y][x], showarrow: false, font: { size: 11, color: ink(z) } }])));
    draw(at, [{
      type: "heatmap", z: figure.z.map((row) => row.map(shade)), x: figure.x.map((_, i) => i), y: figure.y.map((_, i) => i), hovertext: hover, hovertemplate: "%{hovertext}<extra></extra>",
      xgap: 3, ygap: 3, showscale: false, hoverongaps: false,
      colorscale: [[0, colour("--heat-low")], [0.34, mixed(colour("--heat-low"), colour("--heat-high"), 0.55)], [1, colour("--heat-high")]],
    }], {
      annotations: numbers,
      xaxis: { ...axis(escaped(figure.across)), tickvals: figure.x.map((_, i) => i), ticktext: rows(figure.x.map((v) => cut(v, 16))), showgrid: false, fixedrange: true },
      yaxis: { ...axis(escaped(figure.down)), tickvals: figure.y.map((_, i) => i), ticktext: rows(figure.y.map((v) => cut(v, 16))), autorange: "reversed", showgrid: false, fixedrange: true },
      margin: { l: 56, r: 8, t: 8, b: 44 },
    });
  },

  cost(at, figure) {
    const points = figure.points;
    const front = points.filter((p) => p[4]).sort((a, b) => a[1] - b[1]);
    const spread = points.some((p) => p[3] !== null);
    const text = (p) => `<b>${escaped(named(p[0]))}</b>`;
    const xs = points.map((p) => p[1]);
    const middle = (Math.min(...xs) + Math.max(...xs)) / 2;
    const label = front.length <= 6 && !narrow();
    const room = 0.08 * (Math.max(...xs) - Math.min(...xs)) || 1;
    draw(at, [
      { type: "scatter", mode: "lines", x: front.map((p) => p[1]), y: front.map((p) => p[2]), line: { color: colour("--accent"), width: 1.2, dash: "dot" }, hoverinfo: "skip" },
      { type: "scatter", mode: label ? "markers+text" : "markers", x: xs, y: points.map((p) => p[2]), text: points.map(text), meta: undefined, customdata: points.map((p) => p[0]),
        texttemplate: points.map((p) => (p[4] && label ? escaped(cut(places.get(p[0])?.short ?? "", 28)) : "")), textposition: points.map((p) => (p[1] > middle ? "bottom left" : "bottom right")),
        textfont: { size: 11, color: colour("--soft") }, cliponaxis: false,
        error_y: spread ? { type: "data", array: points.map((p) => p[3] ?? 0), color: colour("--line-strong"), thickness: 1, width: 0 } : {},
        marker: { size: points.map((p) => (p[4] ? 9 : 8)), color: points.map((p) => (p[4] ? colourOf(p[0]) : colour("--paper"))), opacity: points.map((p) => opacityOf(p[0])), line: { color: points.map((p) => colourOf(p[0])), width: 1.6 } },
        hovertemplate: `%{text}<br>${data.unit} %{y:.4~g}<br>%{x:,.4~g} ${figure.x}<extra></extra>` },
    ], {
      xaxis: { ...axis(figure.x), range: [Math.min(...xs) - room, Math.max(...xs) + room], showgrid: false, nticks: 6 },
      yaxis: { ...axis(data.unit), nticks: 6 }, margin: { l: 52, r: 8, t: 12, b: 44 },
    });
    if (!at.dataset.clicks) {
      at.dataset.clicks = "yes";
      at.on("plotly_click", (event) => { const number = event.points[0]?.customdata; if (number !== undefined) select(number); });
    }
  },

  positions(at, figure) {
    const lines = figure.lines.filter((line) => isKept(line.configuration));
    const front = selected ?? lines[0]?.configuration;
    const log = false;
    const range = rangeOf(lines, false, log);
    // The first places have nothing to go by: what is interesting is where configurations part.
    const ys = lines.flatMap((line) => line.y);
    range[1] = Math.max(...ys) + 0.04 * (Math.max(...ys) - Math.min(...ys));
    const shown = lines.filter((line) => places.has(line.configuration)).map((line) => ({ number: line.configuration, y: line.y[line.y.length - 1], text: cut(places.get(line.configuration).short, 30) })).slice(0, FEW);
    const side = !narrow() && lines.length > 1;
    const margin = { l: 52, r: side ? Math.min(210, 16 + 6.1 * Math.max(...shown.map((end) => end.text.length), 6)) : 8, t: 12, b: 44 };
    const order = [...lines].reverse().sort((a, b) => (a.configuration === front) - (b.configuration === front));
    draw(at, order.map((line) => ({
      type: "scatter", mode: "lines+markers", meta: line.configuration, x: line.x, y: line.y, text: line.places, opacity: opacityOf(line.configuration),
      line: { color: colourOf(line.configuration), width: line.configuration === front && lines.length > 1 ? 2.4 : 1.4 }, marker: { color: colourOf(line.configuration), size: 5 },
      hovertemplate: `<b>${escaped(named(line.configuration))}</b><br>place %{text}: loss %{y:.3f}<extra></extra>`,
    })), {
      margin, annotations: side ? labelled(endLabels(shown, range, log, at.clientHeight - margin.t - margin.b)) : [],
      xaxis: { ...axis("place in the window (tokens)"), type: "log", tickvals: figure.ticks, ticktext: figure.labels, showgrid: false },
      yaxis: { ...axis(`loss, ${data.loss_unit}`), range },
    });
    selectable(at);
  },

  gradients(at, figure, panel) {
    if (panel === 0) {
      drawLines(at, { smooth: "norm", raw: "raw_norm", held: false, log: true, whole: true, single: true, title: "gradient norm before clipping", word: "gradient norm" });
      return;
    }
    const ranges = figure.ranges.filter((r) => isKept(r.configuration));
    tall(at, 76 + 22 * Math.max(1, ranges.length));
    const at_ = ranges.map((_, i) => i);
    const gaps = (from, to) => ({ x: ranges.flatMap((r) => [r[from], r[to], null]), y: ranges.flatMap((_, i) => [i, i, null]) });
    const clips = ranges.map((r, i) => [r.clip, i]).filter((c) => c[0] !== null);
    const hues = ranges.map((r) => colourOf(r.configuration));
    const names = ranges.map((r) => cut(places.get(r.configuration)?.short || named(r.configuration), narrow() ? 16 : 34));
    const ends = [...ranges.flatMap((r) => [r.p50, r.max]), ...clips.map((c) => c[0])].filter((v) => v > 0).map(Math.log10);
    const span = ends.length > 0 ? [Math.min(...ends) - 0.08, Math.max(...ends) + 0.08] : [-1, 1];
    const share = (r) => (r.share > 0 ? `${(100 * r.share).toFixed(r.share < 0.1 ? 1 : 0)} %` : r.clip === null ? "off" : "never");
    draw(at, [
      { type: "scatter", mode: "lines", ...gaps("p50", "max"), line: { color: colour("--line-strong"), width: 1 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines", ...gaps("p50", "p99"), line: { color: colour("--line-strong"), width: 3 }, hoverinfo: "skip" },
      { type: "scatter", mode: "lines", ...gaps("p50", "p90"), line: { color: colour("--rank-near"), width: 6 }, hoverinfo: "skip" },
      { type: "scatter", mode: "markers", x: ranges.map((r) => r.p50), y: at_, marker: { color: hues, size: 9, line: { color: colour("--paper"), width: 1.5 } },
        text: ranges.map((r) => `<b>${escaped(named(r.configuration))}</b><br>median ${r.p50}, 90 % ${r.p90}, 99 % ${r.p99}, largest ${r.max}<br>` + (r.clip === null ? "no clipping" : `clip norm ${r.clip}: ${share(r)} of the steps clipped`)),
        hovertemplate: "%{text}<extra></extra>" },
      { type: "scatter", mode: "markers", x: clips.map((c) => c[0]), y: clips.map((c) => c[1]), marker: { symbol: "line-ns-open", color: colour("--bad"), size: 13, line: { width: 2 } }, hovertemplate: "clip norm %{x}<extra></extra>" },
    ], {
      margin: { l: 60, r: 64, t: 26, b: 44 },
      annotations: [
        ...ranges.map((r, i) => ({ xref: "paper", x: 1, xanchor: "left", xshift: 10, y: i, text: share(r), showarrow: false, font: { size: 11, color: colour("--soft") } })),
        { xref: "paper", x: 1, xanchor: "left", xshift: 10, yref: "paper", y: 1, yanchor: "bottom", text: "clipped", showarrow: false, font: { size: 11, color: colour("--soft") } },
      ],
      xaxis: { ...axis("gradient norm before clipping"), type: "log", ...logTicks(span), range: span },
      yaxis: { ...axis(""), tickvals: at_, ticktext: rows(names), range: [ranges.length - 0.4, -0.6], showgrid: false, fixedrange: true },
    });
  },

  timeline(at, figure) {
    const slots = [...new Set(figure.bars.map((bar) => bar[0]))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const kinds = [["completed", "--rank-near"], ["running", "--good"], ["interrupted", "--c6"], ["diverged", "--c4"], ["failed", "--bad"]];
    const used = kinds.filter(([kind]) => figure.bars.some((bar) => bar[3] === kind));
    const top = used.length > 2 && narrow() ? 56 : 30;
    tall(at, 48 + top + 30 * slots.length);
    draw(at, used.map(([kind, hue]) => {
      const bars = figure.bars.filter((bar) => bar[3] === kind);
      return {
        type: "bar", orientation: "h", name: kind === "failed" ? "failed or killed" : kind, base: bars.map((bar) => bar[1]), x: bars.map((bar) => bar[2]), y: bars.map((bar) => slots.indexOf(bar[0])), width: 0.62,
        customdata: bars.map((bar) => bar[5]), text: bars.map((bar) => `<b>${escaped(named(bar[5]))}</b><br>seed ${bar[6]}, attempt ${bar[7]}<br>${escaped(bar[4])} after ${lasted(bar[2])}`), textposition: "none",
        hovertemplate: "%{text}<extra></extra>",
        marker: { color: bars.map((bar) => (bar[5] === selected ? colour("--accent") : mixed(colour(hue), colour("--paper"), bar[7] > 1 ? 0.35 : 0.12))), opacity: bars.map((bar) => opacityOf(bar[5])), line: { color: colour("--paper"), width: 1 } },
      };
    }), {
      barmode: "overlay", showlegend: used.length > 1, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0, font: { size: 11 } }, margin: { l: 52, r: 8, t: top, b: 40 },
      xaxis: { ...axis(""), type: "date" },
      yaxis: { ...axis(slots.every((s) => /^\d+$/.test(s)) ? "slot" : ""), tickvals: slots.map((_, i) => i), ticktext: rows(slots.map((s) => cut(s, 20))), autorange: "reversed", showgrid: false, fixedrange: true },
    });
  },

  // Plotly draws these with WebGL and code made at run time, which the page's policy forbids: plain SVG does it.
  parallel(at, figure) {
    const SVG = "http://www.w3.org/2000/svg";
    const make = (name, attributes, parent) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      parent?.append(element);
      return element;
    };
    const chosen = (at.chosen ??= figure.axes.map(() => new Set()));
    const width = Math.max(at.clientWidth, 92 * (figure.axes.length + 1)), height = 380, top = 46, bottom = 22, side = 46;
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "parallel" });
    const xs = [...figure.axes, null].map((_, i) => side + i * (width - 2 * side - 30) / figure.axes.length);
    const results = figure.lines.map((line) => line[1]);
    const [least, most] = [Math.min(...results), Math.max(...results)];
    const span = height - top - bottom;
    const result = (value) => top + span * (most > least ? (value - least) / (most - least) : 0.5);
    const nodes = figure.axes.map((axis) => axis.values.map((_, i) => top + span * (i + 0.5) / axis.values.length));
    const shift = figure.axes.map((axis) => Math.min(46, 0.55 * span / axis.values.length));
    const lines = make("g", {}, svg);
    const passes = (line) => isKept(line[0]) && chosen.every((set, i) => set.size === 0 || set.has(line[2][i]));
    // Worst first, so that the best lie on top.
    figure.lines.map((line, rank) => ({ line, rank })).reverse().forEach(({ line, rank }) => {
      const share = figure.lines.length > 1 ? rank / (figure.lines.length - 1) : 0;
      const ys = [...line[2].map((value, i) => nodes[i][value] + (share - 0.5) * shift[i]), result(line[1])];
      const bend = (xs[1] - xs[0]) * 0.42;
      const path = ys.map((y, i) => (i === 0 ? `M${xs[0]} ${y.toFixed(1)}` : `C${xs[i - 1] + bend} ${ys[i - 1].toFixed(1)} ${xs[i] - bend} ${y.toFixed(1)} ${xs[i]} ${y.toFixed(1)}`)).join("");
      const on = passes(line), front = line[0] === selected || (selected === null && rank === 0);
      const hue = rank === 0 ? colour("--accent") : mixed(colour("--rank-near"), colour("--rank-far"), Math.sqrt(share));
      const element = make("path", { d: path, stroke: hue, "stroke-width": front ? 2.6 : 1.2, opacity: !on ? 0.06 : selected !== null && !front ? 0.3 : 0.9 }, lines);
      make("title", {}, element).textContent = `${named(line[0])}\n${data.unit} ${figureText(line[1])}`;
      element.addEventListener("click", () => select(line[0]));
    });
    const text = (x, y, content, attributes, parent) => { make("text", { x, y, ...attributes }, parent ?? svg).textContent = content; };
    figure.axes.forEach((axis, i) => {
      make("line", { x1: xs[i], x2: xs[i], y1: top - 4, y2: height - bottom, class: "axis" }, svg);
      text(xs[i], top - 20, cut(axis.label, Math.floor((xs[1] - xs[0]) / 6.4) - (i < 2 ? 2 : 0)), { "text-anchor": i === 0 ? "start" : "middle", dx: i === 0 ? -side + 4 : 0, class: "name" });
      axis.values.forEach((value, v) => {
        const on = chosen[i].has(v);
        const button = make("g", { class: on ? "value on" : "value", role: "button", tabindex: 0, "aria-pressed": on, "aria-label": `${axis.label} ${value}` }, svg);
        const shownText = cut(value, 12), wide = 12 + 6.4 * shownText.length;
        make("rect", { x: xs[i] - wide / 2, y: nodes[i][v] - 10, width: wide, height: 20, rx: 10 }, button);
        text(xs[i], nodes[i][v] + 4, shownText, { "text-anchor": "middle" }, button);
        const toggle = () => {
          if (on) chosen[i].delete(v); else chosen[i].add(v);
          drawers.parallel(at, figure);
          at.querySelectorAll(".value")[figure.axes.slice(0, i).reduce((sum, a) => sum + a.values.length, 0) + v]?.focus();
        };
        button.addEventListener("click", toggle);
        button.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); } });
      });
    });
    const end = xs[xs.length - 1];
    make("line", { x1: end, x2: end, y1: top, y2: height - bottom, class: "axis" }, svg);
    text(end, top - 20, data.unit, { "text-anchor": "middle", class: "name" });
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const value = least + part * (most - least);
      text(end + 8, result(value) + 4, figureText(value), { class: "tick" });
    }
    at.replaceChildren(svg);
    tall(at, height);
  },
};
const lasted = (ms) => (ms < 1e4 ? `${(ms / 1e3).toFixed(1)} s` : ms < 6e5 ? `${Math.round(ms / 1e3)} s` : ms < 36e5 ? `${Math.round(ms / 6e4)} min` : `${(ms / 36e5).toFixed(1)} h`);

// ---- drawn when they come near the view, and again when something has changed: at once where they are near, else when they are ----
const figures = [...document.querySelectorAll("[data-figure]")];
const near = new Set(), stale = new Set(figures);
function drawFigure(at) {
  stale.delete(at);
  const list = data.figures[at.dataset.figure];
  const panel = Number(at.dataset.panel);
  drawers[at.dataset.figure](at, list[panel], panel);
}
function drawAll(what) {
  if (!Drawing) return;
  drawCurves();
  if (what === "theme" || what === undefined) paintDots();
  for (const at of figures) {
    if (what === "curves" && at.dataset.figure !== "gradients") continue;
    stale.add(at);
    if (near.has(at)) drawFigure(at);
  }
}
// The same colours beside the names.
function paintDots() {
  for (const row of body.rows) {
    const dot = row.querySelector(".dot");
    if (dot) dot.style.background = row.classList.contains("lost") ? "transparent" : colourOf(Number(row.dataset.configuration));
  }
}
redraws.push(drawAll);
if (Drawing) {
  drawAll();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) near.add(target); else near.delete(target);
      if (isIntersecting && stale.has(target)) drawFigure(target);
    }
  }, { rootMargin: "600px" });
  figures.forEach((at) => watch.observe(at));
  // On paper all of them are there.
  window.addEventListener("beforeprint", () => [...stale].forEach(drawFigure));
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (width !== window.innerWidth) { width = window.innerWidth; drawAll("width"); } });
}
