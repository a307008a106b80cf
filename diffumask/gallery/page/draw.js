// Pictures with a layer over them: the mask of the dataset, the mask at the slider's threshold,
// or the heat map.

const KEPT_HEATS = 128; // items whose enlarged heat maps stay in memory
const enlarged = new Map();

function heatsOf(item) {
  if (!enlarged.has(item.name)) {
    if (enlarged.size >= KEPT_HEATS) enlarged.delete(enlarged.keys().next().value);
    enlarged.set(item.name, item.heats.map((heat) => enlarge(heat, item.width, item.height)));
  }
  return enlarged.get(item.name);
}

function makeStack(item) {
  const stack = document.createElement("span");
  stack.className = "stack";
  const picture = new Image();
  const mask = new Image();
  const canvas = document.createElement("canvas");
  picture.className = "picture";
  mask.className = "mask layer";
  canvas.className = "live layer";
  for (const [image, source] of [[picture, item.image], [mask, item.mask]]) {
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.src = source;
  }
  [canvas.width, canvas.height] = [item.width, item.height];
  stack.append(picture, mask, canvas);
  stack.dataset.name = item.name;
  stack.dataset.layer = layerOf(item);
  inView.observe(stack);
  return stack;
}

function layerOf(item) {
  if (view.layer === "picture") return "none";
  if (view.layer === "heat") return item.heats.length ? "live" : "none";
  return view.threshold === null || !item.heats.length ? "mask" : "live";
}

function paint(stack, item) {
  stack.dataset.layer = layerOf(item);
  if (stack.dataset.layer !== "live") return;
  const heats = heatsOf(item);
  const isHeat = view.layer === "heat";
  const places = isHeat ? hottest(heats) : binarize(heats, view.threshold);
  const colours = isHeat ? heatScale : [0, ...item.heats.map((heat) => packed(data.colours[heat.class_id]))];
  const context = stack.querySelector("canvas").getContext("2d");
  const drawn = context.createImageData(item.width, item.height);
  const pixels = new Uint32Array(drawn.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colours[places[i]];
  context.putImageData(drawn, 0, 0);
}

function foreground(item) {
  const labels = binarize(heatsOf(item), view.threshold);
  return labels.filter(Boolean).length / labels.length;
}

// Only what can be seen is painted, and the rest as it scrolls into view.
const inView = new IntersectionObserver(
  (changes) => {
    for (const { target, isIntersecting } of changes) {
      seen[isIntersecting ? "add" : "delete"](target);
      if (isIntersecting) paint(target, itemOf.get(target.dataset.name));
      if (!target.isConnected) inView.unobserve(target);
    }
  },
  { rootMargin: "25%" },
);
const seen = new Set();

function repaint() {
  for (const stack of seen) paint(stack, itemOf.get(stack.dataset.name));
}

let isRepaintAsked = false;
function repaintSoon() {
  if (isRepaintAsked) return;
  isRepaintAsked = true;
  requestAnimationFrame(() => {
    isRepaintAsked = false;
    repaint();
  });
}
