// A picture of the grid with its caption, and its marks.

function makeTile(item) {
  const entry = document.createElement("li");
  const tile = document.createElement("button");
  tile.type = "button";
  tile.className = "tile";
  tile.tabIndex = -1;
  tile.append(...sidesOf(item).map((side) => makeStack(item, side)));
  if (item.verdict === "dropped") tile.append(makeTag("dropped", "dropped"));
  const caption = document.createElement("div");
  caption.className = "caption";
  const label = document.createElement("span");
  label.className = "label";
  caption.append(label, ...(whyUnmarkable(item) ? [] : MARKS.map(makeMarkButton)));
  entry.append(tile, caption);
  entry.dataset.name = item.name;
  if (item.verdict) entry.dataset.verdict = item.verdict;
  describeTile(entry);
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

function describeTile(entry) {
  const item = itemOf.get(entry.dataset.name);
  const mark = marks.get(item.name);
  entry.dataset.is = mark ?? "";
  entry.classList.toggle("current", item.name === view.current);
  entry.classList.toggle("chosen", view.chosen.has(item.name));
  const verdict = item.verdict === "dropped" ? `dropped, ${item.reason}` : item.verdict;
  const broken = item.broken && `broken, ${item.broken}`;
  const chosen = view.chosen.has(item.name) && "chosen";
  const parts = [item.prompt || item.name, item.name, verdict, mark, broken, chosen];
  const tile = entry.querySelector(".tile");
  tile.setAttribute("aria-label", parts.filter(Boolean).join("; "));
  tile.toggleAttribute("aria-current", item.name === view.current);
  for (const button of entry.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", button.dataset.mark === mark);
    button.setAttribute("aria-label", `${button.title} ${item.name}`);
  }
  const name = document.createElement("b");
  name.textContent = Object.keys(item.classes).join(", ");
  const key = form.elements.sort.value;
  const score = item.scores[key] ?? item.scores.quality;
  entry.querySelector(".label").replaceChildren(name, score === undefined ? "" : ` ${score.toFixed(2)}`);
}

function describeTiles() {
  for (const entry of list.children) describeTile(entry);
  const first = list.querySelector(".current") ?? list.firstElementChild;
  for (const tile of list.querySelectorAll(".tile")) tile.tabIndex = tile.parentElement === first ? 0 : -1;
}

// What a and r mark: those that were chosen as a range, or the current one if it can be seen.
function marked() {
  if (detail.open) return [current()];
  if (view.chosen.size) return [...view.chosen].map((name) => itemOf.get(name));
  if (!current()) {
    say("No picture is chosen: choose one with the arrow keys first.");
    return [];
  }
  if (isInView(placeOf(view.current))) return [current()];
  setCurrent(placeOf(view.current));
  say(`${view.current} was out of view: here it is.`);
  return [];
}

function markCurrent(mark) {
  const items = marked();
  if (!items.length) return;
  const last = Math.max(...items.map((item) => placeOf(item.name)));
  if (!markItems(items, mark)) return;
  view.chosen.clear();
  if (mark && detail.open) stepDetail(1);
  else if (mark) setCurrent(Math.min(last + 1, view.items.length - 1));
}

// Tells whether there was any that takes a mark.
function markItems(items, mark) {
  const able = items.filter((item) => !whyUnmarkable(item));
  if (!able.length) {
    if (items.length) say(whyUnmarkable(items[0]));
    return false;
  }
  setMarks(able.map((item) => [item.name, mark]));
  showMarks();
  const what = able.length === 1 ? able[0].name : plural(able.length, "picture");
  say(mark ? `${what} ${mark}` : `${what} without a mark`, true);
  return true;
}

function markAll(mark) {
  markItems(view.chosen.size ? [...view.chosen].map((name) => itemOf.get(name)) : view.items, mark);
}

function undo() {
  const names = undoMarks();
  if (!names) {
    say("There is nothing to undo.");
    return;
  }
  const place = names.length === 1 ? placeOf(names[0]) : -1;
  if (place >= 0) detail.open ? showDetail(place) : setCurrent(place);
  showMarks();
  say(`Undone: ${names.length === 1 ? names[0] : plural(names.length, "picture")}`);
}

function showMarks() {
  describeTiles();
  showTally();
  if (detail.open) describeMark();
}

function showTally() {
  byId("tally").textContent = `${countMarks("accepted")} accepted, ${countMarks("rejected")} rejected`;
  byId("undo").disabled = !done.length;
  const count = view.chosen.size || view.items.length;
  const what = view.chosen.size ? `${count} chosen` : `all ${count}`;
  for (const [id, verb] of [["accept-all", "Accept"], ["reject-all", "Reject"]]) {
    byId(id).textContent = `${verb} ${what}`;
    byId(id).disabled = !count;
  }
}
