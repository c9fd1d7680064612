// Copy the address, list the keys, and show the tour.  The tour opens by itself on the first visit of a browser.

const SEEN = "circuit-explorer-tour-seen";

function overlay(root, name, open) {
  const panel = root.querySelector(`.${name}`);
  panel.hidden = !open;
  if (open) panel.focus();
}

function show(root, number) {
  const { steps } = root.data, step = steps[number], panel = root.querySelector(".tour");
  root.step = number;
  panel.querySelector(".title").textContent = `${number + 1} of ${steps.length}: ${step.title}`;
  panel.querySelector(".body").textContent = step.text;
  panel.querySelector(".back").disabled = number === 0;
  panel.querySelector(".next").textContent = number === steps.length - 1 ? "Done" : "Next";
  overlay(root, "tour", true);
}

function close(root) {
  overlay(root, "tour", false);
  localStorage.setItem(SEEN, "yes");
}

function typing(target) {
  return target.closest?.("input, textarea, [contenteditable=true]");
}

async function copy(button) {
  const text = window.location.href;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  button.textContent = "Copied";
  button.dataset.copied = text;
  setTimeout(() => (button.textContent = "Copy link"), 1500);
}

export default function (component) {
  const { data, parentElement } = component, root = parentElement.querySelector(".assist");
  root.data = data;
  const keys = root.querySelector(".keys dl");
  keys.replaceChildren(...data.keys.flatMap(([key, meaning]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, text.textContent] = [key, meaning];
    return [term, text];
  }));
  root.querySelector(".copy").onclick = (event) => copy(event.currentTarget);
  root.querySelector(".show-keys").onclick = () => overlay(root, "keys", root.querySelector(".keys").hidden);
  root.querySelector(".show-tour").onclick = () => show(root, 0);
  root.querySelector(".tour .back").onclick = () => show(root, Math.max(0, root.step - 1));
  root.querySelector(".tour .next").onclick = () => (root.step === data.steps.length - 1 ? close(root) : show(root, root.step + 1));
  for (const button of root.querySelectorAll(".close")) button.onclick = () => (button.closest(".tour") ? close(root) : overlay(root, "keys", false));
  document.removeEventListener("keydown", root.onKey);
  root.onKey = (event) => {
    if (event.key === "Escape") {
      overlay(root, "keys", false);
      if (!root.querySelector(".tour").hidden) close(root);
    } else if (event.key.toLowerCase() === "z" && !event.ctrlKey && !event.metaKey && !typing(event.composedPath()[0])) {
      document.querySelector(`.st-key-${event.shiftKey ? "redo" : "undo"} button:enabled`)?.click();
    } else if (event.key === "?" && !typing(event.composedPath()[0])) overlay(root, "keys", root.querySelector(".keys").hidden);
  };
  document.addEventListener("keydown", root.onKey);
  if (data.tour && !root.begun && !localStorage.getItem(SEEN)) show(root, 0);
  root.begun = true;
  return () => document.removeEventListener("keydown", root.onKey);
}
