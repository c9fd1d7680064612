// What all charts share: their font, their ticks, and pictures to keep (PNG, or written down as SVG).
const FONT = (size) => `${size}px "Source Sans", sans-serif`;

function ticks(low, high) {
  const raw = (high - low) / 5, size = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find((n) => n * size >= raw) * size;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(Number(at.toFixed(6)));
  return found;
}

class Svg {
  constructor(width, height, measure) {
    Object.assign(this, { width, height, measure, parts: [], stack: [], state: { move: "", globalAlpha: 1, dash: [] } });
    for (const name of ["fillStyle", "strokeStyle", "font", "textAlign", "textBaseline", "lineWidth", "globalAlpha", "imageSmoothingEnabled"]) {
      Object.defineProperty(this, name, { get: () => this.state[name], set: (value) => { this.state[name] = value; if (name === "font") measure.font = value; } });
    }
  }
  save() { this.stack.push({ ...this.state }); }
  restore() { this.state = this.stack.pop(); }
  translate(x, y) { this.state.move += `translate(${x} ${y})`; }
  rotate(angle) { this.state.move += `rotate(${(angle * 180) / Math.PI})`; }
  setLineDash(dash) { this.state.dash = dash; }
  measureText(text) { return this.measure.measureText(text); }
  clearRect() {}
  beginPath() { this.state.path = ""; }
  moveTo(x, y) { this.state.path += `M${x} ${y}`; }
  lineTo(x, y) { this.state.path += `L${x} ${y}`; }
  stroke() {
    this.add("path", { d: this.state.path, fill: "none", stroke: this.state.strokeStyle, "stroke-width": this.state.lineWidth, "stroke-dasharray": this.state.dash.join(" ") });
  }
  add(name, attributes, text = "") {
    const escape = (value) => String(value).replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
    const all = { ...attributes, opacity: this.state.globalAlpha, transform: this.state.move };
    this.parts.push(`<${name} ${Object.entries(all).filter(([, value]) => value !== "").map(([key, value]) => `${key}="${escape(value)}"`).join(" ")}>${escape(text)}</${name}>`);
  }
  fillRect(x, y, width, height) { this.add("rect", { x, y, width, height, fill: this.state.fillStyle }); }
  strokeRect(x, y, width, height) {
    this.add("rect", { x, y, width, height, fill: "none", stroke: this.state.strokeStyle, "stroke-width": this.state.lineWidth, "stroke-dasharray": this.state.dash.join(" ") });
  }
  fillText(text, x, y) {
    const size = parseFloat(this.state.font.match(/([\d.]+)px/)[1]), down = { top: 0.8, middle: 0.35, bottom: -0.2 }[this.state.textBaseline];
    const anchor = { left: "start", center: "middle", right: "end" }[this.state.textAlign];
    this.add("text", { x, y: y + down * size, fill: this.state.fillStyle, "font-size": size, "font-family": "sans-serif", "font-weight": this.state.font.startsWith("600") ? 600 : "", "text-anchor": anchor }, text);
  }
  drawImage(canvas, x, y, width, height) {
    this.add("image", { x, y, width, height, href: canvas.toDataURL(), preserveAspectRatio: "none", style: "image-rendering: pixelated" });
  }
  toString() {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">${this.parts.join("")}</svg>`;
  }
}

function save(name, url) {
  const link = document.createElement("a");
  [link.href, link.download] = [url, name];
  link.click();
}

// `paint(root, context, width)` draws a chart on any context.
function savePicture(root, kind, paint) {
  const { spec } = root.state, width = root.clientWidth;
  if (kind === "svg") {
    const svg = new Svg(width, spec.height, document.createElement("canvas").getContext("2d"));
    paint(root, svg, width);
    save(`${spec.name}.svg`, URL.createObjectURL(new Blob([svg.toString()], { type: "image/svg+xml" })));
    return;
  }
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  [canvas.width, canvas.height] = [2 * width, 2 * spec.height];
  context.scale(2, 2);
  const page = getComputedStyle(root).getPropertyValue("--st-background-color");
  const picture = document.createElement("canvas").getContext("2d");
  [picture.canvas.width, picture.canvas.height] = [canvas.width, canvas.height];
  picture.scale(2, 2);
  paint(root, picture, width);
  context.fillStyle = page;
  context.fillRect(0, 0, width, spec.height);
  context.drawImage(picture.canvas, 0, 0, width, spec.height);
  save(`${spec.name}.png`, canvas.toDataURL("image/png"));
}

