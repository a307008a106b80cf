// Heat maps: cells to pixels exactly as diffumask.masks.enlarge does, so that a threshold means
// here what it means to `diffumask remask --threshold`.

const CUBIC = -0.75; // the slope of OpenCV's INTER_CUBIC
const HEAT_LEVELS = 255;
const SHARPNESS = 10; // odds per unit of heat

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// For each of `to` pixels: the four cells of `from` that it is made of, and their weights.
function cubicTaps(from, to) {
  return Array.from({ length: to }, (_, pixel) => {
    const place = ((pixel + 0.5) * from) / to - 0.5;
    const left = Math.floor(place);
    const x = place - left;
    const near = (d) => ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1;
    const far = ((CUBIC * (x + 1) - 5 * CUBIC) * (x + 1) + 8 * CUBIC) * (x + 1) - 4 * CUBIC;
    const weights = [far, near(x), near(1 - x)];
    weights.push(1 - weights[0] - weights[1] - weights[2]);
    const cells = [-1, 0, 1, 2].map((step) => Math.min(Math.max(left + step, 0), from - 1));
    return { cells, weights };
  });
}

// The heat of a word at every pixel of the thumbnail, clipped at 0 and scaled to a peak of 1.
function enlarge(heat, width, height) {
  const [rows, columns] = heat.grid;
  const cells = bytesOf(heat.cells);
  const wide = new Float32Array(rows * width);
  cubicTaps(columns, width).forEach(({ cells: [a, b, c, d], weights: [p, q, r, s] }, x) => {
    for (let y = 0; y < rows; y++) {
      const row = y * columns;
      const sum = p * cells[row + a] + q * cells[row + b] + r * cells[row + c] + s * cells[row + d];
      wide[y * width + x] = sum / HEAT_LEVELS;
    }
  });
  const pixels = new Float32Array(height * width);
  let peak = 0;
  cubicTaps(rows, height).forEach(({ cells: [a, b, c, d], weights: [p, q, r, s] }, y) => {
    const [above, here, below, last] = [a * width, b * width, c * width, d * width];
    for (let x = 0; x < width; x++) {
      const sum = p * wide[above + x] + q * wide[here + x] + r * wide[below + x] + s * wide[last + x];
      pixels[y * width + x] = Math.max(0, sum);
      peak = Math.max(peak, sum);
    }
  });
  return peak > 0 ? pixels.map((value) => value / peak) : pixels;
}

// For every pixel the number, from 1, of the word that is furthest above the threshold, or 0 where
// the background is more probable, as diffumask.masks.unary has it.
function binarize(heats, threshold) {
  const labels = new Uint8Array(heats[0].length);
  for (let i = 0; i < labels.length; i++) {
    let background = 1;
    let total = 0;
    let best = 0;
    heats.forEach((heat, word) => {
      const seen = 1 / (1 + Math.exp(SHARPNESS * (threshold - heat[i])));
      background *= 1 - seen;
      total += seen;
      if (seen > best) {
        best = seen;
        labels[i] = word + 1;
      }
    });
    if (((1 - background) * best) / total <= background) labels[i] = 0;
  }
  return labels;
}

// For every pixel the heat of the hottest word, in bytes.
function hottest(heats) {
  const levels = new Uint8Array(heats[0].length);
  for (const heat of heats) {
    for (let i = 0; i < levels.length; i++) {
      levels[i] = Math.max(levels[i], Math.round(HEAT_LEVELS * heat[i]));
    }
  }
  return levels;
}
