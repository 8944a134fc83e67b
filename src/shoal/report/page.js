"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data"), plots = read("plots");
  const unit = data.unit ? " " + data.unit : "";
  const PAGE = 100;

  // ---- elements: all text goes in as text, never as markup ----
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "on") for (const [event, f] of Object.entries(value)) element.addEventListener(event, f);
      else if (name === "style") Object.assign(element.style, value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((one) => one !== null && one !== undefined));
    return element;
  }
  const whole = (value) => value === null ? "–" : value.toLocaleString("en-US");
  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e12 || (size > 0 && size < 1e-4)) return value.toExponential(2);
    if (size >= 1e4) return Math.round(value).toLocaleString("en-US");
    return String(parseFloat(value.toPrecision(4)));
  }
  const percent = (value) => value === null ? "–" : (100 * value).toFixed(value < 0.01 ? 2 : 1) + " %";
  const fixed = (value) => value === null ? "–" : value.toFixed(3);
  function picture(image, size, told) {
    return make("img", { class: "thumb", src: "data:image/png;base64," + image, width: size, height: size, alt: told });
  }
  const dot = (id) => make("span", { class: "dot", style: { background: data.colors[id] }, "aria-hidden": "true" });

  // ---- plots ----
  const documents = {};
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Colors are put into a plot before it is drawn: drawn again, it may leave traces of the old ones.
  function dressed(value, colors) {
    if (Array.isArray(value)) return value.map((one) => dressed(one, colors));
    if (value === null || typeof value !== "object") return value;
    const found = Object.fromEntries(Object.entries(value).map(([name, one]) => [name, dressed(one, colors)]));
    if (found.type !== "object" || !found.attributes) return found;
    const of = found.attributes, { quiet, grid, accent, card } = colors;
    if (found.name === "Figure") Object.assign(of, { background_fill_color: card, border_fill_color: card });
    else if (found.name.endsWith("Axis")) Object.assign(of, { axis_label_text_color: quiet, major_label_text_color: quiet });
    else if (found.name === "Grid" && of.grid_line_color !== null) of.grid_line_color = grid;
    else if (found.name === "GlyphRenderer") {
      const glyphs = ["glyph", "selection_glyph", "nonselection_glyph"].map((one) => of[one]).filter((one) => one && one.attributes);
      const [name, color] = { accent: ["fill_color", accent], "accent-line": ["line_color", accent],
        marks: ["line_color", data.pixel ? quiet : card], ink: ["line_color", quiet] }[of.name] || [];
      if (name) for (const glyph of glyphs) glyph.attributes[name] = { type: "value", value: color };
    }
    return found;
  }
  const fine = matchMedia("(pointer: fine)").matches;
  async function draw(name) {
    const colors = Object.fromEntries(["quiet", "grid", "accent", "card"].map((one) => [one, ink("--" + one)]));
    if (documents[name]) {
      documents[name].clear();
      document.getElementById("plot-" + name).replaceChildren();
    }
    await Bokeh.embed.embed_item(dressed(plots[name], colors));
    const doc = Bokeh.documents[Bokeh.documents.length - 1];
    documents[name] = doc;
    if (name !== "map") return;
    const figure = doc.roots()[0];
    if (fine) figure.toolbar.active_drag = figure.toolbar.tools.find((tool) => tool.type === "PanTool") || null;
    const centers = doc.get_model_by_name("centers");
    centers.selected.properties.indices.change.connect(() => {
      const [first] = centers.selected.indices;
      if (first !== undefined && first !== chosen) open(first, true);
      if (first === undefined && chosen !== null) mark(null);
    });
    if (marked) mark(chosen);
  }
  async function drawAll() {
    delete document.documentElement.dataset.ready;
    for (const name of Object.keys(plots)) await draw(name);
    document.documentElement.dataset.ready = "true";
  }
  function mark(id) {
    const doc = documents.map;
    if (!doc) return;
    const rows = doc.get_model_by_name("rows"), centers = doc.get_model_by_name("centers");
    const found = [];
    if (id !== null) rows.data.cluster.forEach((one, at) => { if (one === id) found.push(at); });
    rows.selected.indices = found;
    centers.selected.indices = id === null ? [] : [id];
  }

  // ---- light and dark ----
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function dress(theme) {
    document.documentElement.dataset.theme = theme;
    if (document.documentElement.dataset.ready) drawAll();
  }
  dress(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => dress(dark.matches ? "dark" : "light"));
  document.getElementById("theme").addEventListener("click", () =>
    dress(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

  // ---- the table of clusters ----
  const names = data.clusters.some((one) => one.name), texts = data.clusters.some((one) => one.text);
  const images = data.clusters.some((one) => one.image);
  const COLUMNS = [
    ["id", "cluster", (one) => null, false],
    ["rows", "rows", (one) => whole(one.rows), true],
    ...(data.weighted ? [["weight", "weight", (one) => number(one.weight), true]] : []),
    ["within", "own" + (data.unit ? " (" + data.unit + ")" : ""), (one) => number(one.within), true],
    ["beyond", "next" + (data.unit ? " (" + data.unit + ")" : ""), (one) => number(one.beyond), true],
    ["silhouette", "silhouette", (one) => fixed(one.silhouette), true],
    ...(names ? [["name", "nearest row", (one) => one.name || "", false]] : []),
    ...(texts ? [["text", data.terms ? "top terms" : data.places ? "center" : "stands out", (one) => one.text || "", false]] : []),
  ];
  const TOLD = { own: "mean distance to the own center", next: "mean distance to the next center",
    silhouette: "mean simplified silhouette" };
  const table = document.getElementById("table"), body = table.tBodies[0], head = table.tHead.rows[0];
  let order = ["rows", -1], shown = PAGE, chosen = null, marked = false, view = [];
  for (const [key, label] of COLUMNS) {
    const text = key === "name" || key === "text";
    const button = make("button", { type: "button", title: TOLD[label.split(" ")[0]] || null, on: { click: () => {
      order = [key, order[0] === key ? -order[1] : (text || key === "id" ? 1 : -1)];
      fill();
    } } }, label);
    head.append(make("th", { class: text ? "text" : null, scope: "col", "data-key": key }, button));
  }
  for (const one of data.clusters) one.all = [one.id, one.name, one.text].join(" ").toLowerCase();
  function fill() {
    const wanted = filter.value.trim().toLowerCase(), [key, sign] = order;
    view = data.clusters.filter((one) => !wanted || (/^\d+$/.test(wanted) ? String(one.id) === wanted || one.all.includes(wanted) : one.all.includes(wanted)));
    view.sort((a, b) => {
      const [x, y] = [a[key] ?? null, b[key] ?? null];
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * sign || a.id - b.id;
    });
    for (const th of head.cells) {
      if (th.dataset.key === key) th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    }
    body.replaceChildren(...view.slice(0, shown).map(line));
    const left = view.length - shown;
    more.hidden = left <= 0;
    more.textContent = "Show " + Math.min(left, 5 * PAGE) + " more";
    count.textContent = (view.length === data.clusters.length ? whole(view.length) + " clusters" : whole(view.length) + " of " + whole(data.clusters.length) + " clusters")
      + (left > 0 ? ", " + shown + " shown" : "") + ". Click a heading to sort, a cluster to see it.";
  }
  function line(one) {
    const cells = COLUMNS.map(([key, label, value, right]) => {
      if (key !== "id") return make("td", { class: right ? null : "text" }, value(one));
      const button = make("button", { type: "button", "aria-label": "Cluster " + one.id }, dot(one.id), String(one.id));
      return make("td", null, images && one.image && !data.pixel ? picture(one.image, 26, "center of cluster " + one.id) : null, images ? " " : null, button);
    });
    return make("tr", { "data-id": one.id, "aria-current": one.id === chosen ? "true" : null, on: { click: () => open(one.id, true) } }, ...cells);
  }
  const filter = document.getElementById("filter"), more = document.getElementById("more"), count = document.getElementById("count");
  filter.addEventListener("input", () => { shown = PAGE; fill(); });
  more.addEventListener("click", () => { shown += 5 * PAGE; fill(); });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.closest("tr")) return;
    const row = event.target.closest("tr");
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    if (next) { next.querySelector("button").focus(); event.preventDefault(); }
  });

  // ---- one cluster ----
  const detail = document.getElementById("detail"), byId = new Map(data.clusters.map((one) => [one.id, one]));
  function open(id, asked) {
    const one = byId.get(id);
    if (!one) return;
    chosen = id;
    if (asked) marked = true;
    for (const row of body.rows) {
      if (Number(row.dataset.id) === id) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    detail.replaceChildren(...parts(one));
    detail.scrollTop = 0;
    if (asked) {
      mark(id);
      if (innerWidth <= 980) detail.scrollIntoView({ block: "start" });
      detail.focus({ preventScroll: true });
    }
  }
  function parts(one) {
    const at = view.indexOf(one);
    const go = (label, to) => make("button", { type: "button", "aria-label": label + " cluster of the table",
      disabled: to ? null : "", on: { click: () => open(to.id, true) } }, label === "Previous" ? "←" : "→");
    const facts = [["rows", whole(one.rows)], ["share", percent(one.share)],
      ["own distance", number(one.within) + unit], ["farthest", number(one.farthest) + unit],
      ["next distance", number(one.beyond) + unit], ["silhouette", fixed(one.silhouette)]];
    if (data.weighted) facts.splice(2, 0, ["weight", number(one.weight)]);
    const found = [
      make("div", { class: "bar" }, make("h2", null, dot(one.id), "Cluster " + one.id),
        make("div", null, go("Previous", view[at - 1]), " ", go("Next", at < 0 ? undefined : view[at + 1]))),
    ];
    const about = [one.name ? "around " + one.name : "", data.places ? one.text : ""].filter(Boolean).join(", ");
    if (about) found.push(make("p", { class: "quiet" }, about));
    if (one.image) found.push(make("p", null, picture(one.image, data.pixel ? 64 : 112, "the center of the cluster as an image")));
    found.push(make("dl", { class: "facts" }, ...facts.map(([name, value]) => make("div", null, make("dt", null, name), make("dd", null, value)))));
    if (one.next !== null && one.rows) {
      const next = byId.get(one.next);
      found.push(make("p", { class: "quiet", style: { marginTop: "10px" } }, "The next center is that of ",
        next ? make("button", { type: "button", on: { click: () => open(one.next, true) } }, dot(one.next), "cluster " + one.next + (next.name ? " (" + next.name + ")" : "")) : "cluster " + one.next));
    }
    if (!one.rows) { found.push(make("p", null, "No row of this data is nearest to this center.")); }
    if (data.terms && one.text) found.push(make("h3", null, "Top terms of its center"), make("div", { class: "chips" }, ...one.text.split(", ").map((term) => make("span", null, term))));
    const few = [...rows("Nearest rows", one.near), ...rows("Farthest rows", one.far)];
    if (images) found.push(...few);
    if (one.columns && one.columns.length) found.push(make("h3", null, "What makes it different"), differences(one.columns));
    if (!images) found.push(...few);
    return found;
  }
  function differences(columns) {
    const most = Math.max(2, ...columns.map((one) => Math.abs(one[2])));
    const grid = make("div", { class: "columns" }, ...["column", "center", "against the mean of the data", "mean"].map((text, at) => make("span", { class: "head" + (at % 2 ? " number" : "") }, text)));
    for (const [at, center, apart] of columns) {
      const width = 50 * Math.abs(apart) / most;
      const told = (apart >= 0 ? "+" : "−") + Math.abs(apart).toFixed(1) + " σ";
      grid.append(make("span", null, data.names[at]), make("span", { class: "number" }, number(center)),
        make("span", { class: "beam", title: told, role: "img", "aria-label": told + " from the mean" },
          make("i", { class: apart < 0 ? "low" : null, style: { width: width + "%", left: apart < 0 ? 50 - width + "%" : "50%" } })),
        make("span", { class: "number head", title: "mean of the data, standard deviation " + number(data.deviation[at]) }, number(data.mean[at])));
    }
    return grid;
  }
  function rows(title, few) {
    if (!few || !few.length) return [];
    const found = [make("h3", null, title)];
    if (few.some((one) => one.image)) {
      found.push(make("div", { class: "pictures" }, ...few.filter((one) => one.image).map((one) =>
        make("figure", null, picture(one.image, data.pixel ? 44 : 72, (one.name || "row " + one.row) + " as an image"), make("figcaption", null, one.name || "row " + whole(one.row))))));
    }
    if (few.some((one) => one.image) && !data.shown.length) return found;
    const heads = [["row", ""], ["distance" + (data.unit ? " (" + data.unit + ")" : ""), ""], ...data.shown.map((name) => [name, "text short"])];
    const lines = few.map((one) => make("tr", null, make("td", null, whole(one.row)), make("td", null, number(one.distance)),
      ...one.cells.map((cell) => make("td", { class: cell.length > 18 ? "text" : "text short" }, cell === "" ? "–" : cell))));
    found.push(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
      make("table", { class: "plain" }, make("thead", null, make("tr", null, ...heads.map(([name, kind]) => make("th", { scope: "col", class: kind || null }, name)))), make("tbody", null, ...lines))));
    return found;
  }

  // ---- begin: the table, which is there at once; the plots one by one, when there is Bokeh ----
  fill();
  if (view.length) open(view[0].id, false);
  addEventListener("load", drawAll);
})();
