// What the page was given, and what is shown of it.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const itemOf = new Map(data.items.map((item) => [item.name, item]));
const [form, list, pager, pageChoice, detail] = ["filter", "items", "pager", "page", "detail"].map(byId);
const heatBytes = bytesOf(data.heat_colours);
const packed = (rgb) => new Uint32Array(Uint8Array.of(...rgb, 255).buffer)[0]; // a pixel of a canvas
const heatScale = Array.from({ length: 256 }, (_, i) => packed(heatBytes.subarray(3 * i, 3 * i + 3)));

// `threshold` is null while the masks are those of the dataset; `overlay` is what "o" brings back.
const view = { layer: "mask", overlay: "mask", threshold: null, items: data.items, page: 0, focus: 0 };

// To be seen by all, until something else is.
function say(text) {
  byId("note").textContent = text;
  byId("note").hidden = !text;
}

// To be heard by those who use a screen reader.
function tell(text) {
  byId("spoken").textContent = text;
}
