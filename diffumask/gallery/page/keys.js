// The keyboard. Letters count only outside of fields in which letters are typed.

const KEYS = {
  a: () => markCurrent("accepted"),
  r: () => markCurrent("rejected"),
  x: () => markCurrent(undefined),
  u: undo,
  o: () => setLayer(view.layer === "picture" ? view.overlay : "picture"),
  m: () => setLayer("mask"),
  d: () => setLayer("dim"),
  h: () => setLayer("heat"),
  b: nextSide,
  "[": () => nudgeThreshold(-1),
  "]": () => nudgeThreshold(1),
  0: () => setThreshold(null),
  e: exportMarks,
  "?": () => byId("help").showModal(),
};

const GRID_KEYS = {
  A: () => markAll("accepted"),
  R: () => markAll("rejected"),
  Escape: chooseNone,
  "/": () => {
    byId("filters").open = true;
    form.elements.words.focus();
  },
};

const GRID_MOVES = {
  ArrowLeft: () => -1,
  ArrowRight: () => 1,
  ArrowUp: () => -grid.columns,
  ArrowDown: () => grid.columns,
  Home: () => -view.items.length,
  End: () => view.items.length,
  PageUp: () => -rowsInView() * grid.columns,
  PageDown: () => rowsInView() * grid.columns,
};

const DETAIL_KEYS = {
  ArrowLeft: () => stepDetail(-1),
  ArrowRight: () => stepDetail(1),
  "+": () => zoomBy(1.5),
  "=": () => zoomBy(1.5),
  "-": () => zoomBy(1 / 1.5),
  z: () => toggleZoom(),
};

const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function moveOf(event) {
  if (event.target.matches("input, select")) return null; // which have arrow keys of their own
  const { key, shiftKey } = event;
  if (detail.open) {
    if (shiftKey && PANS[key]) return () => panStep(...PANS[key]);
    return DETAIL_KEYS[key] ?? null;
  }
  if (key === "Enter" && !event.target.closest("button, summary, a")) return openDetail;
  const by = GRID_MOVES[key];
  if (!by || !view.items.length) return null;
  return () => (shiftKey ? stepRange(by()) : step(by()));
}

function actionOf(event) {
  const typing = event.target.matches("select, textarea, input:not([type=radio], [type=range])");
  if (typing || event.altKey || byId("help").open) return null;
  if (event.ctrlKey || event.metaKey) return event.key === "z" ? undo : null;
  return moveOf(event) ?? (detail.open ? null : GRID_KEYS[event.key]) ?? KEYS[event.key];
}

addEventListener("keydown", (event) => {
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
});
