// Class ids to pixels: tinted classes with an outline, or an outline on a darkened background.

const UNDECIDED = 255;
const OUTLINE_PX = 2;
const SHADE = packed([0, 0, 0], 178);
// The stripes of diffumask.draw.hatch, of which one shows on any picture.
const HATCH_PX = 3;
const HATCH = [235, 40].map((grey) => packed([grey, grey, grey], 191));

// The runs of diffumask.gallery.items.encode_mask.
function decodeMask(runs, length) {
  const labels = new Uint8Array(length);
  const bytes = bytesOf(runs);
  let place = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    labels.fill(bytes[i], place, (place += bytes[i + 1]));
  }
  return labels;
}

// Labels of another size, without the classes that are hidden.
function stretch(labels, width, height, toWidth, toHeight) {
  const shown = Uint8Array.from({ length: 256 }, (_, id) => (view.hidden.has(id) ? 0 : id));
  const columns = Int32Array.from({ length: toWidth }, (_, x) => Math.floor(((x + 0.5) * width) / toWidth));
  const wide = new Uint8Array(toWidth * toHeight);
  for (let y = 0; y < toHeight; y++) {
    const row = Math.floor(((y + 0.5) * height) / toHeight) * width;
    for (let x = 0; x < toWidth; x++) wide[y * toWidth + x] = shown[labels[row + columns[x]]];
  }
  return wide;
}

// Whether a pixel is within `reach` of one of another class; the frame of the picture is no edge.
function isEdge(labels, width, height, x, y, reach) {
  const place = y * width + x;
  const label = labels[place];
  for (let step = 1; step <= reach; step++) {
    if (x >= step && labels[place - step] !== label) return true;
    if (x + step < width && labels[place + step] !== label) return true;
    if (y >= step && labels[place - step * width] !== label) return true;
    if (y + step < height && labels[place + step * width] !== label) return true;
  }
  return false;
}

// `isDim` darkens the background in place of tinting the classes.
function drawClasses(pixels, labels, width, height, reach, isDim) {
  const alpha = Math.round(255 * view.opacity);
  const fills = colours.map((rgb) => (isDim ? 0 : packed(rgb, alpha)));
  const edges = colours.map((rgb) => packed(rgb));
  fills[0] = isDim ? SHADE : 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const place = y * width + x;
      const label = labels[place];
      const outlined = label !== 0 && label !== UNDECIDED && isEdge(labels, width, height, x, y, reach);
      const stripe = HATCH[Math.floor((x + y) / HATCH_PX) % 2];
      pixels[place] = label === UNDECIDED ? stripe : outlined ? edges[label] : fills[label];
    }
  }
}
