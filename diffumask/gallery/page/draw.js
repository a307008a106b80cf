// Pictures with a layer over them: the mask of the dataset, the mask at the slider's threshold,
// or the heat map.

const KEPT = 128; // items whose heat maps and masks stay in memory
const MAX_CANVAS_PX = 1600;
const enlarged = new Map();
const decoded = new Map();

function kept(store, key, make) {
  if (!store.has(key)) {
    if (store.size >= KEPT) store.delete(store.keys().next().value);
    store.set(key, make());
  }
  return store.get(key);
}

function heatsOf(item) {
  return kept(enlarged, item.name, () => item.heats.map((heat) => enlarge(heat, item.width, item.height)));
}

// An item as one of the two datasets has it.
function faceOf(item, side) {
  return side === "other" ? { ...item, mask: undefined, heats: [], ...item.other } : item;
}

// The class id of each pixel, or null where there is no mask.
function labelsOf(item, side = "this") {
  const face = faceOf(item, side);
  if (view.threshold !== null && face.heats.length) {
    const ids = [0, ...face.heats.map((heat) => heat.class_id)];
    return binarize(heatsOf(item), view.threshold).map((word) => ids[word]);
  }
  if (!face.mask) return null;
  return kept(decoded, `${side} ${item.name}`, () => decodeMask(face.mask, face.width * face.height));
}

function makeStack(item, side) {
  const stack = document.createElement("span");
  stack.className = "stack";
  [stack.dataset.name, stack.dataset.side] = [item.name, side];
  const face = faceOf(item, side);
  if (item.broken || face.broken || !face.image) {
    stack.append(makeFault(item.broken ?? face.broken));
    return stack;
  }
  const picture = new Image();
  picture.className = "picture";
  picture.decoding = "async";
  picture.draggable = false;
  picture.alt = "";
  picture.src = face.image;
  const canvas = document.createElement("canvas");
  canvas.className = "layer";
  stack.append(picture, canvas);
  if (!face.mask) stack.append(makeTag(`not in ${side === "this" ? data.title : data.against}`));
  return stack;
}

function makeFault(reason) {
  const fault = document.createElement("span");
  fault.className = "fault";
  const head = document.createElement("b");
  head.textContent = "broken";
  fault.append(head, ` ${reason}`);
  return fault;
}

function makeTag(text, kind = "") {
  const tag = document.createElement("span");
  tag.className = `tag ${kind}`;
  tag.textContent = text;
  return tag;
}

const sidesOf = (item) => (view.side === "both" && !item.broken ? ["this", "other"] : [view.side]);

function layerOf(item, side) {
  if (view.layer === "heat") return faceOf(item, side).heats.length ? "heat" : "none";
  return view.layer === "picture" || !labelsOf(item, side) ? "none" : view.layer;
}

// The picture fills as much of its stack as its shape lets it.
function canvasSize(stack, face, zoomed) {
  const fit = Math.min(stack.clientWidth / face.width, stack.clientHeight / face.height);
  const wanted = fit * devicePixelRatio * zoomed;
  const most = MAX_CANVAS_PX / Math.max(face.width, face.height);
  const scale = Math.max(Math.min(wanted, most), 1 / Math.min(face.width, face.height));
  const outline = OUTLINE_PX * devicePixelRatio * Math.min(1, most / wanted);
  return [Math.round(face.width * scale), Math.round(face.height * scale), Math.max(1, Math.round(outline))];
}

function paint(stack) {
  const item = itemOf.get(stack.dataset.name);
  const { side } = stack.dataset;
  const canvas = stack.querySelector("canvas");
  if (!item || !canvas || !stack.clientWidth) return;
  stack.dataset.layer = layerOf(item, side);
  if (stack.dataset.layer === "none") return;
  const face = faceOf(item, side);
  const isHeat = stack.dataset.layer === "heat";
  const zoomed = stack.closest("dialog") ? zoom.scale : 1;
  const [width, height, reach] = isHeat ? [face.width, face.height, 0] : canvasSize(stack, face, zoomed);
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const drawn = context.createImageData(width, height);
  const pixels = new Uint32Array(drawn.data.buffer);
  if (isHeat) {
    const alpha = Math.round(255 * view.opacity);
    const scale = heatColours.map((rgb) => packed(rgb, alpha));
    hottest(heatsOf(item)).forEach((level, i) => (pixels[i] = scale[level]));
  } else {
    const labels = stretch(labelsOf(item, side), face.width, face.height, width, height);
    drawClasses(pixels, labels, width, height, reach, view.layer === "dim");
  }
  context.putImageData(drawn, 0, 0);
}

function foreground(item) {
  const labels = labelsOf(item);
  return labels.filter(Boolean).length / labels.length;
}

let isRepaintAsked = false;
function repaintSoon() {
  if (isRepaintAsked) return;
  isRepaintAsked = true;
  requestAnimationFrame(() => {
    isRepaintAsked = false;
    document.querySelectorAll(".stack").forEach(paint);
  });
}
