// A circuit graph that is updated in place, by cytoscape.js (bundled before this file).  Texts are only ever drawn or set through
// textContent.  Keys: arrows walk, e walks the edges of a node, Enter opens, g held while clicking groups, / finds, 0 fits, Escape clears.

const MANY = 1200;
// So many edges hide each other: the weak ones are drawn faintly.
const CROWDED = 250;
const TALLEST = 2.2;

function styles(root) {
  const css = getComputedStyle(root), read = (name) => css.getPropertyValue(name).trim();
  const text = read("--st-text-color") || css.color, page = read("--st-background-color") || "#fff", primary = read("--st-primary-color") || "#2b7fd4";
  const font = '"Source Sans", sans-serif';
  return [
    { selector: "node", style: { label: "data(label)", "font-family": font, "font-size": 11, color: "#fff", "text-valign": "center", "text-halign": "center", shape: "round-rectangle", width: "data(width)", height: "data(height)", "background-color": "data(color)", "border-width": 0 } },
    { selector: "node[?small]", style: { "font-size": 9 } },
    { selector: "node[shape]", style: { shape: "data(shape)" } },
    { selector: "node.row", style: { "background-opacity": 0, color: text, "text-opacity": 0.55, "font-size": 11, events: "no", width: 1, height: 1, "text-halign": "left" } },
    { selector: "node.column", style: { "background-opacity": 0, color: text, "text-opacity": 0.7, "font-size": 10, events: "no", width: 1, height: 1 } },
    { selector: ":parent", style: { "background-color": text, "background-opacity": 0.05, "border-width": 1.5, "border-style": "dashed", "border-color": text, "border-opacity": 0.5, color: text, "text-valign": "top", "font-size": 11, padding: 10, shape: "round-rectangle" } },
    { selector: "edge", style: { width: "data(width)", "line-color": "data(color)", "target-arrow-color": "data(color)", "target-arrow-shape": "triangle", "arrow-scale": 0.7, "curve-style": root.state.many ? "straight" : "bezier", "control-point-step-size": 14, opacity: root.state.spec.edges.length > CROWDED ? "mapData(width, 0.8, 7, 0.16, 0.8)" : 0.55 } },
    { selector: "edge[kind = 'q']", style: { "line-style": "dashed", "line-dash-pattern": [7, 4] } },
    { selector: "edge[kind = 'k']", style: { "line-style": "dashed", "line-dash-pattern": [2, 4] } },
    { selector: "edge[kind = 'inside']", style: { "target-arrow-shape": "none", opacity: 0.35, "line-style": "solid", events: "no" } },
    { selector: ".near", style: { opacity: 1 } },
    { selector: "node.far", style: { opacity: 0.35 } },
    { selector: "edge.far", style: { opacity: 0.08 } },
    { selector: "node[ring]", style: { "border-width": 3, "border-color": "data(ring)", "border-style": "solid" } },
    { selector: ".marked", style: { "border-width": 3, "border-color": "#e07b00", "border-style": "double" } },
    { selector: "edge.marked", style: { "line-style": "dotted", "line-color": "#e07b00", opacity: 0.9 } },
    { selector: ".held", style: { "border-width": 3, "border-color": "#22a05a", "border-style": "solid" } },
    { selector: ".walked", style: { "overlay-color": primary, "overlay-opacity": 0.25, "overlay-padding": 5 } },
    { selector: "node.open", style: { "border-width": 3, "border-color": text, "border-style": "solid" } },
    { selector: "edge.open", style: { "line-color": text, "target-arrow-color": text, opacity: 1 } },
    { selector: "core", style: { "active-bg-opacity": 0, "selection-box-opacity": 0, "outside-texture-bg-color": page } },
  ];
}

// By how much rows are drawn further apart than laid out, so that a wide picture fills a window that is less wide.
function stretch(root) {
  const { nodes } = root.state.spec, host = root.querySelector(".ce-graph-host");
  const [wide, high] = ["x", "y"].map((axis) => Math.max(...nodes.map((node) => node[axis])) - Math.min(...nodes.map((node) => node[axis])));
  const wanted = ((host.clientHeight / host.clientWidth) * wide) / high;
  return Number.isFinite(wanted) ? Math.min(TALLEST, Math.max(1, wanted)) : 1;
}

function elements(root) {
  const { spec } = root.state, tall = stretch(root);
  const left = Math.min(0, ...spec.nodes.map((node) => node.x)) - 46, low = tall * Math.max(0, ...spec.nodes.map((node) => node.y)) + 44;
  const wide = (node) => Math.max(node.size, 6.4 * node.label.length + 12);
  return [
    ...Object.entries(spec.groups).map(([id, label]) => ({ group: "nodes", data: { id: `:${id}`, label, width: 1, height: 1, color: "#888" } })),
    ...spec.nodes.map((node) => ({
      group: "nodes", classes: node.marked ? "marked" : "", position: { x: node.x, y: tall * node.y },
      data: { id: node.id, label: node.label, color: node.color, width: node.shape ? node.size : node.small ? Math.max(30, wide(node) - 8) : wide(node), height: node.shape ? node.size : node.small ? 16 : 24, ...(node.shape ? { shape: node.shape } : {}), small: node.small, parent: node.parent ? `:${node.parent}` : undefined, ...(node.ring ? { ring: node.ring } : {}) },
    })),
    ...spec.rows.map(([y, label]) => ({ group: "nodes", classes: "row", selectable: false, data: { id: `row ${label}`, label, width: 1, height: 1, color: "#888" }, position: { x: left, y: tall * y } })),
    ...spec.columns.map(([x, label]) => ({ group: "nodes", classes: "column", selectable: false, data: { id: `column ${label}`, label, width: 1, height: 1, color: "#888" }, position: { x, y: low } })),
    ...spec.edges.map((edge) => ({ group: "edges", classes: edge.marked ? "marked" : "", data: { id: edge.id, source: edge.source, target: edge.target, width: edge.width, color: edge.color, kind: edge.kind } })),
  ];
}

function update(root) {
  const { spec } = root.state, many = spec.edges.length > MANY;
  if (root.state.cy && root.state.many !== many) {
    root.state.cy.destroy();
    root.state.cy = null;
  }
  root.state.many = many;
  if (!root.state.cy) begin(root);
  const cy = root.state.cy;
  cy.style(styles(root));
  if (root.state.drawn !== spec.signature) {
    cy.batch(() => {
      cy.elements().remove();
      cy.add(elements(root));
    });
    root.state.hovers = new Map([...spec.nodes, ...spec.edges].map((each) => [each.id, each]));
    root.state.drawn = spec.signature;
    root.state.walked = null;
    if (!root.state.touched) fit(root);
  }
  for (const id of root.state.held) cy.getElementById(id).addClass("held");
  open(root, spec.selected);
  tellPlaces(root);
}

function fit(root) {
  const { cy } = root.state;
  cy.fit(undefined, 24);
  if (cy.zoom() > 1.25) {
    cy.zoom(1.25);
    cy.center();
  }
}

function open(root, id) {
  const { cy } = root.state;
  cy.batch(() => {
    cy.elements().removeClass("open near far");
    const one = id ? cy.getElementById(id) : cy.collection();
    if (!one.length) return;
    one.addClass("open");
    const near = one.isEdge() ? one.union(one.connectedNodes()) : one.union(one.children()).union(one.children().neighborhood()).union(one.closedNeighborhood());
    near.addClass("near");
    cy.elements().difference(near).not(".row, .column, :parent").addClass("far");
  });
}

function tellPlaces(root) {
  const { cy, spec } = root.state, places = {};
  cy.nodes().not(".row, .column, :parent").slice(0, 400).forEach((node) => (places[node.id()] = Object.values(node.renderedPosition()).map(Math.round)));
  root.dataset.places = JSON.stringify(places);
  const middles = {};
  cy.edges().slice(0, 400).forEach((edge) => (middles[edge.id()] = Object.values(edge.renderedMidpoint()).map(Math.round)));
  root.dataset.edges = JSON.stringify(middles);
  const edges = spec.edges.filter((edge) => edge.kind !== "inside").length;
  root.dataset.shown = `${spec.nodes.length} nodes, ${edges} edges`;
  root.dataset.open = spec.selected;
  root.querySelector(".ce-graph-host").setAttribute("aria-label", `Circuit graph: ${root.dataset.shown}. Arrow keys walk, e walks the edges of a node, Enter opens, Escape clears.`);
}

function card(root, id, place) {
  const box = root.querySelector(".ce-graph-card"), found = id ? root.state.hovers.get(id) : null;
  box.style.display = found && found.hover ? "block" : "none";
  if (!found || !found.hover) return;
  box.querySelector("div").textContent = found.hover;
  const canvas = box.querySelector("canvas");
  canvas.style.display = found.thumbnail ? "block" : "none";
  if (found.thumbnail) thumbnail(root, canvas, found.thumbnail.split("\n"));
  const width = root.clientWidth, height = root.querySelector(".ce-graph-host").clientHeight;
  const x = place.x + 18 + box.offsetWidth > width ? Math.max(0, place.x - 18 - box.offsetWidth) : place.x + 18;
  box.style.left = `${x}px`;
  box.style.top = `${Math.max(0, Math.min(place.y + 40, height - box.offsetHeight + 30))}px`;
}

function thumbnail(root, canvas, rows) {
  const cell = Math.max(2, Math.floor(96 / rows.length)), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [cell * rows.length, cell * rows.length];
  context.fillStyle = "#2b7fd4";
  rows.forEach((row, y) => [...row].forEach((digit, x) => {
    context.globalAlpha = 0.04 + Number(digit) / 9.6;
    context.fillRect(x * cell, y * cell, cell, cell);
  }));
}

function hold(root, id) {
  const { held, cy } = root.state;
  if (held.has(id)) held.delete(id);
  else held.add(id);
  cy.getElementById(id).toggleClass("held", held.has(id));
  said(root);
}

function said(root) {
  const { held } = root.state, button = root.querySelector("[data-do=group]");
  button.hidden = held.size < 2;
  button.textContent = `Group ${held.size}`;
}

function group(root) {
  const { held, cy } = root.state;
  if (held.size > 1) root.state.send("group", [...held]);
  cy.nodes().removeClass("held");
  held.clear();
  said(root);
}

// The key may be let go anywhere: a press on the graph takes the focus away for a moment.
function beginGroup(root) {
  if (root.state.grouping) return;
  root.state.grouping = true;
  const done = (event) => {
    if (event.key !== "g" && event.type !== "blur") return;
    window.removeEventListener("keyup", done);
    window.removeEventListener("blur", done);
    root.state.grouping = false;
    group(root);
  };
  window.addEventListener("keyup", done);
  window.addEventListener("blur", done);
}

function begin(root) {
  const host = root.querySelector(".ce-graph-host");
  const cy = (root.state.cy = cytoscape({
    container: host, elements: [], layout: { name: "preset" }, autoungrabify: true, boxSelectionEnabled: false,
    minZoom: 0.05, maxZoom: 4, hideEdgesOnViewport: root.state.many, textureOnViewport: root.state.many,
  }));
  root.state.drawn = null;
  cy.on("tap", "node, edge", (event) => {
    const id = event.target.id(), keys = event.originalEvent ?? {};
    if (event.target.isNode() && !event.target.isParent() && (root.state.grouping || keys.ctrlKey || keys.metaKey)) hold(root, id);
    else root.state.send("item", id);
  });
  cy.on("tap", () => host.focus({ preventScroll: true }));
  cy.on("mouseover", "node, edge", (event) => {
    host.style.cursor = "pointer";
    card(root, event.target.id(), event.renderedPosition ?? { x: 0, y: 0 });
  });
  cy.on("mouseout", "node, edge", () => {
    host.style.cursor = "";
    card(root, null);
  });
  cy.on("scrollzoom dragpan pinchzoom", () => (root.state.touched = true));
  cy.on("viewport", () => {
    card(root, null);
    clearTimeout(root.state.later);
    root.state.later = setTimeout(() => tellPlaces(root), 120);
  });
}

function walk(root, id) {
  const { cy } = root.state;
  cy.elements().removeClass("walked");
  root.state.walked = id;
  const one = cy.getElementById(id);
  if (!one.length) return;
  one.addClass("walked");
  const place = one.isEdge() ? one.renderedMidpoint() : one.renderedPosition();
  if (place.x < 0 || place.y < 0 || place.x > cy.width() || place.y > cy.height()) cy.center(one);
  card(root, id, one.isEdge() ? one.renderedMidpoint() : one.renderedPosition());
}

function step(root, [dx, dy]) {
  const { cy, walked } = root.state, nodes = cy.nodes().not(".row, .column, :parent");
  let from = walked ? cy.getElementById(walked) : cy.collection();
  if (from.isEdge?.() && from.length) from = from.source();
  if (!from.length) return walk(root, (nodes.filter("#embed").length ? nodes.filter("#embed") : nodes)[0]?.id());
  const at = from.position();
  let best = null, least = Infinity;
  nodes.forEach((node) => {
    const x = node.position().x - at.x, y = node.position().y - at.y, along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
    if (along < 1 || along + 2 * across >= least) return;
    [best, least] = [node.id(), along + 2 * across];
  });
  if (best) walk(root, best);
}

function walkEdges(root) {
  const { cy, walked } = root.state;
  let one = cy.getElementById(walked ?? "");
  if (!one.length) return;
  const home = one.isEdge() ? cy.getElementById(root.state.home) : one;
  root.state.home = home.id();
  const edges = home.connectedEdges().not("[kind = 'inside']").toArray();
  if (!edges.length) return;
  walk(root, edges[(edges.findIndex((edge) => edge.id() === one.id()) + 1) % edges.length].id());
}

function find(root, text, opens) {
  const { cy } = root.state, wanted = text.trim().toLowerCase();
  cy.nodes().removeClass("walked");
  if (!wanted) return;
  const found = cy.nodes().not(".row, .column").filter((node) => `${node.id()} ${node.data("label")}`.toLowerCase().includes(wanted));
  found.addClass("walked");
  root.dataset.found = String(found.length);
  if (found.length && opens) {
    cy.center(found[0]);
    root.state.send("item", found[0].id());
  }
}

function listen(root) {
  const host = root.querySelector(".ce-graph-host"), search = root.querySelector("input");
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  host.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ways[event.key]) step(root, ways[event.key]);
    else if (event.key === "e") walkEdges(root);
    else if (event.key === "Enter" && root.state.walked) root.state.send("item", root.state.walked);
    else if (event.key === "g") beginGroup(root);
    else if (event.key === "/") search.focus();
    else if (event.key === "0") (root.state.touched = false), fit(root);
    else if (event.key === "Escape") root.state.send("item", "");
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  search.addEventListener("input", () => find(root, search.value, false));
  search.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") find(root, search.value, true);
    else if (event.key === "Escape") (search.value = ""), find(root, "", false), host.focus();
  });
  const acts = {
    fit: () => ((root.state.touched = false), fit(root)),
    in: () => zoom(root, 1.3),
    out: () => zoom(root, 1 / 1.3),
    group: () => group(root),
    png: () => {
      const link = document.createElement("a");
      [link.href, link.download] = [root.state.cy.png({ full: true, scale: 2, bg: getComputedStyle(root).getPropertyValue("--st-background-color").trim() || "#fff" }), "circuit.png"];
      link.click();
    },
  };
  for (const button of root.querySelectorAll("button")) button.onclick = acts[button.dataset.do];
  root.listening = true;
}

function zoom(root, factor) {
  const { cy } = root.state;
  root.state.touched = true;
  cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".ce-graph");
  root.state = { ...(root.state ?? { walked: null, held: new Set(), touched: false }), spec: data, send: (name, value) => setTriggerValue(name, value) };
  if (root.state.about !== data.about) [root.state.about, root.state.touched] = [data.about, false];
  root.querySelector(".ce-graph-host").style.height = `${data.height}px`;
  if (!root.listening) listen(root);
  update(root);
  root.observer ??= new ResizeObserver(() => {
    root.state.cy.resize();
    if (!root.state.touched) fit(root);
    tellPlaces(root);
  });
  root.observer.observe(root);
  return () => {
    root.observer?.disconnect();
    root.observer = null;
  };
}
