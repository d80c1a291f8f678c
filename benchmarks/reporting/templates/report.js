"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const narrow = () => window.innerWidth < 704;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // Theme: the system's unless chosen here; the choice is kept where the browser lets files keep anything.
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const themeButton = document.getElementById("theme");
  let printing = false;
  const dark = () => !printing && (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const stored = { get() { try { return localStorage.getItem("theme"); } catch { return null; } },
                   set(value) { try { localStorage.setItem("theme", value); } catch { /* not kept */ } } };
  function themed() {
    themeButton.textContent = dark() ? "Light theme" : "Dark theme";
    redraw();
  }
  themeButton.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    stored.set(root.dataset.theme);
    themed();
  });
  system.addEventListener("change", themed);

  // Charts.
  const filter = { dataset: "", method: "", regularizer: "" };
  const charts = all("[data-chart]").map((figure) => ({
    ...data.charts[Number(figure.dataset.chart)], figure, plot: figure.querySelector(".plot"),
    legend: figure.querySelector(".legend"), tools: figure.querySelector(".tools"),
    panel: 0, hidden: new Set(), linear: false, drawn: false,
  }));
  const passes = (line) => ["method", "regularizer"].every((name) => !filter[name] || line[name] === undefined || line[name] === filter[name]);
  const shown = (chart) => chart.panels[chart.panel].lines.filter((line) => passes(line) && !chart.hidden.has(line.key));
  const colour = (line) => dark() ? line.style.dark : line.style.light;
  const faded = (hex, alpha) => `rgba(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).join(",")},${alpha})`;

  function band(line, floor) {
    if (!line.low || line.points) return [];
    const runs = [];
    line.x.forEach((_, i) => {
      if (line.low[i] === null || line.high[i] === null || (floor !== null && line.low[i] <= floor)) return;
      const last = runs[runs.length - 1];
      last && last[last.length - 1] === i - 1 ? last.push(i) : runs.push([i]);
    });
    return runs.map((keep) => {
      const back = keep.slice().reverse();
      return { x: [...keep, ...back].map((i) => line.x[i]), y: [...keep.map((i) => line.high[i]), ...back.map((i) => line.low[i])],
              type: "scatter", mode: "lines", fill: "toself", fillcolor: faded(colour(line), 0.16), line: { width: 0 },
              hoverinfo: "skip", showlegend: false };
    });
  }

  function trace(line) {
    const markers = line.style.markers || line.points;
    const limits = line.low ? line.x.map((_, i) => line.low[i] === null ? "" : ` [${line.low[i]}, ${line.high[i]}]`) : line.x.map(() => "");
    const made = { x: line.x, y: line.y, customdata: limits, name: line.label, type: "scatter", showlegend: false,
      mode: line.points ? "markers" : markers && !line.steps ? "lines+markers" : "lines",
      line: { color: colour(line), width: line.style.width, dash: line.style.dash, shape: line.steps ? "hv" : "linear" },
      marker: { color: colour(line), symbol: line.style.symbol, size: line.points ? 11 : 7, maxdisplayed: line.points ? 0 : 9, line: { width: 1.5, color: colour(line) } },
      hovertemplate: `%{y}%{customdata}<extra>${escaped(line.label)}</extra>` };
    if (line.points && line.low) {
      const ends = { type: "data", symmetric: false, color: colour(line), thickness: 1.5, width: 4 };
      made.error_x = { ...ends, array: line.x.map((x, i) => (line.x_high[i] ?? x) - x), arrayminus: line.x.map((x, i) => x - (line.x_low[i] ?? x)) };
      made.error_y = { ...ends, array: line.y.map((y, i) => (line.high[i] ?? y) - y), arrayminus: line.y.map((y, i) => y - (line.low[i] ?? y)) };
    }
    return made;
  }

  function ending(line) {
    const last = line.x.length - 1;
    return line.ended && last >= 0 ? [{ x: [line.x[last]], y: [line.y[last]], type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip",
      marker: { symbol: "x-thin-open", size: 11, color: colour(line), line: { width: 2.5, color: colour(line) } } }] : [];
  }

  // Plotly reads a little HTML in labels.
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function range(lines, log, ends) {
    const values = lines.flatMap((line) => line.points && line.low ? [...line.y, ...line.low, ...line.high] : line.y).filter((y) => y !== null && (!log || y > 0)).map((y) => log ? Math.log10(y) : y);
    if (!values.length) return undefined;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    const margin = 0.06 * (high - low) || Math.abs(high) * 0.05 || 1;
    return ends && !log ? [Math.max(low - margin, ends[0]), Math.min(high + margin, ends[1])] : [low - margin, high + margin];
  }

  // Plotly's own labels of minor ticks show one digit of several.
  function logTicks(ends) {
    const decades = ends[1] - ends[0];
    const steps = decades > 3.2 ? [1] : decades > 0.9 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
    const values = [];
    for (let k = Math.floor(ends[0]); k <= ends[1]; k++) {
      for (const step of steps) {
        const value = Number((step * 10 ** k).toPrecision(3));
        if (Math.log10(value) >= ends[0] && Math.log10(value) <= ends[1]) values.push(value);
      }
    }
    if (values.length < 2) return { range: ends };
    return { range: ends, tickmode: "array", tickvals: values, ticktext: values.map((v) => v.toLocaleString("en", { maximumSignificantDigits: 3 })) };
  }

  // Long titles take a second line on a phone.
  const folded = (text) => narrow() ? text.replace(" (", "<br>(").replace("; ", ";<br>") : text;

  function layout(chart, panel, lines) {
    const style = getComputedStyle(document.body);
    const read = (name) => printing ? { "--ink": "#000", "--line": "#ccc", "--card": "#fff", "--soft": "#444" }[name] : style.getPropertyValue(name).trim();
    const axis = { gridcolor: read("--line"), linecolor: read("--soft"), zerolinecolor: read("--soft"), zeroline: false, automargin: true, ticks: "outside", ticklen: 3, tickcolor: read("--soft") };
    const logY = panel.y.log && !chart.linear;
    const logX = panel.x.log;
    const made = { autosize: true, height: narrow() ? 300 : 350, margin: { l: 52, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: style.fontFamily || "system-ui, sans-serif", size: 12, color: read("--ink") }, showlegend: false,
      hovermode: narrow() || lines.length > 8 || chart.form === "points" ? "closest" : "x unified",
      hoverlabel: { bgcolor: read("--card"), bordercolor: read("--line"), font: { color: read("--ink"), size: 12 }, namelength: -1 },
      dragmode: narrow() ? false : "zoom",
      xaxis: { ...axis, title: { text: folded(panel.x.title), standoff: 8 }, type: logX ? "log" : "linear" },
      yaxis: { ...axis, title: { text: panel.y.title, standoff: 6 }, type: logY ? "log" : "linear", range: range(lines, logY, panel.y.ends) } };
    const positive = lines.flatMap((line) => line.points ? [...line.x, ...line.x_low, ...line.x_high] : line.x).filter((x) => x > 0).map(Math.log10);
    if (logX && positive.length) {
      const [low, high] = [positive.reduce((a, b) => Math.min(a, b)), positive.reduce((a, b) => Math.max(a, b))];
      const margin = chart.form === "points" ? 0.08 * (high - low) || 0.1 : 0;
      if (high - low < 0.5 && chart.form === "points") made.xaxis.type = "linear";
      else Object.assign(made.xaxis, logTicks([low - margin, high + margin]));
    }
    if (logY && made.yaxis.range) Object.assign(made.yaxis, logTicks(made.yaxis.range));
    const places = lines.flatMap((line) => line.x);
    if (chart.form === "lines" && !logX && places.length) {
      const [first, last] = [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b))];
      if (last > first) made.xaxis.range = [first, last];
    }
    return made;
  }

  // Names at the ends of lines. At the right edge they are moved apart where they would meet, and a short stroke leads
  // from a line to its name.
  function endLabels(chart, lines, made) {
    const ends = new Map();
    for (const line of lines) {
      const last = line.y.reduce((found, y, i) => y === null ? found : i, -1);
      if (last >= 0 && !ends.has(line.key)) ends.set(line.key, { line, x: line.x[last], y: line.y[last] });
    }
    if (chart.form !== "lines" || ends.size < 2 || !made.yaxis.range) return;
    const [size, gap, most] = narrow() ? [10, 11, 15] : [11, 13, 24];
    const [low, high] = made.yaxis.range;
    const height = made.height - 80;
    const scaled = (value, axis) => axis.type === "log" ? Math.log10(Math.max(value, Number.MIN_VALUE)) : value;
    const short = ({ line }) => line.label.length > most ? `${line.label.slice(0, most - 1)}…` : line.label;
    const look = (end) => ({ text: escaped(short(end)), xanchor: "left", yanchor: "middle", font: { size, color: colour(end.line) }, borderpad: 0 });
    const early = [...ends.values()].filter(({ line }) => line.ended);
    const placed = [...ends.values()].filter(({ line }) => !line.ended)
      .map((end) => ({ ...end, share: Math.min(1, Math.max(0, (scaled(end.y, made.yaxis) - low) / (high - low))) })).sort((a, b) => b.share - a.share);
    let free = 0;
    for (const end of placed) { end.top = Math.max((1 - end.share) * height, free); free = end.top + gap; }
    let floor = height;
    for (const end of placed.slice().reverse()) { end.top = Math.min(end.top, floor); floor = end.top - gap; }
    made.annotations = [
      ...placed.map((end) => ({ ...look(end), xref: "paper", yref: "paper", x: 1, y: end.share, ax: 14, ay: end.top - (1 - end.share) * height,
        showarrow: true, arrowhead: 0, arrowwidth: 1, arrowcolor: faded(colour(end.line), 0.6), standoff: 1 })),
      ...early.map((end) => ({ ...look(end), x: scaled(end.x, made.xaxis), y: scaled(end.y, made.yaxis), xshift: 9, showarrow: false }))];
    made.margin.r = Math.round(20 + 0.56 * size * Math.max(...placed.map((end) => short(end).length), 0));
  }

  function forest(chart, panel) {
    const made = layout(chart, { ...panel, y: { title: "" } }, []);
    const ink = made.font.color;
    const card = made.hoverlabel.bgcolor;
    const traces = panel.lines.map((line) => ({ x: line.x, y: line.y, text: line.text, type: "scatter", mode: "markers", showlegend: false,
      marker: { symbol: "square", size: 10, color: line.filled.map((f) => f ? ink : card), line: { color: ink, width: 1.6 } },
      error_x: { type: "data", symmetric: false, array: line.high.map((h, i) => (h ?? line.x[i]) - line.x[i]), arrayminus: line.low.map((l, i) => line.x[i] - (l ?? line.x[i])), color: ink, thickness: 2, width: 0 },
      hovertemplate: "%{text}<extra></extra>" }));
    const rows = panel.y.ticks;
    const ends = panel.x.log ? panel.x.reach.map(Math.log10) : panel.x.reach;
    made.hovermode = "closest";
    made.height = 90 + rows.length * (narrow() ? 46 : 32);
    made.xaxis = { ...made.xaxis, range: ends, ...(panel.x.log ? logTicks(ends) : {}) };
    made.shapes = [{ type: "line", x0: panel.x.neutral, x1: panel.x.neutral, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: ink, width: 2 } }];
    made.yaxis = { ...made.yaxis, type: "category", categoryorder: "array", categoryarray: rows, range: [-0.6, rows.length - 0.4], ticks: "", showgrid: false, title: { text: "" }, tickvals: rows, ticktext: rows.map(escaped) };
    if (narrow()) {
      made.margin.l = 8;
      made.yaxis.showticklabels = false;
      made.annotations = rows.map((row) => ({ xref: "paper", x: 0, xanchor: "left", y: row, yshift: 16, text: escaped(row), showarrow: false, bgcolor: card, borderpad: 0, font: { size: 11, color: ink } }));
    }
    return [traces, made];
  }

  const settings = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };

  function draw(chart) {
    const panel = chart.panels[chart.panel];
    let traces, made;
    if (chart.form === "forest") {
      [traces, made] = forest(chart, panel);
    } else {
      const lines = shown(chart);
      const logY = panel.y.log && !chart.linear;
      made = layout(chart, panel, lines);
      endLabels(chart, lines, made);
      const floor = logY && made.yaxis.range ? 10 ** made.yaxis.range[0] : null;
      const banded = new Set(lines.map((line) => line.key)).size <= chart.bands ? lines : [];
      traces = [...banded.flatMap((line) => band(line, floor)), ...lines.map(trace), ...lines.flatMap(ending)];
    }
    Plotly.react(chart.plot, traces, made, settings);
    chart.drawn = true;
    chart.figure.dataset.lines = String(traces.length);
  }

  function redraw() { charts.filter((chart) => chart.drawn).forEach(draw); }

  const SHAPES = { y: '<path d="M15 1V6M15 6 11 10M15 6 19 10"/>', circle: '<circle cx="15" cy="6" r="3.6"/>', square: '<rect x="11.6" y="2.6" width="6.8" height="6.8"/>', triangle: '<path d="M15 1.8 19 9.2H11Z"/>', diamond: '<path d="M15 1.6 19.4 6 15 10.4 10.6 6Z"/>', x: '<path d="M11 2 19 10M19 2 11 10"/>', cross: '<path d="M15 1V11M10 6H20"/>', star: '<path d="M15 .8 16.4 4.5 20.2 4.6 17.2 7 18.3 10.8 15 8.6 11.7 10.8 12.8 7 9.8 4.6 13.6 4.5Z"/>', pentagon: '<path d="M15 1.2 19.8 4.7 18 10.4H12L10.2 4.7Z"/>' };
  const DASHES = { "5px,1px,2px,1px": "5 1 2 1", "3px,1px,1px,1px": "3 1 1 1", "10px,2px,2px,2px": "10 2 2 2", solid: "", dash: "5 3", dot: "1.5 2.5", dashdot: "6 2.5 1.5 2.5", longdash: "9 3", longdashdot: "9 2.5 1.5 2.5" };

  function swatch(line) {
    const holder = element("span", { "aria-hidden": "true", style: `color:${colour(line)};display:inline-flex` });
    const shape = SHAPES[line.style.symbol.split("-")[0]] || "";
    const fill = line.style.symbol.includes("open") ? "var(--card)" : "currentColor";
    const stroke = line.points ? "" : `<path d="M0 6H30" stroke-dasharray="${DASHES[line.style.dash]}"/>`;
    holder.innerHTML = `<svg width="30" height="12" fill="none" stroke="currentColor" stroke-width="1.8">${stroke}<g fill="${fill}">${line.style.markers || line.points ? shape : ""}</g></svg>`;
    return holder;
  }

  function legend(chart) {
    chart.legend.replaceChildren();
    if (chart.form === "forest") return;
    const named = new Set();
    const lines = chart.panels[chart.panel].lines.filter(passes).filter((line) => !named.has(line.key) && named.add(line.key));
    for (const line of lines) {
      const button = element("button", { type: "button", "aria-pressed": String(!chart.hidden.has(line.key)), "data-key": line.key }, swatch(line), line.legend || line.label);
      button.addEventListener("click", () => { chart.hidden.has(line.key) ? chart.hidden.delete(line.key) : chart.hidden.add(line.key); refresh(chart); });
      button.addEventListener("dblclick", () => {
        const others = lines.map((other) => other.key).filter((key) => key !== line.key);
        const alone = others.every((key) => chart.hidden.has(key));
        chart.hidden = new Set(alone ? [] : others);
        refresh(chart);
      });
      chart.legend.append(button);
    }
  }

  function tools(chart) {
    chart.tools.replaceChildren();
    const panels = chart.panels.length > 1 ? chart.panels : [];
    panels.forEach((panel, i) => {
      const button = element("button", { type: "button", "aria-pressed": String(i === chart.panel) }, panel.name);
      button.addEventListener("click", () => { chart.panel = i; refresh(chart); chart.tools.children[i].focus(); });
      chart.tools.append(button);
    });
    if (chart.panels[chart.panel].y.log) {
      const button = element("button", { type: "button", class: "right", "aria-pressed": String(!chart.linear) }, "log scale");
      button.addEventListener("click", () => { chart.linear = !chart.linear; refresh(chart); chart.tools.lastChild.focus(); });
      chart.tools.append(button);
    }
  }

  function refresh(chart) {
    tools(chart);
    const focused = document.activeElement && document.activeElement.dataset.key;
    const had = chart.legend.contains(document.activeElement);
    legend(chart);
    if (had) all("button", chart.legend).filter((b) => b.dataset.key === focused).forEach((b) => b.focus());
    draw(chart);
  }

  // A chart is drawn when it comes near the screen; a page of hundreds opens at once.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const chart = charts.find((c) => c.figure === entry.target);
      if (entry.isIntersecting && !chart.drawn) refresh(chart);
    }
  }, { rootMargin: "400px" });
  charts.forEach((chart) => watcher.observe(chart.figure));

  let wasNarrow = narrow();
  window.addEventListener("resize", () => { if (narrow() !== wasNarrow) { wasNarrow = narrow(); redraw(); } });
  window.addEventListener("beforeprint", () => { printing = true; charts.forEach((chart) => refresh(chart)); });
  window.addEventListener("afterprint", () => { printing = false; redraw(); });

  // Filters.
  const form = document.getElementById("filters");
  function apply() {
    for (const select of all("select", form)) filter[select.name] = select.value;
    for (const line of all("tbody tr[data-method], details.row")) line.classList.toggle("filtered", !passes(line.dataset));
    for (const block of all(".block")) {
      const empty = !block.querySelector("tbody tr[data-method]:not(.filtered), details.row:not(.filtered)");
      block.classList.toggle("filtered", empty || Boolean(filter.dataset && block.dataset.dataset !== filter.dataset));
    }
    for (const chart of charts) {
      const other = Boolean(filter.dataset && chart.dataset && chart.dataset !== filter.dataset);
      const empty = chart.form !== "forest" && !chart.panels.some((panel) => panel.lines.some(passes));
      chart.figure.classList.toggle("filtered", other || empty);
      if (chart.drawn && !other && !empty) refresh(chart);
    }
    const rows = all("#results tbody tr");
    const left = rows.filter((row) => !row.classList.contains("filtered") && !row.closest(".filtered")).length;
    form.querySelector("[type=reset]").hidden = !Object.values(filter).some(Boolean);
    document.getElementById("shown").textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
  }
  form.addEventListener("change", apply);
  form.addEventListener("reset", () => setTimeout(apply));

  // Sorting: up, down, as it was.
  const worth = (cell) => { const text = cell.dataset.v ?? cell.textContent.trim(); return text === "" || Number.isNaN(Number(text)) ? text : Number(text); };
  function order(a, b) {
    if (a === b) return 0;
    if (a === "" || b === "") return a === "" ? 1 : -1;
    return typeof a === typeof b ? (a < b ? -1 : 1) : typeof a === "number" ? -1 : 1;
  }
  for (const table of all("#results table")) {
    const body = table.tBodies[0];
    const original = Array.from(body.rows);
    all("thead th", table).forEach((head, column) => {
      if (head.dataset.fixed !== undefined) return;
      const button = element("button", { type: "button", class: "sort" }, ...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        const rows = original.slice();
        if (next !== "none") {
          head.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          rows.sort((a, b) => {
            const [x, y] = [worth(a.cells[column]), worth(b.cells[column])];
            return x === "" || y === "" ? order(x, y) : sign * order(x, y);
          });
        }
        body.append(...rows);
      });
    });
  }

  // Provenance, built when a row is opened.
  const inWords = (value) => value === null ? "none" : Array.isArray(value) ? value.map(inWords).join(", ")
    : typeof value === "object" ? Object.entries(value).map(([name, v]) => `${name} ${inWords(v)}`).join(", ") : String(value);
  function pairs(title, rows, marked = new Set()) {
    const body = element("tbody");
    for (const [name, place] of rows) {
      body.append(element("tr", marked.has(name) ? { class: "differs" } : {}, element("th", { scope: "row" }, name), element("td", { class: "wrap" }, inWords(data.pool[place]))));
    }
    return element("div", {}, element("h4", {}, title), element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": title }, element("table", {}, body)));
  }
  const RUN = ["seed", "status", "training (s)", "test (s)", "peak memory (MB)", "interruptions", "finished", "device", "commit", "versions", "plug-ins", "digest"];
  const POOLED = new Set(["status", "device", "commit", "versions", "plug-ins"]);
  function runs(rows) {
    const head = element("tr", {}, ...RUN.map((name) => element("th", { scope: "col" }, name)));
    const body = element("tbody");
    for (const run of rows) body.append(element("tr", {}, ...run.map((value, i) => element("td", {}, inWords(POOLED.has(RUN[i]) ? data.pool[value] : value)))));
    return element("div", { class: "wide" }, element("h4", {}, "runs"), element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "runs" }, element("table", {}, element("thead", {}, head), body)));
  }
  function unfold(details) {
    const body = details.querySelector(".body");
    if (!details.open || body.childElementCount) return;
    const row = data.rows[Number(details.dataset.row)];
    body.append(runs(row.runs), pairs("configuration", Object.entries(row.config), new Set(row.differs)), pairs("tested on", row.facts));
  }
  for (const details of all("details.row")) details.addEventListener("toggle", () => unfold(details));
  function follow() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details.row")) { target.open = true; unfold(target); target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#row-"]');
    if (link && link.hash === location.hash) follow();
  });

  root.dataset.theme = stored.get() || "";
  if (!root.dataset.theme) delete root.dataset.theme;
  themeButton.hidden = form.hidden = false;
  themed();
  follow();
  root.dataset.ready = "yes";
})();
