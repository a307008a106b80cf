// The large picture, closer: by wheel, pinch, buttons and keys; what is closer can be moved.

const MAX_ZOOM = 16;
const zoom = { scale: 1, x: 0, y: 0 };

const frame = () => byId("detail-picture").querySelector(".stack").getBoundingClientRect();

function applyZoom() {
  const { width, height } = frame();
  zoom.x = Math.min(0, Math.max(zoom.x, width * (1 - zoom.scale)));
  zoom.y = Math.min(0, Math.max(zoom.y, height * (1 - zoom.scale)));
  for (const part of byId("detail-picture").querySelectorAll(".stack > :is(img, canvas)")) {
    part.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.scale})`;
  }
  byId("detail-picture").toggleAttribute("data-zoomed", zoom.scale > 1);
  byId("zoom").textContent = `${Math.round(100 * zoom.scale)} %`;
  byId("zoom-out").disabled = zoom.scale === 1;
  byId("zoom-in").disabled = zoom.scale === MAX_ZOOM;
  repaintSoon();
}

// What is at a point of the frame, in pixels from its corner, stays there; else its middle.
function zoomTo(scale, at) {
  const { width, height } = frame();
  const [x, y] = at ?? [width / 2, height / 2];
  const wanted = Math.min(Math.max(scale, 1), MAX_ZOOM);
  zoom.x = x - ((x - zoom.x) * wanted) / zoom.scale;
  zoom.y = y - ((y - zoom.y) * wanted) / zoom.scale;
  zoom.scale = wanted;
  applyZoom();
}

function panBy(x, y) {
  zoom.x += x;
  zoom.y += y;
  applyZoom();
}

const zoomBy = (factor, at) => zoomTo(zoom.scale * factor, at);
const panStep = (x, y) => panBy(x * frame().width * 0.2, y * frame().height * 0.2);
const toggleZoom = (at) => zoomTo(zoom.scale > 1 ? 1 : 3, at);
