// The keyboard. Letters count only outside of fields in which letters are typed.

const KEYS = {
  a: () => markItem(detailItem(), "accepted"),
  r: () => markItem(detailItem(), "rejected"),
  o: () => setLayer(view.layer === "picture" ? view.overlay : "picture"),
  m: () => setLayer("mask"),
  h: () => setLayer("heat"),
  "[": () => nudgeThreshold(-1),
  "]": () => nudgeThreshold(1),
  0: () => setThreshold(null),
  e: exportMarks,
  "?": () => byId("help").showModal(),
  "/": () => {
    byId("filters").open = true;
    form.elements.words.focus();
  },
};

const GRID_KEYS = {
  ArrowLeft: () => stepFocus(-1),
  ArrowRight: () => stepFocus(1),
  ArrowUp: () => stepFocus(-columns()),
  ArrowDown: () => stepFocus(columns()),
  Home: () => setFocus(0, true),
  End: () => setFocus(list.children.length - 1, true),
  PageUp: () => turnPage(-1),
  PageDown: () => turnPage(1),
};

const DETAIL_KEYS = { ArrowLeft: () => stepDetail(-1), ArrowRight: () => stepDetail(1) };

function turnPage(step) {
  const page = view.page;
  showPage(page + step);
  if (view.page !== page) scrollTo(0, 0);
  setFocus(0, true);
}

function actionOf(event) {
  const at = event.target;
  const typing = at.matches("select, textarea, input:not([type=radio], [type=range])");
  if (event.ctrlKey || event.metaKey || event.altKey || typing || byId("help").open) return null;
  if (at.closest("#items") && GRID_KEYS[event.key]) return GRID_KEYS[event.key];
  if (detail.open && !at.matches("input") && DETAIL_KEYS[event.key]) return DETAIL_KEYS[event.key];
  const needsItem = event.key === "a" || event.key === "r";
  return needsItem && !view.items.length ? null : KEYS[event.key];
}

addEventListener("keydown", (event) => {
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
});
