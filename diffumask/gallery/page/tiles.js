// A page of pictures. One of them can be reached with Tab, the others with the arrow keys.

const PAGE_ITEMS = 60;

function showPage(page, focus = 0) {
  const pages = Math.max(1, Math.ceil(view.items.length / PAGE_ITEMS));
  view.page = Math.min(Math.max(page, 0), pages - 1);
  view.focus = focus;
  const first = view.page * PAGE_ITEMS;
  const shown = view.items.slice(first, first + PAGE_ITEMS);
  list.replaceChildren(...shown.map(makeTile));
  pager.hidden = pages === 1;
  const numbers = Array.from({ length: pages }, (_, i) => new Option(i + 1, i));
  pageChoice.replaceChildren(...numbers);
  pageChoice.value = view.page;
  byId("pages").textContent = `of ${pages}`;
  byId("earlier").disabled = view.page === 0;
  byId("later").disabled = view.page === pages - 1;
  const range = pages > 1 ? `, ${first + 1} to ${first + shown.length} shown` : "";
  const all = view.items.length === data.items.length;
  const count = all ? `${data.items.length} items` : `${view.items.length} of ${data.items.length} items`;
  byId("count").textContent = count + range;
  setFocus(focus);
}

function makeTile(item) {
  const entry = document.createElement("li");
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.tabIndex = -1;
  tile.append(makeStack(item));
  if (item.verdict === "dropped") {
    const tag = document.createElement("span");
    tag.className = "tag dropped";
    tag.textContent = "dropped";
    tile.append(tag);
  }
  const caption = document.createElement("div");
  caption.className = "caption";
  const label = document.createElement("span");
  label.className = "label";
  caption.append(label, ...MARKS.map(makeMarkButton));
  entry.append(tile, caption);
  entry.dataset.name = item.name;
  if (item.verdict) entry.dataset.verdict = item.verdict;
  describeTile(entry, item);
  return entry;
}

// Out of the order of Tab: with the keyboard a and r do the same.
function makeMarkButton(mark) {
  const button = document.createElement("button");
  button.type = "button";
  button.tabIndex = -1;
  button.dataset.mark = mark;
  button.textContent = mark === "accepted" ? "✓" : "✕";
  button.title = mark === "accepted" ? "Accept" : "Reject";
  return button;
}

function describeTile(entry, item) {
  const mark = marks.get(item.name);
  entry.dataset.is = mark ?? "";
  const verdict = item.verdict === "dropped" ? `dropped, ${item.reason}` : item.verdict;
  const parts = [item.prompt || item.name, item.name, verdict, mark];
  entry.querySelector(".tile").setAttribute("aria-label", parts.filter(Boolean).join("; "));
  for (const button of entry.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", button.dataset.mark === mark);
    button.setAttribute("aria-label", `${button.title} ${item.name}`);
  }
  const label = entry.querySelector(".label");
  const name = document.createElement("b");
  name.textContent = item.classes.join(", ");
  const key = form.elements.sort.value;
  const score = item.scores[key] ?? item.scores.quality;
  label.replaceChildren(name, score === undefined ? "" : ` ${score.toFixed(2)}`);
}

function setFocus(place, move = false) {
  const tiles = [...list.querySelectorAll(".tile")];
  if (!tiles.length) return;
  tiles[view.focus]?.setAttribute("tabindex", "-1");
  view.focus = Math.min(Math.max(place, 0), tiles.length - 1);
  tiles[view.focus].tabIndex = 0;
  if (move) tiles[view.focus].focus();
}

function columns() {
  const tops = [...list.children].map((entry) => entry.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

// Past the ends of a page lies the next one.
function stepFocus(step) {
  const place = view.focus + step;
  const first = view.page * PAGE_ITEMS;
  if (place < 0 && view.page > 0) {
    showPage(view.page - 1);
    setFocus(place + PAGE_ITEMS, true);
  } else if (place >= list.children.length && first + PAGE_ITEMS < view.items.length) {
    showPage(view.page + 1);
    setFocus(place - PAGE_ITEMS, true);
  } else {
    setFocus(place, true);
  }
}

function markItem(item, mark) {
  toggleMark(item, mark);
  for (const entry of list.children) {
    if (entry.dataset.name === item.name) describeTile(entry, item);
  }
  showTally();
  if (detail.open) describeMark();
  tell(`${item.name} ${marks.get(item.name) ?? "without a mark"}`);
}

function showTally() {
  byId("tally").textContent = `${countMarks("accepted")} accepted, ${countMarks("rejected")} rejected`;
}
