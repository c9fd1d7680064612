// A scatter of points on a canvas, updated in place.  Texts are only ever drawn or set through textContent.

const PAD = { left: 56, right: 12, top: 28, bottom: 38 };
const NEAR = 12;

function scales(spec, width) {
  const plot = { left: PAD.left, top: PAD.top, width: width - PAD.left - PAD.right, height: spec.height - PAD.top - PAD.bottom };
  if (spec.vectors && plot.width > plot.height) [plot.left, plot.width] = [plot.left + (plot.width - plot.height) / 2, plot.height];
  return {
    ...plot,
    x: (value) => plot.left + (plot.width * (value - spec.left)) / (spec.right - spec.left),
    y: (value) => plot.top + plot.height * (1 - (value - spec.low) / (spec.high - spec.low)),
  };
}

function drawAxes(spec, plot, context) {
  context.font = FONT(11);
  for (const value of ticks(spec.low, spec.high)) {
    context.globalAlpha = value === 0 ? 0.5 : 0.15;
    context.fillRect(plot.left, plot.y(value), plot.width, 1);
    context.globalAlpha = 1;
    [context.textAlign, context.textBaseline] = ["right", "middle"];
    context.fillText(String(value), plot.left - 6, plot.y(value));
  }
  [context.textAlign, context.textBaseline] = ["center", "top"];
  const names = spec.xTicks ?? ticks(spec.left, spec.right).map((value) => [value, String(value)]);
  for (const [value, text] of names) context.fillText(text, plot.x(value), plot.top + plot.height + 5);
  context.font = `600 ${FONT(13)}`;
  [context.textAlign, context.textBaseline] = ["left", "top"];
  context.fillText(spec.title, 2, 4);
  context.font = FONT(11);
  [context.textAlign, context.globalAlpha] = ["center", 0.65];
  context.fillText(spec.xTitle, plot.left + plot.width / 2, spec.height - 15);
  context.save();
  context.translate(3, plot.top + plot.height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(spec.yTitle, 0, 0);
  context.restore();
  context.globalAlpha = 1;
}

function paint(root, context, width) {
  const { spec, walked } = root.state, color = getComputedStyle(root).color, plot = scales(spec, width);
  context.fillStyle = color;
  if (spec.band) {
    context.globalAlpha = 0.14;
    context.fillRect(plot.left, plot.y(spec.band[1]), plot.width, Math.max(1, plot.y(spec.band[0]) - plot.y(spec.band[1])));
    context.globalAlpha = 1;
  }
  drawAxes(spec, plot, context);
  if (spec.diagonal) {
    [context.strokeStyle, context.lineWidth, context.globalAlpha] = [color, 1, 0.4];
    context.setLineDash([3, 4]);
    context.beginPath();
    context.moveTo(plot.x(spec.left), plot.y(spec.left));
    context.lineTo(plot.x(spec.right), plot.y(spec.right));
    context.stroke();
    context.setLineDash([]);
  }
  if (spec.vectors) spec.x.forEach((x, index) => {
    [context.strokeStyle, context.lineWidth, context.globalAlpha] = [spec.colors[index], 2, 0.6];
    context.beginPath();
    context.moveTo(plot.x(0), plot.y(0));
    context.lineTo(plot.x(x), plot.y(spec.y[index]));
    context.stroke();
  });
  context.globalAlpha = 0.75;
  spec.x.forEach((x, index) => {
    if (!spec.there[index]) return;
    context.fillStyle = spec.colors[index];
    context.fillRect(plot.x(x) - 3, plot.y(spec.y[index]) - 3, 6, 6);
  });
  context.globalAlpha = 1;
  if (walked !== null && walked < spec.x.length) {
    [context.strokeStyle, context.lineWidth] = [color, 2];
    context.strokeRect(plot.x(spec.x[walked]) - 5, plot.y(spec.y[walked]) - 5, 10, 10);
  }
  return plot;
}

function draw(root) {
  const { spec } = root.state, canvas = root.querySelector("canvas"), context = canvas.getContext("2d");
  const width = root.clientWidth, ratio = window.devicePixelRatio || 1;
  if (!width) return;
  [canvas.width, canvas.height, canvas.style.height] = [width * ratio, spec.height * ratio, `${spec.height}px`];
  context.scale(ratio, ratio);
  const plot = (root.state.plot = paint(root, context, width));
  const places = spec.x.map((x, index) => [plot.x(x), plot.y(spec.y[index])]);
  canvas.dataset.points = JSON.stringify(places.slice(0, 400));
  canvas.dataset.shown = `${spec.title} ${spec.there.filter(Boolean).length}`;
  canvas.setAttribute("aria-label", `${spec.title || spec.yTitle}: ${spec.x.length} points, ${spec.yTitle} against ${spec.xTitle}. Arrow keys walk, Enter opens.`);
}

function nearest(root, event) {
  const { spec, plot } = root.state, box = root.querySelector("canvas").getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let best = null, least = NEAR ** 2;
  spec.x.forEach((x, index) => {
    if (!spec.there[index]) return;
    const distance = (plot.x(x) - px) ** 2 + (plot.y(spec.y[index]) - py) ** 2;
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}

function tell(root, number) {
  const tip = root.querySelector(".ce-tip"), { spec, plot } = root.state;
  root.state.walked = number;
  draw(root);
  tip.style.display = number === null ? "none" : "block";
  if (number === null) return;
  tip.textContent = spec.hovers[number] ?? "";
  const [x, y] = [plot.x(spec.x[number]), plot.y(spec.y[number])];
  tip.style.left = `${x + 12 + tip.offsetWidth > root.clientWidth ? Math.max(0, x - 12 - tip.offsetWidth) : x + 12}px`;
  tip.style.top = `${Math.max(0, y - tip.offsetHeight - 4)}px`;
}

function listen(root, canvas) {
  canvas.addEventListener("mousemove", (event) => tell(root, nearest(root, event)));
  canvas.addEventListener("mouseleave", () => tell(root, null));
  canvas.addEventListener("click", (event) => {
    const number = nearest(root, event);
    if (number !== null) root.state.send(number);
  });
  canvas.addEventListener("keydown", (event) => {
    const { walked, spec } = root.state, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) tell(root, Math.max(0, Math.min(spec.x.length - 1, (walked ?? -1) + step)));
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
  root.state = { ...(root.state ?? { walked: null }), spec: data, send: (number) => setTriggerValue("point", number) };
  if (!root.listening) listen(root, canvas);
  draw(root);
  root.observer ??= new ResizeObserver(() => draw(root));
  root.observer.observe(root);
  return () => {
    root.observer?.disconnect();
    root.observer = null;
  };
}
