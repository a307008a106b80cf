// Which items are shown, and in what order.

function wishes() {
  return Object.fromEntries(new FormData(form));
}

// Whether every class of an item is hidden.
function isHidden(item) {
  return Object.values(item.classes).every((id) => view.hidden.has(id));
}

// By what it looks at, each condition that an item has to meet.
function conditions(wish) {
  const is = (value, wanted) => !wanted || (value ?? "none") === wanted;
  const words = wish.words.trim().toLowerCase();
  const ranges = brushed();
  return {
    words: (item) => `${item.name} ${item.prompt}`.toLowerCase().includes(words),
    classes: (item) => !isHidden(item),
    verdict: (item) => is(item.verdict, wish.verdict),
    mark: (item) => is(marks.get(item.name), wish.mark),
    files: (item) => is(item.broken ? "broken" : (item.only ?? "whole"), wish.files),
    ranges: (item) => ranges.every(([name, low, high]) => item.scores[name] >= low && item.scores[name] <= high),
  };
}

function itemsThatMeet({ without = "" } = {}) {
  const checks = Object.entries(conditions(wishes())).filter(([name]) => name !== without);
  return data.items.filter((item) => checks.every(([, meets]) => meets(item)));
}

function sortValue(item, key) {
  if (key === "name") return item.name;
  if (key === "class") return Object.keys(item.classes).join(" ");
  if (key === "verdict") return item.verdict ?? undefined;
  if (key === "mark") return marks.get(item.name);
  return key === "arrival" ? item.arrival : item.scores[key];
}

// Items without the value come last in either order; equal ones stay in the order of their names.
function selectItems() {
  const wish = wishes();
  const direction = wish.order === "down" ? -1 : 1;
  const keyed = itemsThatMeet().map((item) => ({ item, value: sortValue(item, wish.sort) }));
  keyed.sort((a, b) => {
    if (a.value === undefined || b.value === undefined) {
      return (a.value === undefined) - (b.value === undefined);
    }
    return direction * ((a.value > b.value) - (a.value < b.value));
  });
  return keyed.map(({ item }) => item);
}

function refilter() {
  view.items = selectItems();
  const shown = new Set(view.items.map((item) => item.name));
  view.chosen = new Set([...view.chosen].filter((name) => shown.has(name)));
  if (!shown.has(view.current)) view.current = null;
  const all = view.items.length === data.items.length;
  const broken = view.items.filter((item) => item.broken).length;
  const count = all ? plural(view.items.length, "item") : `${view.items.length} of ${plural(data.items.length, "item")}`;
  byId("count").textContent = broken ? `${count}, ${broken} broken` : count;
  showBrushes();
  showLegend();
  showTally();
  renderGrid();
}
