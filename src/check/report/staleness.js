'use strict';
// A strip per level: each stale read by when it was called and how old it was.

const STRIP = { left: 64, right: 10, top: 15, bottom: 16, hit: 9 };
let strips = [];

function showStaleness() {
  const points = DATA.classes.map(() => []);
  for (let at = 0; at < STALE.index.length; at++) {
    const place = PLACE.get(STALE.index[at]);
    if (place !== undefined) points[OPS.class[place]].push(at);
  }
  const reads = measured().filter((level) => level.class < 8);
  const never = reads.filter((level) => costOf(level).ok > 0 && points[level.class].length === 0);
  const box = $('stale-charts');
  if (never.length) {
    box.append(el('p', {}, 'Never stale: ', never.map((level, at) => [at ? ', ' : '', swatch(level.class),
      el('b', {}, level.name), ` (${plural(costOf(level).ok, 'answer', 'answers')})`]), '.'));
  }
  strips = reads.filter((level) => points[level.class].length).map((level) => strip(level, points[level.class]));
  box.append(...strips.map((strip) => strip.element));
  if (reads.length === 0) box.append(el('p', { class: 'note' }, 'No read was recorded.'));
}

function strip(level, points) {
  const stale = costOf(level).stale;
  const canvas = el('canvas', { role: 'img', title: 'Choose a dot to see the read in the timeline.',
    'aria-label': `${level.name}: ${points.length} stale reads` });
  const label = el('span', { class: 'quiet num' });
  const head = el('div', { class: 'head' }, el('span', {}, swatch(level.class), el('b', {}, level.name)),
    el('span', { class: 'quiet num' }, `${plural(stale.reads, 'stale read', 'stale reads')}, ` +
      `${share(stale.reads, costOf(level).ok)} of its answers`),
    link(`oldest: ${millis(stale.max_ms)}`, () => showOperation(PLACE.get(stale.worst))), label);
  const one = { level, points, canvas, element: el('div', { class: 'strip' }, head, canvas) };
  canvas.addEventListener('mousemove', (event) => {
    const near = nearest(one, event);
    label.textContent = near === null ? ''
      : `#${STALE.index[near]}: ${millis(STALE.stale[near] / 1000)}, ` +
        plural(STALE.revisions[near], 'change missed', 'changes missed');
  });
  canvas.addEventListener('click', (event) => {
    const near = nearest(one, event);
    if (near !== null) showOperation(PLACE.get(STALE.index[near]));
  });
  return one;
}

// All strips have the same scale: from a tenth of a millisecond to the oldest of all, by powers of ten.
const AGE_MIN = 100;
function ageMax() {
  let most = 10000;
  for (const age of STALE.stale) most = Math.max(most, age);
  return 10 ** Math.ceil(Math.log10(most));
}

function scale(canvas, most) {
  const width = canvas.clientWidth - STRIP.left - STRIP.right;
  const height = canvas.clientHeight - STRIP.top - STRIP.bottom;
  const decades = Math.log10(most / AGE_MIN);
  return {
    x: (time) => STRIP.left + (time / END) * width,
    y: (age) => STRIP.top + height * (1 - Math.log10(Math.max(age, AGE_MIN) / AGE_MIN) / decades),
  };
}

function drawStaleness() {
  const most = ageMax();
  for (const strip of strips) drawStrip(strip, most);
  if (strips.length) nameFaults(strips[0]);
}

function drawStrip(strip, most) {
  const { canvas, points, level } = strip;
  const context = fit(canvas);
  const { x, y } = scale(canvas, most);
  strip.scale = { x, y };
  const bottom = y(AGE_MIN), right = x(END);
  faultBands(context, x, 0, bottom);
  context.strokeStyle = colour('line');
  context.fillStyle = colour('quiet');
  context.textAlign = 'right';
  for (let age = AGE_MIN * 10; age <= most; age *= 10) {
    context.strokeRect(STRIP.left, Math.round(y(age)) + 0.5, right - STRIP.left, 0);
    if (Math.log10(age) % 2 === 1 || age === most) {
      context.fillText(age >= 1e6 ? `${age / 1e6} s` : `${age / 1000} ms`, STRIP.left - 6, y(age));
    }
  }
  context.textAlign = 'center';
  for (const mark of ticks(0, END, (right - STRIP.left) / 90).marks) {
    context.fillText(`${mark / 1e6} s`, x(mark), bottom + 9);
  }
  bound(context, strip, right);
  context.fillStyle = colour(`c${level.class}`);
  context.globalAlpha = points.length > 2000 ? 0.75 : 0.9;
  const taken = new Set(), side = points.length > 300 ? 3 : 5;
  for (const at of points) {
    const px = Math.round(x(OPS.call[PLACE.get(STALE.index[at])])), py = Math.round(y(STALE.stale[at]));
    const spot = px * 4096 + py;
    if (taken.has(spot)) continue;
    taken.add(spot);
    context.fillRect(px - side / 2, py - side / 2, side, side);
  }
  context.globalAlpha = 1;
}

// The faults' kinds, above the first strip, as far as there is room for them.
function nameFaults({ canvas, scale }) {
  const context = canvas.getContext('2d');
  context.fillStyle = colour('ink');
  context.textAlign = 'left';
  let free = 0;
  for (const fault of DATA.faults) {
    const x = Math.max(scale.x(fault.from), free), wide = context.measureText(fault.kind).width;
    if (x > scale.x(fault.to ?? END) || x + wide > canvas.clientWidth) continue;
    context.fillText(fault.kind, x + 2, 7);
    free = x + wide + 8;
  }
}

// What a bounded read asked for at most, where all asked for the same.
function bound(context, strip, right) {
  const asked = new Set(strip.points.map((at) => OPS.asked[PLACE.get(STALE.index[at])]));
  if (DATA.classes[strip.level.class].name !== 'bounded' || asked.size !== 1) return;
  const [age] = asked;
  const at = Math.round(strip.scale.y(age)) + 0.5;
  context.strokeStyle = context.fillStyle = colour('bad-ink');
  context.setLineDash([5, 3]);
  context.strokeRect(STRIP.left, at, right - STRIP.left, 0);
  context.setLineDash([]);
  context.textAlign = 'left';
  context.fillText(`promised: at most ${millis(age / 1000)}`, STRIP.left + 4, at - 7);
}

function nearest(strip, event) {
  let best = null, least = STRIP.hit ** 2;
  for (const at of strip.points) {
    const dx = strip.scale.x(OPS.call[PLACE.get(STALE.index[at])]) - event.offsetX;
    const dy = strip.scale.y(STALE.stale[at]) - event.offsetY;
    if (dx * dx + dy * dy < least) {
      least = dx * dx + dy * dy;
      best = at;
    }
  }
  return best;
}

// Faults that overlap are shaded once. One that was not seen to have an effect is paler.
const LANDED = merged(DATA.faults.filter((fault) => fault.landed));
const IN_VAIN = merged(DATA.faults.filter((fault) => !fault.landed));
function merged(faults) {
  const spans = [];
  for (const fault of [...faults].sort((a, b) => a.from - b.from)) {
    const last = spans[spans.length - 1], to = fault.to ?? END;
    if (last && fault.from <= last.to) last.to = Math.max(last.to, to);
    else spans.push({ from: fault.from, to });
  }
  return spans;
}
function faultBands(context, x, top, height, strength = 0.18) {
  context.fillStyle = colour('fault');
  for (const [spans, alpha] of [[LANDED, strength], [IN_VAIN, strength / 2]]) {
    context.globalAlpha = alpha;
    for (const { from, to } of spans) context.fillRect(x(from), top, Math.max(x(to) - x(from), 2), height);
  }
  context.globalAlpha = 1;
}
