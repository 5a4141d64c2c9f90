// ---- what all drawings share ----
const Drawing = window.Plotly;
const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const narrow = () => window.innerWidth < 560;
const figureText = (value) => (value < 10 ? value.toFixed(3) : value < 100 ? value.toFixed(2) : value < 1000 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mixed = (a, b, share) => {
  const [from, to] = [channels(a), channels(b)];
  return "#" + from.map((v, i) => Math.round(v + (to[i] - v) * share).toString(16).padStart(2, "0")).join("");
};
const faded = (hex, opacity) => `rgba(${channels(hex).join(",")},${opacity})`;

// A configuration has one colour in all drawings: the best one the page's own, few others one each, many a shade by rank.
const drawn = [...new Set(data.curves.map((c) => c.configuration))].sort((a, b) => places.get(a).index - places.get(b).index);
const FEW = 8;
const colourOf = (number) => {
  const place = places.get(number)?.index ?? places.size;
  const count = Math.min(places.size, 50);
  if (place === 0) return colour("--c1");
  if (places.size <= FEW) return colour(`--c${place + 1}`);
  return mixed(colour("--rank-near"), colour("--rank-far"), Math.sqrt(Math.min(1, (place - 1) / Math.max(1, count - 2))));
};

const axis = (title) => ({
  title: { text: title, standoff: 8, font: { size: 12, color: colour("--soft") } },
  gridcolor: colour("--line"), linecolor: colour("--line-strong"), zeroline: false, ticks: "", automargin: true,
  tickfont: { size: 11, color: colour("--soft") },
});
const layout = (extra) => ({
  font: { family: colour("--sans"), color: colour("--ink"), size: 12 },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: narrow() ? false : "zoom",
  hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line-strong"), font: { family: colour("--sans"), color: colour("--ink"), size: 12 }, align: "left" },
  margin: { l: 52, r: 8, t: 28, b: 44 }, showlegend: false, ...extra,
});
const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const draw = (at, traces, more) => Drawing.react(at, traces, layout(more), config);

/** Ticks of a logarithmic axis at 1, 2 and 5; `range` is in powers of ten. */
function logTicks(range) {
  const values = [];
  for (let power = Math.floor(range[0]); power <= range[1]; power++) for (const digit of [1, 2, 5]) values.push(digit * 10 ** power);
  const inside = values.filter((v) => Math.log10(v) >= range[0] && Math.log10(v) <= range[1]);
  return inside.length > 1 ? { tickvals: inside, ticktext: inside.map((v) => String(Number(v.toPrecision(1)))) } : { nticks: 6 };
}

/** Labels at the ends of lines, moved apart; `ends` are {number, y, text}, `range` in data (its logarithm where `log`). */
const LABEL = 15;
function endLabels(ends, range, log, height) {
  const scale = (y) => ((log ? Math.log10(y) : y) - range[0]) / (range[1] - range[0]) * height;
  const sorted = ends.map((end) => ({ ...end, at: scale(end.y) })).filter((end) => end.at >= -2 && end.at <= height + 2).sort((a, b) => a.at - b.at);
  // Blocks of labels that would touch are spread around their middle.
  const blocks = [];
  for (const end of sorted) {
    blocks.push({ members: [end], middle: end.at });
    while (blocks.length > 1) {
      const [one, other] = blocks.slice(-2);
      if (other.middle - one.middle >= (one.members.length + other.members.length) / 2 * LABEL) break;
      const members = [...one.members, ...other.members];
      blocks.splice(-2, 2, { members, middle: members.reduce((sum, m) => sum + m.at, 0) / members.length });
    }
  }
  return blocks.flatMap(({ members, middle }) => {
    const half = (members.length - 1) / 2 * LABEL;
    const low = Math.min(Math.max(middle - half, 0), Math.max(0, height - 2 * half));
    return members.map((end, index) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 6, yref: "y", y: log ? Math.log10(end.y) : end.y, yanchor: "middle", yshift: low + index * LABEL - end.at,
      text: escaped(end.text), showarrow: false, align: "left", captureevents: true, configuration: end.number,
      font: { size: 11, color: selected === null || selected === end.number ? mixed(colourOf(end.number), colour("--ink"), 0.25) : colour("--soft") },
    }));
  });
}
/** A click on a line, its label or its entry in the legend brings the configuration forward. */
function selectable(at) {
  if (at.dataset.selectable) return;
  at.dataset.selectable = "yes";
  at.on("plotly_clickannotation", (event) => { if (event.annotation.name) select(Number(event.annotation.name)); });
  at.on("plotly_legendclick", (event) => { select(Number(event.data[event.curveNumber].meta)); return false; });
  at.on("plotly_legenddoubleclick", () => false);
  at.on("plotly_click", (event) => { const number = event.points[0]?.data.meta; if (number !== undefined) select(Number(number)); });
}
const labelled = (annotations) => annotations.map(({ configuration, ...rest }) => ({ ...rest, name: String(configuration) }));

// ---- loss and gradient norm on the way ----
const against = () => document.querySelector("input[name=x]:checked")?.value ?? "tokens";
const isOn = (id) => document.getElementById(id)?.checked ?? false;
const seedsOf = new Map();
for (const curve of data.curves) seedsOf.set(curve.configuration, [...(seedsOf.get(curve.configuration) ?? []), curve]);

/** Mean, lowest and highest held-out loss of a configuration's seeds that came as far as any, at the steps that all of these have. */
function heldOut(curves, x) {
  const all = curves.map((c) => c.validation).filter((v) => v.steps.length > 0);
  // A seed that ended early does not cut the others short.
  const far = Math.max(...all.map((v) => v.steps[v.steps.length - 1]));
  const [first, ...others] = all.filter((v) => v.steps[v.steps.length - 1] === far);
  if (!first) return null;
  const points = [];
  first.steps.forEach((step, i) => {
    const values = [first.loss[i]];
    for (const other of others) {
      const at = other.steps.indexOf(step);
      if (at >= 0 && other.loss[at] !== null) values.push(other.loss[at]);
    }
    if (values.length === others.length + 1 && values[0] !== null) points.push([first[x][i], values.reduce((a, b) => a + b) / values.length, Math.min(...values), Math.max(...values)]);
  });
  // Seeds that were evaluated at different steps have no mean: the first one stands for them.
  if (points.length === 0) first.steps.forEach((_, i) => points.push([first[x][i], first.loss[i], first.loss[i], first.loss[i]]));
  return { x: points.map((p) => p[0]), y: points.map((p) => p[1]), low: points.map((p) => p[2]), high: points.map((p) => p[3]), seeds: others.length + 1 };
}

/** Unless all of it is asked for, the drawing begins below the first fall, where configurations part: its upper end is the
 *  highest value that a configuration has after a fifth of the way. Where one is still under way, a fifth of the longest way
 *  so far stands for that of its own, or its last value where it has not come so far. */
function rangeOf(parts, whole, log) {
  let [low, high] = [Infinity, -Infinity];
  const end = (x) => x[x.length - 1];
  const far = Math.max(...parts.map((part) => end(part.x)));
  for (const { x, y, underWay } of parts) {
    const from = whole ? -Infinity : underWay ? Math.min(0.2 * far, end(x)) : 0.2 * end(x);
    y.forEach((value, i) => {
      if (value === null || (log && value <= 0)) return;
      low = Math.min(low, value);
      if (x[i] >= from) high = Math.max(high, value);
    });
  }
  if (!(high > low)) [low, high] = Number.isFinite(low) ? [low * 0.9, low * 1.1 || 1] : [0.5, 1];
  const ends = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const room = 0.05 * (ends[1] - ends[0]);
  return [ends[0] - room, ends[1] + room];
}

function drawLines(at, { smooth, raw, held, log, whole, single, title, word }) {
  const x = against();
  const many = data.curves.length > 12;
  const traces = [], ends = [], parts = [];
  // What diverged does not decide how far the axes go, unless there is nothing else.
  const counts = (number) => places.get(number).place !== null || places.get(number).under_way;
  const any = drawn.some(counts);
  const front = selected ?? drawn[0];
  const unit = x === "hours" ? "%{x:.3f} h" : `%{x:,} ${x}`;
  // The best are drawn last, so that they lie on top.
  const order = drawn.filter(isKept).sort((a, b) => (a === front) - (b === front) || places.get(b).index - places.get(a).index);
  for (const number of order) {
    const place = places.get(number);
    const hue = colourOf(number);
    const isFront = number === front;
    const dim = selected !== null && !isFront;
    const head = `<b>${place.place ? place.place + ". " : ""}${escaped(named(number))}</b>`;
    const shared = { type: "scatter", meta: number, connectgaps: true };
    const curves = seedsOf.get(number);
    const points = held ? heldOut(curves, x) : null;
    for (const curve of curves) {
      if (!single && points) break;
      // A list, since Plotly leaves the name of a single text in the template as it stands.
      const text = curve[x].map(() => `${head}<br>seed ${curve.seed}`);
      // Single steps lie behind the one in front, or behind all where these are few.
      if ((isFront && (selected !== null || !many)) || data.curves.length <= 3) {
        traces.push({ ...shared, x: curve[x], y: curve[raw], mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: faded(hue, 0.22), width: 0.8 } });
      }
      traces.push({ ...shared, x: curve[x], y: curve[smooth], mode: "lines", text, showlegend: false,
        line: { color: hue, width: points ? 1 : isFront ? 2 : 1.2 }, opacity: dim ? 0.1 : isFront ? 0.85 : many ? 0.35 : 0.55,
        hovertemplate: `%{text}<br>${word} %{y:.3f}, smoothed<br>${unit}<extra></extra>` });
      if (!any || counts(number)) parts.push({ x: curve[x], y: curve[smooth], underWay: place.under_way });
    }
    if (points) {
      if (points.seeds > 1 && (drawn.length <= FEW || isFront) && !dim) {
        traces.push({ ...shared, x: [...points.x, ...[...points.x].reverse()], y: [...points.low, ...[...points.high].reverse()], mode: "lines", fill: "toself",
          fillcolor: faded(hue, 0.16), line: { width: 0 }, hoverinfo: "skip", showlegend: false });
      }
      traces.push({ ...shared, x: points.x, y: points.y, mode: "lines+markers", text: points.x.map(() => head + (points.seeds > 1 ? `<br>mean of ${points.seeds} seeds` : "")),
        name: escaped(cut(place.short, narrow() ? 20 : 40)), showlegend: place.index < 4, legendrank: 1000 + place.index,
        line: { color: hue, width: isFront && drawn.length > 1 ? 2.6 : 1.5 }, marker: { color: hue, size: isFront ? 6 : 4 }, opacity: dim ? 0.14 : 1,
        hovertemplate: `%{text}<br>held-out loss %{y:.3f}<br>${unit}<extra></extra>` });
      if (!any || counts(number)) parts.push({ x: points.x, y: points.y, underWay: place.under_way });
    }
    const last = points ?? { y: curves[0][smooth] };
    const value = last.y.findLast((v) => v !== null);
    if (value !== undefined) ends.push({ number, y: value, text: cut(place.short || "the only one", 30), index: place.index });
  }
  ends.sort((a, b) => (b.number === selected) - (a.number === selected) || a.index - b.index);
  const shown = ends.slice(0, FEW);
  const range = rangeOf(parts, whole, log);
  const side = !narrow() && drawn.length > 1;
  const margin = { l: 52, r: side ? Math.min(210, 16 + 6.1 * Math.max(...shown.map((end) => end.text.length), 6)) : 8, t: 28, b: 44 };
  const annotations = side ? labelled(endLabels(shown, range, log, at.clientHeight - margin.t - margin.b)) : [];
  if (side) {
    const more = ends.length > FEW ? `, best ${FEW} of ${ends.length}` : "";
    annotations.push({ xref: "paper", x: 1, xanchor: "right", yref: "paper", y: 1, yanchor: "bottom", yshift: 8, showarrow: false, text: escaped(cut(data.settings, 70) + more), font: { size: 11, color: colour("--soft") }, xshift: margin.r - 8 });
  }
  const titles = { tokens: "target tokens trained on", steps: "optimizer steps", hours: "hours inside training steps" };
  draw(at, traces, {
    margin: side || !held || drawn.length < 2 ? margin : { ...margin, b: 104 }, annotations,
    xaxis: { ...axis(titles[x]), type: isOn("log") ? "log" : "linear", ...(isOn("log") ? { dtick: 1 } : {}), showgrid: false },
    yaxis: { ...axis(title), type: log ? "log" : "linear", ...(log ? logTicks(range) : {}), range },
    showlegend: narrow() && held && drawn.length > 1,
    legend: { title: { text: escaped(cut(data.settings, 60)), side: "top", font: { size: 11, color: colour("--soft") } }, font: { size: 11 }, orientation: "h", y: -0.18, tracegroupgap: 0 },
  });
  selectable(at);
}

const curvesAt = document.getElementById("curves");
function drawCurves() {
  if (!curvesAt || !Drawing) return;
  drawLines(curvesAt, { smooth: "loss", raw: "raw", held: true, log: isOn("log"), whole: isOn("whole"), single: isOn("training"), title: `loss, ${data.loss_unit}`, word: "training loss" });
}
document.getElementById("controls")?.addEventListener("change", () => redraw("curves"));
