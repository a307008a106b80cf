// Pointers on the large picture: one moves it or, from side to side, goes on; two pinch it.

const SWIPE_PX = 48;
const pointers = new Map(); // of each that is down: where it was last
let swipe = null; // where the only finger on a picture that is not enlarged came down

const picture = byId("detail-picture");

function pointOf(event) {
  const box = (event.target.closest?.(".stack") ?? picture).getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function spread() {
  const [[ax, ay], [bx, by]] = pointers.values();
  return { length: Math.hypot(ax - bx, ay - by), middle: [(ax + bx) / 2, (ay + by) / 2] };
}

picture.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  picture.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  const isSwipe = event.pointerType === "touch" && pointers.size === 1 && zoom.scale === 1;
  swipe = isSwipe ? [event.clientX, event.clientY] : null;
});

picture.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const [x, y] = pointers.get(event.pointerId);
  const before = pointers.size === 2 ? spread() : null;
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  if (before) {
    const after = spread();
    const { left, top } = frame();
    zoomBy(after.length / before.length, [after.middle[0] - left, after.middle[1] - top]);
    panBy(after.middle[0] - before.middle[0], after.middle[1] - before.middle[1]);
  } else if (zoom.scale > 1) {
    panBy(event.clientX - x, event.clientY - y);
  }
});

picture.addEventListener("pointerup", (event) => {
  pointers.delete(event.pointerId);
  if (!swipe) return;
  const [x, y] = [event.clientX - swipe[0], event.clientY - swipe[1]];
  swipe = null;
  if (Math.abs(x) > SWIPE_PX && Math.abs(x) > 2 * Math.abs(y)) stepDetail(x < 0 ? 1 : -1);
});

picture.addEventListener("pointercancel", (event) => {
  pointers.delete(event.pointerId);
  swipe = null;
});

picture.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), pointOf(event));
  },
  { passive: false },
);
picture.addEventListener("dblclick", (event) => toggleZoom(pointOf(event)));
