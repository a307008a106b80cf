// The controls, and the start.

function setLayer(layer) {
  const radio = document.querySelector(`[name="view"][value="${layer}"]`);
  if (radio.disabled) return;
  view.layer = layer;
  if (layer !== "picture") view.overlay = layer;
  radio.checked = true;
  repaintSoon();
}

function setOpacity(percent) {
  document.documentElement.style.setProperty("--opacity", percent / 100);
  opacity.value = percent;
  opacity.parentElement.querySelector("output").textContent = `${percent} %`;
}

function setThreshold(value) {
  if (threshold.disabled) return;
  view.threshold = value;
  if (value !== null) threshold.value = value;
  const text = value === null ? "as made" : value.toFixed(2);
  threshold.parentElement.querySelector("output").textContent = text;
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
  if (used.length) {
    threshold.value = used[Math.floor(used.length / 2)];
    setThreshold(null);
    return;
  }
  const heat = document.querySelector('[name="view"][value="heat"]');
  for (const control of [threshold, byId("reset"), heat]) {
    control.disabled = true;
    control.title = "The dataset was made without heat maps";
  }
  threshold.parentElement.querySelector("output").textContent = "no maps";
}

function refilter() {
  for (const bound of ["low", "high"]) form.elements[bound].disabled = !form.elements.score.value;
  view.items = selectItems();
  showPage(0);
}

function fillChoices() {
  for (const name of data.classes) form.elements.class.append(new Option(name));
  for (const name of data.scores) {
    form.elements.score.append(new Option(name));
    form.elements.sort.append(new Option(name));
  }
}

const opacity = byId("opacity");
const threshold = byId("threshold");

for (const radio of document.querySelectorAll('[name="view"]')) {
  radio.addEventListener("change", () => setLayer(radio.value));
}
opacity.addEventListener("input", () => setOpacity(opacity.valueAsNumber));
threshold.addEventListener("input", () => setThreshold(threshold.valueAsNumber));
byId("reset").addEventListener("click", () => setThreshold(null));
form.addEventListener("input", refilter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(refilter)); // the fields change after the event
list.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const entry = button.closest("li");
  setFocus([...list.children].indexOf(entry), true);
  if (button.dataset.mark) markItem(itemOf.get(entry.dataset.name), button.dataset.mark);
  else openDetail();
});
detail.addEventListener("click", (event) => {
  if (event.target === detail) detail.close();
  const { mark } = event.target.dataset;
  if (mark) markItem(detailItem(), mark);
});
detail.addEventListener("close", closeDetail);
for (const [id, action] of [
  ["earlier", () => turnPage(-1)],
  ["later", () => turnPage(1)],
  ["before", () => stepDetail(-1)],
  ["after", () => stepDetail(1)],
  ["close", () => detail.close()],
  ["show-help", () => byId("help").showModal()],
  ["export", exportMarks],
  ["load", () => byId("marks-file").click()],
]) {
  byId(id).addEventListener("click", action);
}
pageChoice.addEventListener("change", () => showPage(Number(pageChoice.value)));
byId("marks-file").addEventListener("change", async ({ target }) => {
  if (target.files.length) await loadMarks(target.files[0]);
  target.value = "";
  showTally();
  refilter();
});

fillChoices();
restoreMarks();
byId("filters").open = matchMedia("(min-width: 42rem)").matches;
setOpacity(50);
prepareThreshold();
showTally();
refilter();
