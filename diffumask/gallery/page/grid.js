// The grid: only the rows in view, and one above and below, are in the page, however many there are.
// One picture can be reached with Tab, the others with the arrow keys.

const grid = { columns: 1, pitch: 1, gap: 0, anchor: null };

const listTop = () => list.getBoundingClientRect().top + scrollY;
const barHeight = () => byId("bar-slot").offsetHeight;

function measure() {
  const style = getComputedStyle(list);
  const gap = parseFloat(style.columnGap);
  grid.gap = parseFloat(style.rowGap);
  const pair = view.side === "both" ? 2 : 1;
  const wanted = view.tilePx * pair;
  grid.columns = Math.max(1, Math.floor((list.clientWidth + gap) / (wanted + gap)));
  const width = (list.clientWidth + gap) / grid.columns - gap;
  list.style.setProperty("--columns", grid.columns);
  list.style.setProperty("--side", `${width / pair}px`);
  grid.pitch = width / pair + parseFloat(style.getPropertyValue("--caption")) * parseFloat(style.fontSize) + grid.gap;
}

function renderGrid() {
  measure();
  const rows = Math.ceil(view.items.length / grid.columns);
  list.style.height = `${Math.max(0, rows * grid.pitch - grid.gap)}px`;
  const from = scrollY - listTop();
  const first = Math.min(Math.max(0, Math.floor(from / grid.pitch) - 1), Math.max(0, rows - 1));
  const last = Math.ceil((from + innerHeight) / grid.pitch) + 1;
  list.style.paddingTop = `${first * grid.pitch}px`;
  const start = first * grid.columns;
  placeTiles(view.items.slice(start, Math.max(last, 0) * grid.columns), start);
}

// Tiles that stay are not touched, so that the focus stays.
function placeTiles(items, start) {
  const names = new Set(items.map((item) => item.name));
  const there = new Map();
  for (const entry of [...list.children]) {
    if (names.has(entry.dataset.name) && !entry.dataset.stale) there.set(entry.dataset.name, entry);
    else entry.remove();
  }
  let next = list.firstElementChild;
  items.forEach((item, i) => {
    const entry = there.get(item.name) ?? makeTile(item);
    if (entry === next) next = next.nextElementSibling;
    else list.insertBefore(entry, next);
    entry.setAttribute("aria-posinset", start + i + 1);
    entry.setAttribute("aria-setsize", view.items.length);
    if (!there.has(item.name)) entry.querySelectorAll(".stack").forEach(paint);
  });
  describeTiles();
}

function rebuildGrid() {
  for (const entry of list.children) entry.dataset.stale = "yes";
  renderGrid();
}

function rowTop(place) {
  return listTop() + Math.floor(place / grid.columns) * grid.pitch;
}

function isInView(place) {
  const middle = rowTop(place) + grid.pitch / 2 - scrollY;
  return middle > barHeight() && middle < innerHeight;
}

function bringIntoView(place) {
  const top = rowTop(place) - barHeight() - grid.gap;
  const bottom = rowTop(place) + grid.pitch - innerHeight;
  if (scrollY > top) scrollTo({ top, behavior: "instant" });
  else if (scrollY < bottom) scrollTo({ top: bottom, behavior: "instant" });
}

// Make a picture the current one, show it and give it the focus.
function setCurrent(place) {
  const item = view.items[place];
  if (!item) return;
  view.current = item.name;
  bringIntoView(place);
  renderGrid();
  showTally();
  if (!detail.open) list.querySelector(".current .tile")?.focus({ preventScroll: true });
}

function firstInView() {
  const row = Math.ceil((scrollY + barHeight() - listTop()) / grid.pitch - 0.5);
  return Math.min(Math.max(0, row * grid.columns), view.items.length - 1);
}

function step(by) {
  view.chosen.clear();
  const place = placeOf(view.current);
  const isFar = Math.abs(by) >= view.items.length; // of Home and End
  setCurrent(place < 0 && !isFar ? firstInView() : Math.min(Math.max(place + by, 0), view.items.length - 1));
}

// From where the range began to a place, all are chosen.
function chooseTo(place) {
  const at = placeOf(view.current);
  if (at < 0) {
    setCurrent(place);
    return;
  }
  if (!view.chosen.size) grid.anchor = view.current;
  const end = Math.min(Math.max(place, 0), view.items.length - 1);
  const [low, high] = [placeOf(grid.anchor), end].sort((a, b) => a - b);
  view.chosen = new Set(view.items.slice(low, high + 1).map((item) => item.name));
  setCurrent(end);
}

function stepRange(by) {
  const place = placeOf(view.current);
  if (place < 0) step(0);
  else chooseTo(place + by);
}

function chooseNone() {
  view.chosen.clear();
  describeTiles();
  showTally();
}

const rowsInView = () => Math.max(1, Math.floor((innerHeight - barHeight()) / grid.pitch));

// What a change puts in above does not move what is being looked at.
function keepingPlace(change) {
  const place = firstInView();
  const name = scrollY > listTop() ? view.items[place]?.name : undefined;
  const offset = name && rowTop(place) - scrollY;
  change();
  if (name && placeOf(name) >= 0) {
    scrollTo({ top: rowTop(placeOf(name)) - offset, behavior: "instant" });
    renderGrid();
  }
}
