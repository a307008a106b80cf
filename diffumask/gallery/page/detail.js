// One picture, large, with all that is known of it. The view controls come along.

function openDetail() {
  if (!current()) view.current = view.items[firstInView()]?.name ?? null;
  if (!current()) return;
  const slot = byId("bar-slot");
  slot.style.height = `${slot.offsetHeight}px`; // so that the page behind does not jump
  byId("detail-bar").append(byId("bar"));
  byId("toast").classList.remove("shown");
  detail.showModal();
  showDetail(placeOf(view.current));
  byId("after").focus();
}

function closeDetail() {
  const slot = byId("bar-slot");
  slot.append(byId("bar"));
  slot.style.height = "";
  document.body.append(byId("toast"));
  const name = view.current;
  if (view.items.some((item) => isHidden(item))) refilter();
  setCurrent(placeOf(name));
}

function stepDetail(by) {
  const place = placeOf(view.current) + by;
  if (place >= 0 && place < view.items.length) showDetail(place);
}

function showDetail(place) {
  view.current = view.items[place].name;
  [zoom.scale, zoom.x, zoom.y] = [1, 0, 0];
  describeDetail();
}

function describeDetail() {
  const item = current();
  const place = placeOf(item.name);
  byId("detail-picture").replaceChildren(...sidesOf(item).map((side) => makeFigure(item, side)));
  byId("detail-place").textContent = `${place + 1} of ${view.items.length}`;
  byId("detail-name").textContent = item.name;
  byId("detail-prompt").textContent = item.prompt;
  const verdict = byId("detail-verdict");
  verdict.textContent = item.broken ?? [item.verdict, item.reason].filter(Boolean).join(": ");
  verdict.classList.toggle("dropped", item.verdict === "dropped" || Boolean(item.broken));
  const rows = Object.entries(item.scores).map(([name, score]) => scoreRow(name, score, item.other?.scores?.[name]));
  byId("detail-scores").tBodies[0].replaceChildren(...rows);
  byId("detail-facts").replaceChildren(...item.facts.flatMap(([name, value]) => term(name, value)));
  byId("before").disabled = place === 0;
  byId("after").disabled = place === view.items.length - 1;
  describeMark();
  describeLive();
  applyZoom();
}

function makeFigure(item, side) {
  const figure = document.createElement("figure");
  const stack = makeStack(item, side);
  const face = faceOf(item, side);
  if (face.width) stack.style.aspectRatio = `${face.width} / ${face.height}`;
  figure.append(stack);
  if (data.against) {
    const caption = document.createElement("figcaption");
    caption.textContent = side === "this" ? data.title : data.against;
    figure.append(caption);
  }
  return figure;
}

function scoreRow(name, score, other) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  const meter = document.createElement("span");
  meter.className = "meter";
  const bar = document.createElement("i");
  bar.style.width = `${100 * Math.min(Math.max(score, 0), 1)}%`;
  meter.append(bar);
  row.append(head);
  row.insertCell().append(meter);
  row.insertCell().textContent = score.toFixed(3);
  if (data.against) row.insertCell().textContent = other === undefined ? "" : other.toFixed(3);
  return row;
}

function term(name, value) {
  const head = document.createElement("dt");
  const text = document.createElement("dd");
  head.textContent = name;
  text.textContent = value;
  return [head, text];
}

function describeMark() {
  const item = current();
  for (const button of detail.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", marks.get(item.name) === button.dataset.mark);
    button.disabled = Boolean(whyUnmarkable(item));
  }
}

function describeLive() {
  const item = current();
  const live = view.threshold !== null && item.heats.length;
  byId("detail-live").textContent = live
    ? `At threshold ${view.threshold.toFixed(2)}, before refinement: ${(100 * foreground(item)).toFixed(1)} % of the picture.`
    : "";
}
