// A line chart on a canvas, updated in place.  Texts are only ever drawn or set through textContent.

const PAD = { left: 52, right: 10, top: 30, bottom: 36 };

function scales(spec, width) {
  const plot = { left: PAD.left, top: PAD.top, width: width - PAD.left - PAD.right, height: spec.height - PAD.top - PAD.bottom };
  const places = spec.places ?? Array.from({ length: Math.max(2, spec.points) }, (_, at) => at), part = (y) => (y - spec.low) / (spec.high - spec.low);
  const room = spec.bars ? (places[1] - places[0]) / 2 : 0, [first, last] = [places[0] - room, places.at(-1) + room];
  const along = (place) => plot.left + (plot.width * (place - first)) / (last - first);
  return {
    ...plot,
    first,
    last,
    along,
    bar: along(2 * room) - along(0),
    x: (at) => along(places[at]),
    y: (y) => plot.top + plot.height * (spec.reversed ? part(y) : 1 - part(y)),
    at: (pixel) => places.reduce((best, place, at) => (Math.abs(along(place) - pixel) < Math.abs(along(places[best]) - pixel) ? at : best), 0),
  };
}

function drawAxes(spec, plot, context) {
  context.font = FONT(11);
  for (const value of ticks(spec.low, spec.high)) {
    context.globalAlpha = 0.15;
    context.fillRect(plot.left, plot.y(value), plot.width, 1);
    context.globalAlpha = 1;
    [context.textAlign, context.textBaseline] = ["right", "middle"];
    context.fillText(String(value), plot.left - 6, plot.y(value));
  }
  const step = Math.max(1, Math.ceil((spec.points * (spec.labels ? 44 : 22)) / plot.width));
  [context.textAlign, context.textBaseline] = ["center", "top"];
  const named = spec.places ? ticks(plot.first, plot.last).map((place) => [plot.along(place), String(place)])
    : Array.from({ length: Math.ceil(spec.points / step) }, (_, at) => [plot.x(at * step), spec.labels?.[at * step] ?? String(at * step)]);
  for (const [x, text] of named) {
    const room = plot.left + plot.width + PAD.right - context.measureText(text).width / 2;
    context.fillText(text, Math.min(x, room), plot.top + plot.height + 5);
  }
  context.globalAlpha = 0.65;
  context.fillText(spec.xTitle, plot.left + plot.width / 2, spec.height - 14);
  context.save();
  context.translate(2, plot.top + plot.height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(spec.yTitle, 0, 0);
  context.restore();
  context.globalAlpha = 1;
}

function drawLegend(spec, plot, context, color) {
  context.font = FONT(12);
  [context.textAlign, context.textBaseline] = ["left", "middle"];
  let x = plot.left;
  const dashed = spec.series.some((line) => line.dashed) ? [{ name: spec.dashedName, color, dashed: true }] : [];
  for (const line of [...spec.series.filter((line) => !line.dashed), ...dashed]) {
    const width = context.measureText(line.name).width + 34;
    if (x + width > plot.left + plot.width) break;
    stroke(context, line, [[x, 12], [x + 20, 12]]);
    context.fillStyle = color;
    context.fillText(line.name, x + 25, 12);
    x += width + 8;
  }
}

function stroke(context, line, points) {
  [context.strokeStyle, context.lineWidth] = [line.color, line.dashed ? 1.5 : 2.5];
  context.setLineDash(line.dashed ? [5, 4] : []);
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
  context.setLineDash([]);
}

function draw(root) {
  const { spec } = root.state, canvas = root.querySelector("canvas"), context = canvas.getContext("2d");
  const width = root.clientWidth, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  [canvas.width, canvas.height, canvas.style.height] = [width * ratio, spec.height * ratio, `${spec.height}px`];
  context.scale(ratio, ratio);
  const plot = (root.state.plot = paint(root, context, width));
  canvas.dataset.shown = JSON.stringify(spec.series.map((line) => line.values));
  canvas.dataset.plot = JSON.stringify({ left: plot.left, width: plot.width, points: spec.points });
  canvas.setAttribute("aria-label", `${spec.yTitle} by ${spec.xTitle}: ${spec.series.map((line) => line.name).join(", ")}. Arrow keys walk, Enter opens.`);
}

function paint(root, context, width) {
  const { spec, walked } = root.state;
  const color = getComputedStyle(root).color, plot = scales(spec, width);
  context.fillStyle = color;
  drawAxes(spec, plot, context);
  for (const at of [spec.selected, walked]) {
    if (at === null || at === undefined) continue;
    context.globalAlpha = 0.35;
    context.fillRect(plot.x(at) - 0.5, plot.top, 1, plot.height);
    context.globalAlpha = 1;
  }
  for (const line of spec.series) {
    const points = line.values.map((value, at) => [plot.x(at), plot.y(value)]);
    context.fillStyle = line.color;
    if (spec.bars) {
      points.forEach(([x, y], at) => {
        context.fillStyle = at === spec.selected ? spec.marked : line.color;
        context.fillRect(x - plot.bar / 2 + 0.5, y, Math.max(1, plot.bar - 1), plot.y(spec.low) - y);
      });
      continue;
    }
    stroke(context, line, points);
    context.fillStyle = line.color;
    if (!line.dashed) for (const [x, y] of points) context.fillRect(x - 2.5, y - 2.5, 5, 5);
  }
  drawLegend(spec, plot, context, color);
  return plot;
}

function tell(root, at) {
  const tip = root.querySelector(".ce-tip"), { spec, plot } = root.state;
  const inside = at !== null && at < spec.points;
  tip.style.display = inside ? "block" : "none";
  root.state.walked = inside ? at : null;
  draw(root);
  if (!inside) return;
  tip.textContent = [`${spec.xTitle} ${spec.places ? Number(spec.places[at].toPrecision(3)) : (spec.labels?.[at] ?? at)}`, ...spec.series.map((line) => `${line.name}: ${line.values[at].toFixed(3)}`)].join("\n");
  const x = plot.x(at);
  tip.style.left = `${x + 10 + tip.offsetWidth > root.clientWidth ? Math.max(0, x - 10 - tip.offsetWidth) : x + 10}px`;
  tip.style.top = `${plot.top}px`;
}

function listen(root, canvas) {
  const at = (event) => root.state.plot.at(event.clientX - canvas.getBoundingClientRect().left);
  canvas.addEventListener("mousemove", (event) => tell(root, at(event)));
  canvas.addEventListener("mouseleave", () => tell(root, null));
  canvas.addEventListener("click", (event) => root.state.send(at(event)));
  canvas.addEventListener("keydown", (event) => {
    const { walked, spec } = root.state, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) tell(root, Math.max(0, Math.min(spec.points - 1, (walked ?? spec.selected ?? 0) + step)));
    else if (event.key === "Enter" && walked !== null) root.state.send(walked);
    else if (event.key === "Escape") tell(root, null);
    else return;
    event.preventDefault();
  });
  for (const button of root.querySelectorAll("button")) button.onclick = () => savePicture(root, button.dataset.kind, paint);
  root.listening = true;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".ce-map"), canvas = root.querySelector("canvas");
  root.state = { ...(root.state ?? { walked: null }), spec: data, send: (x) => setTriggerValue("x", x) };
  if (!root.listening) listen(root, canvas);
  draw(root);
  root.observer ??= new ResizeObserver(() => draw(root));
  root.observer.observe(root);
  return () => {
    root.observer?.disconnect();
    root.observer = null;
  };
}
