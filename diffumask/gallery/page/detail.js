// One picture, large, with all that is known of it. The view controls come along.

function openDetail() {
  const slot = byId("bar-slot");
  slot.style.height = `${slot.offsetHeight}px`; // so that the page behind does not jump
  byId("detail-bar").append(byId("bar"));
  describeDetail();
  detail.showModal();
  byId("after").focus();
}

function closeDetail() {
  const slot = byId("bar-slot");
  slot.append(byId("bar"));
  slot.style.height = "";
  setFocus(view.focus, true);
}

function detailItem() {
  return view.items[view.page * PAGE_ITEMS + view.focus];
}

function stepDetail(step) {
  const place = view.page * PAGE_ITEMS + view.focus + step;
  if (place < 0 || place >= view.items.length) return;
  const page = Math.floor(place / PAGE_ITEMS);
  if (page !== view.page) showPage(page);
  setFocus(place - page * PAGE_ITEMS);
  describeDetail();
  tell(view.items[place].prompt);
}

function describeDetail() {
  const item = detailItem();
  const stack = makeStack(item);
  stack.style.aspectRatio = `${item.width} / ${item.height}`;
  byId("detail-picture").replaceChildren(stack);
  byId("detail-name").textContent = item.name;
  byId("detail-prompt").textContent = item.prompt;
  const verdict = byId("detail-verdict");
  verdict.textContent = [item.verdict, item.reason].filter(Boolean).join(": ");
  verdict.classList.toggle("dropped", item.verdict === "dropped");
  byId("detail-scores").tBodies[0].replaceChildren(...Object.entries(item.scores).map(scoreRow));
  byId("detail-facts").replaceChildren(...item.facts.flatMap(([name, value]) => term(name, value)));
  const place = view.page * PAGE_ITEMS + view.focus;
  byId("before").disabled = place === 0;
  byId("after").disabled = place === view.items.length - 1;
  describeMark();
  describeLive();
}

function scoreRow([name, score]) {
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
  for (const button of detail.querySelectorAll("[data-mark]")) {
    button.setAttribute("aria-pressed", marks.get(detailItem().name) === button.dataset.mark);
  }
}

function describeLive() {
  const item = detailItem();
  const live = view.threshold !== null && item.heats.length;
  byId("detail-live").textContent = live
    ? `At threshold ${view.threshold.toFixed(2)}, before refinement: ${(100 * foreground(item)).toFixed(1)} % of the picture.`
    : "";
}
