// The classes with their colours: how many items have each, and whether it is shown.

function classTable() {
  const found = new Map();
  for (const { classes } of data.items) {
    for (const [name, id] of Object.entries(classes)) found.set(name, id);
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
}

function fillLegend() {
  const known = [...byId("legend").querySelectorAll("[data-id]")].map((chip) => chip.dataset.class);
  const table = classTable();
  if (known.join("\n") === table.map(([name]) => name).join("\n")) return;
  const chips = table.map(([name, id]) => makeChip(name, id));
  if (table.length > 1) {
    const all = makeButton("all", () => hideClasses([]));
    const none = makeButton("none", () => hideClasses(table.map(([, id]) => id)));
    chips.push(all, none);
  }
  byId("legend").replaceChildren(...chips);
}

function makeButton(text, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", action);
  return button;
}

function makeChip(name, id) {
  const chip = makeButton("", () => {
    if (!view.hidden.delete(id)) view.hidden.add(id);
    hideClasses([...view.hidden]);
  });
  chip.className = "chip";
  [chip.dataset.id, chip.dataset.class] = [id, name];
  const swatch = document.createElement("i");
  swatch.style.background = `rgb(${colours[id].join(" ")})`;
  const count = document.createElement("small");
  chip.append(swatch, name, " ", count);
  return chip;
}

function hideClasses(ids) {
  view.hidden = new Set(ids);
  if (detail.open) showLegend(); // closing it filters
  else refilter();
  repaintSoon();
}

// Counted among the items that the other filters leave.
function showLegend() {
  const counts = new Map();
  for (const { classes } of itemsThatMeet({ without: "classes" })) {
    for (const id of Object.values(classes)) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  for (const chip of byId("legend").querySelectorAll("[data-id]")) {
    const id = Number(chip.dataset.id);
    const count = counts.get(id) ?? 0;
    chip.setAttribute("aria-pressed", !view.hidden.has(id));
    chip.setAttribute("aria-label", `${chip.dataset.class}, ${plural(count, "item")}`);
    chip.querySelector("small").textContent = count;
  }
}
