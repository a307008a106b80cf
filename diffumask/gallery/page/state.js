// What the page was given, and what is shown of it.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const itemOf = new Map(data.items.map((item) => [item.name, item]));
const [form, list, detail] = ["filter", "items", "detail"].map(byId);
const packed = (rgb, alpha = 255) => new Uint32Array(Uint8Array.of(...rgb, alpha).buffer)[0]; // a pixel of a canvas
const triples = (base64) => {
  const bytes = bytesOf(base64);
  return Array.from({ length: bytes.length / 3 }, (_, i) => bytes.subarray(3 * i, 3 * i + 3));
};
const colours = triples(data.colours); // of each class id
const heatColours = triples(data.heat_colours); // of each level

// `threshold` is null while the masks are those of the dataset; `overlay` is what "o" brings back;
// `current` and `chosen` are names of items, `hidden` are class ids; `side` says whose masks.
const view = {
  layer: "mask",
  overlay: "mask",
  side: "this",
  threshold: null,
  opacity: 0.5,
  tilePx: 152,
  items: [],
  current: null,
  chosen: new Set(),
  hidden: new Set(),
};

const placeOf = (name) => view.items.findIndex((item) => item.name === name);
const current = () => (view.current === null ? undefined : itemOf.get(view.current));

// To be seen until something else is.
function warn(text) {
  byId("note").textContent = text;
  byId("note").hidden = !text;
}

// To be seen, and heard, for a while; with the button that takes it back where that can be done.
let hush;
function say(text, canUndo = false) {
  const toast = byId("toast");
  (detail.open ? detail : document.body).append(toast); // nothing shows above a dialog but what is in it
  byId("said").textContent = text;
  byId("toast-undo").hidden = !canUndo;
  toast.classList.add("shown");
  clearTimeout(hush);
  hush = setTimeout(() => toast.classList.remove("shown"), 6000);
}
