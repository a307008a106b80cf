// The controls, and the start.

function setLayer(layer) {
  const radio = document.querySelector(`[name="view"][value="${layer}"]`);
  if (radio.disabled) return;
  view.layer = layer;
  if (layer !== "picture") view.overlay = layer;
  radio.checked = true;
  repaintSoon();
}

function setSide(side) {
  view.side = side;
  document.querySelector(`[name="side"][value="${side}"]`).checked = true;
  keepingPlace(rebuildGrid);
  if (detail.open) describeDetail();
}

function nextSide() {
  if (data.against) setSide({ this: "other", other: "both", both: "this" }[view.side]);
}

const outputOf = (slider) => slider.parentElement.querySelector("output");

function setOpacity(percent) {
  view.opacity = percent / 100;
  opacity.value = percent;
  outputOf(opacity).textContent = `${percent} %`;
  repaintSoon();
}

function setTilePx(px) {
  view.tilePx = px;
  size.value = px;
  outputOf(size).textContent = `${px} px`;
  keepingPlace(renderGrid);
  repaintSoon();
}

function setThreshold(value) {
  if (threshold.disabled) return;
  view.threshold = value;
  if (value !== null) threshold.value = value;
  const text = value === null ? "as made" : value.toFixed(2);
  outputOf(threshold).textContent = text;
  threshold.setAttribute("aria-valuetext", text);
  byId("reset").disabled = value === null;
  if (value !== null && view.layer === "picture") setLayer("mask");
  if (detail.open) describeLive();
  repaintSoon();
}

function nudgeThreshold(steps) {
  setThreshold(Math.min(Math.max(Math.round(100 * threshold.value + steps), 0), 100) / 100);
}

// The slider starts in the middle of the thresholds that the masks were made with.
function prepareThreshold() {
  const used = data.items.flatMap((item) => item.heats.map((heat) => heat.threshold)).sort((a, b) => a - b);
  const heat = document.querySelector('[name="view"][value="heat"]');
  for (const control of [threshold, byId("reset"), heat]) {
    control.disabled = !used.length;
    control.title = used.length ? "" : "The dataset was made without heat maps";
  }
  if (!used.length) outputOf(threshold).textContent = "no maps";
  else if (view.threshold === null) {
    threshold.value = used[Math.floor(used.length / 2)];
    setThreshold(null);
  }
}

// All that follows from the items, when there are others.
function showItems() {
  fillLegend();
  fillHistograms();
  prepareThreshold();
  refilter();
  if (!detail.open) return;
  if (current()) describeMark();
  else detail.close();
}

const [opacity, size, threshold] = ["opacity", "size", "threshold"].map(byId);

for (const radio of document.querySelectorAll('[name="view"]')) {
  radio.addEventListener("change", () => setLayer(radio.value));
}
for (const radio of document.querySelectorAll('[name="side"]')) {
  radio.addEventListener("change", () => setSide(radio.value));
}
opacity.addEventListener("input", () => setOpacity(opacity.valueAsNumber));
size.addEventListener("input", () => setTilePx(size.valueAsNumber));
threshold.addEventListener("input", () => setThreshold(threshold.valueAsNumber));
byId("reset").addEventListener("click", () => setThreshold(null));
form.addEventListener("input", refilter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(refilter)); // the fields change after the event
list.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const item = itemOf.get(button.closest("li").dataset.name);
  const place = placeOf(item.name);
  if (event.shiftKey) chooseTo(place);
  else {
    chooseNone();
    setCurrent(place);
    const { mark } = button.dataset;
    if (mark) markItems([item], marks.get(item.name) === mark ? undefined : mark);
    else openDetail();
  }
});
// With Tab, the focus comes to a picture by itself; a click and a dialog that closes move it too.
let isTab = false;
addEventListener("keydown", (event) => (isTab = event.key === "Tab"), { capture: true });
addEventListener("pointerdown", () => (isTab = false), { capture: true });
list.addEventListener("focusin", (event) => {
  if (!isTab || !event.target.matches(".tile")) return;
  view.current = event.target.parentElement.dataset.name;
  describeTiles();
});
detail.addEventListener("click", (event) => {
  if (event.target === detail) detail.close();
  const { mark } = event.target.dataset;
  if (mark) markCurrent(marks.get(view.current) === mark ? undefined : mark);
});
detail.addEventListener("close", closeDetail);
for (const [id, action] of [
  ["before", () => stepDetail(-1)],
  ["after", () => stepDetail(1)],
  ["close", () => detail.close()],
  ["zoom-in", () => zoomBy(1.5)],
  ["zoom-out", () => zoomBy(1 / 1.5)],
  ["show-help", () => byId("help").showModal()],
  ["export", exportMarks],
  ["load", () => byId("marks-file").click()],
  ["undo", undo],
  ["toast-undo", undo],
  ["accept-all", () => markAll("accepted")],
  ["reject-all", () => markAll("rejected")],
]) {
  byId(id).addEventListener("click", action);
}
byId("marks-file").addEventListener("change", async ({ target }) => {
  if (target.files.length) await loadMarks(target.files[0]);
  target.value = "";
  refilter();
});
addEventListener("scroll", renderGrid, { passive: true });
new ResizeObserver(() => {
  document.documentElement.style.setProperty("--bar", `${barHeight()}px`);
  keepingPlace(renderGrid);
  repaintSoon();
}).observe(byId("items").parentElement);

const isWide = matchMedia("(min-width: 56rem)").matches;
byId("filters").open = isWide;
byId("more").open = isWide;
restoreMarks();
setOpacity(50);
showItems();
setTilePx(view.tilePx);
if (data.live) startLive();
