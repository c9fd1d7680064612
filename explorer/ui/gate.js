// Keeps the access token in this browser, so that a reload does not ask again.

const NAME = "circuit-explorer-access";

export default function ({ data, setStateValue, parentElement }) {
  if (data.keep) {
    localStorage.setItem(NAME, data.keep);
    return;
  }
  const token = localStorage.getItem(NAME), root = parentElement.querySelector(".access");
  if (token && !root.dataset.told) {
    root.dataset.told = "yes";
    setStateValue("token", token);
  }
}
