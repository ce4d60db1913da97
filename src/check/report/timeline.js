'use strict';
// The timeline: what is where, and the drawing of it. All times are in microseconds.

const VIEW = { from: 0, to: END, scroll: 0, hover: null, chosen: null, marked: new Set(), hidden: new Set() };
const SIZE = { axis: 20, fault: 17, leader: 20, gap: 4, lane: 15, right: 12, bucket: 2 };
const WRITES_FIRST = [8, 0, 1, 2, 3, 4, 5, 6, 7, 9];

// What occupies rows: sessions, watches, locks. `lanes` hold places of operations, deliveries or holds, in
// order of time; what is in one lane does not overlap. SESSION_ROWS are those that operations name.
const SESSION_ROWS = [];
const ROWS = buildRows();
const FAULT_LANES = stack(DATA.faults.map((fault) => [fault.from, Math.max(fault.to ?? END, fault.from + END / 12)]));
const LEADERS = leaderSpans();
let layout = null;

function buildRows() {
  const order = TIME.rows.map((_, at) => at).sort((a, b) =>
    WRITES_FIRST.indexOf(TIME.rows[a].class) - WRITES_FIRST.indexOf(TIME.rows[b].class) || a - b);
  const sessions = TIME.rows.map((row) => ({
    kind: 'session', class: row.class, short: `s${row.session}`, label: sessionLabel(row),
    lanes: Array.from({ length: row.lanes }, () => []),
  }));
  SESSION_ROWS.push(...sessions);
  for (let at = 0; at < OPS.count; at++) sessions[OPS.row[at]].lanes[OPS.lane[at]].push(at);
  const watches = TIME.watches.map(([watch, prefix]) => ({
    kind: 'watch', label: `watch ${watch} ${prefix}*`, short: `w${watch}`, lanes: [[]],
  }));
  for (let at = 0; at < DELIVERIES.at.length; at++) watches[DELIVERIES.watch[at]].lanes[0].push(at);
  const names = [...new Set(TIME.holds.map((hold) => hold.lock))];
  const locks = names.map((name) => lockRow(name));
  const rows = [...order.map((at) => sessions[at]), ...locks, ...watches];
  rows.forEach((row, at) => (row.at = at));
  return rows;
}

// A row of several sessions that follow one another is named after the first.
function sessionLabel(row) {
  const more = row.sessions > 1 ? ` +${row.sessions - 1}` : '';
  return `${DATA.classes[row.class].name} s${row.session}${more}`;
}

function lockRow(name) {
  const holds = TIME.holds.map((hold, at) => at).filter((at) => TIME.holds[at].lock === name);
  const places = stack(holds.map((at) => [TIME.holds[at].from, TIME.holds[at].to ?? END]));
  const lanes = Array.from({ length: places.count }, () => []);
  holds.forEach((at, number) => lanes[places.lane[number]].push(at));
  return { kind: 'lock', label: `lock ${name}`, short: name, lanes };
}

// The first free lane for each span, in order.
function stack(spans) {
  const busy = [];
  const lane = spans.map(([from, to]) => {
    let free = busy.findIndex((end) => end <= from);
    if (free < 0) free = busy.length;
    busy[free] = to;
    return free;
  });
  return { lane, count: busy.length };
}

function leaderSpans() {
  const spans = [];
  for (const [at, leader, term] of TIME.leaders) {
    const last = spans[spans.length - 1];
    if (last && last.leader === leader && last.term === term) continue;
    if (last) last.to = at;
    spans.push({ from: at, to: END, leader, term });
  }
  return spans;
}

function measure() {
  const canvas = $('timeline');
  const width = canvas.clientWidth || 600;
  const left = width < 600 ? 46 : 152;
  const head = SIZE.axis + FAULT_LANES.count * SIZE.fault + (LEADERS.length ? SIZE.leader : 0) + SIZE.gap;
  const lanes = ROWS.reduce((sum, row) => sum + row.lanes.length, 0);
  const room = Math.max(260, Math.min(window.innerHeight * 0.6, 720));
  const spare = (room - ROWS.length * SIZE.gap) / Math.max(lanes, 1);
  const lane = Math.max(SIZE.lane, Math.min(22, Math.floor(spare)));
  // Room for the flag of a violation in the first row.
  let y = 8;
  for (const row of ROWS) {
    row.y = y;
    row.height = row.lanes.length * lane;
    y += row.height + SIZE.gap;
  }
  layout = { width, left, head, lane, content: y, body: Math.max(60, y < room * 1.15 ? y : room) };
  layout.height = layout.head + layout.body;
  layout.scale = (width - left - SIZE.right);
}

const xOf = (time) => layout.left + ((time - VIEW.from) / (VIEW.to - VIEW.from)) * layout.scale;
const timeAt = (x) => VIEW.from + ((x - layout.left) / layout.scale) * (VIEW.to - VIEW.from);
const yOf = (row) => layout.head + row.y - VIEW.scroll;

// The first in the list that ends at or after the time. Within a lane, ends are in order.
function firstAfter(list, time, end) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (end(list[middle]) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
const opEnd = (at) => OPS.call[at] + OPS.took[at];

function drawTimeline() {
  measure();
  VIEW.scroll = Math.max(0, Math.min(VIEW.scroll, layout.content - layout.body));
  const context = fit($('timeline'), layout.height);
  context.save();
  context.beginPath();
  context.rect(0, layout.head, layout.width, layout.body);
  context.clip();
  for (const row of ROWS) drawRowGround(context, row);
  context.beginPath();
  context.rect(layout.left, layout.head, layout.scale + SIZE.right, layout.body);
  context.clip();
  faultBands(context, xOf, layout.head, layout.body);
  const visible = ROWS.filter((row) => yOf(row) < layout.height && yOf(row) + row.height > layout.head);
  for (const row of visible) {
    row.lanes.forEach((lane, number) => DRAW[row.kind](context, lane, yOf(row) + number * layout.lane, layout.lane));
  }
  drawMarks(context, visible);
  context.restore();
  drawHead(context);
  if (layout.content > layout.body) drawScrollbar(context);
  $('window').textContent = `${seconds(VIEW.from, VIEW.to - VIEW.from)} to ${seconds(VIEW.to, VIEW.to - VIEW.from)}`;
}

function drawRowGround(context, row) {
  const y = yOf(row);
  if (y > layout.height || y + row.height < layout.head) return;
  context.fillStyle = colour('panel');
  context.fillRect(layout.left, y, layout.scale + SIZE.right, row.height);
  const text = layout.left < 100 ? row.short : row.label;
  if (row.class !== undefined) {
    context.fillStyle = colour(`c${row.class}`);
    context.fillRect(4, y + 2, 4, row.height - 4);
  }
  context.fillStyle = colour('ink');
  context.textAlign = 'left';
  context.fillText(cut(context, text, layout.left - 18), 13, y + Math.min(row.height, layout.lane) / 2 + 0.5);
}

function cut(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = Math.min(text.length, Math.floor(width / 4));
  while (length > 0 && context.measureText(`${text.slice(0, length)}…`).width > width) length--;
  return length === 0 ? '' : `${text.slice(0, length)}…`;
}

const DRAW = { session: drawOperations, watch: drawDeliveries, lock: drawHolds };

// Bars that are too narrow to be seen alone share a bucket of a few pixels: its height is divided among
// their classes, and paled by the part that was not done.
function drawOperations(context, lane, y, height) {
  let bucket = -1, members = 0, undone = 0;
  const counts = new Array(DATA.classes.length).fill(0);
  const flush = () => {
    if (members > 0) drawBucket(context, counts, { members, undone, x: bucket * SIZE.bucket, y, height });
    counts.fill(0);
    members = undone = 0;
  };
  for (let number = firstAfter(lane, VIEW.from, opEnd); number < lane.length; number++) {
    const at = lane[number];
    if (OPS.call[at] > VIEW.to) break;
    if (VIEW.hidden.has(OPS.class[at])) continue;
    const from = xOf(OPS.call[at]), to = xOf(opEnd(at));
    if (to - from >= 2.5) {
      drawBar(context, at, { from, to, y, height });
      continue;
    }
    const here = Math.floor(from / SIZE.bucket);
    if (here !== bucket) {
      flush();
      bucket = here;
    }
    members += 1;
    counts[OPS.class[at]] += 1;
    if (OPS.outcome[at] !== 0) undone += 1;
  }
  flush();
}

function drawBucket(context, counts, { members, undone, x, y, height }) {
  let top = y + 1;
  for (let at = 0; at < counts.length; at++) {
    if (counts[at] === 0) continue;
    const part = ((height - 2) * counts[at]) / members;
    context.fillStyle = colour(`c${at}`);
    context.fillRect(x, top, SIZE.bucket, part);
    top += part;
  }
  if (undone > 0) {
    context.globalAlpha = 0.72;
    context.fillStyle = colour('bg');
    context.fillRect(x, y + 2, SIZE.bucket, ((height - 4) * undone) / members);
    context.globalAlpha = 1;
  }
}

// Done: full. Not done: hollow, with a stroke through it. Unknown: pale, without an end.
function drawBar(context, at, { from, to, y, height }) {
  const left = Math.max(from, layout.left - 4), right = Math.min(to, layout.width + 4);
  const top = y + 1.5, tall = height - 3, wide = Math.max(right - left, 2);
  const shade = colour(`c${OPS.class[at]}`);
  context.fillStyle = context.strokeStyle = shade;
  if (OPS.outcome[at] === 0) {
    context.fillRect(left, top, wide - 0.5, tall);
  } else if (OPS.outcome[at] === 1) {
    context.globalAlpha = 0.18;
    context.fillRect(left, top, wide, tall);
    context.globalAlpha = 1;
    context.strokeRect(left + 0.5, top + 0.5, Math.max(wide - 1, 1), tall - 1);
    if (wide > 6) line(context, left, top + tall, Math.min(left + 2 * tall, right), top);
  } else {
    drawOpen(context, { left, right, top, tall, wide });
  }
  if (wide > 30) drawBarText(context, at, { left, top, wide, tall });
}

function drawOpen(context, { left, right, top, tall, wide }) {
  context.globalAlpha = 0.4;
  context.fillRect(left, top, wide, tall);
  context.globalAlpha = 1;
  context.setLineDash([3, 2]);
  line(context, left, top + 0.5, right, top + 0.5);
  line(context, left, top + tall - 0.5, right, top + tall - 0.5);
  context.setLineDash([]);
  line(context, left + 0.5, top, left + 0.5, top + tall);
  context.beginPath();
  context.moveTo(right, top);
  context.lineTo(right + 6, top + tall / 2);
  context.lineTo(right, top + tall);
  context.stroke();
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function drawBarText(context, at, { left, top, wide, tall }) {
  const text = cut(context, `${OPS.verbs[OPS.verb[at]]} ${OPS.subjects[OPS.subject[at]]} ${OPS.detail[at]}`, wide - 8);
  if (text.length < 3) return;
  context.textAlign = 'left';
  context.fillStyle = colour(OPS.outcome[at] === 0 ? 'bg' : 'ink');
  context.fillText(text, left + 4, top + tall / 2 + 0.5);
}

const deliveryEnd = (at) => DELIVERIES.at[at];

function drawDeliveries(context, lane, y, height) {
  let last = -10;
  for (let number = firstAfter(lane, VIEW.from, deliveryEnd); number < lane.length; number++) {
    const at = lane[number], kind = DELIVERIES.kind[at];
    if (DELIVERIES.at[at] > VIEW.to) break;
    const x = Math.round(xOf(DELIVERIES.at[at]));
    if (kind === 1 && x === last) continue;
    context.fillStyle = context.strokeStyle = colour(kind === 3 ? 'bad-ink' : 'ink');
    if (kind === 1) {
      last = x;
      context.globalAlpha = 0.55;
      context.fillRect(x - 0.5, y + 3, 1, height - 6);
    } else if (kind === 2) {
      context.globalAlpha = 0.55;
      context.fillRect(x - 0.5, y + height - 5, 1, 2);
    } else {
      context.font = 'bold 11px system-ui, sans-serif';
      context.textAlign = 'center';
      context.fillText(kind === 0 ? '▷' : '✕', x, y + height / 2);
      context.font = '11px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
    }
    context.globalAlpha = 1;
  }
}

const holdEnd = (at) => TIME.holds[at].to ?? END;

function drawHolds(context, lane, y, height) {
  for (let number = firstAfter(lane, VIEW.from, holdEnd); number < lane.length; number++) {
    const hold = TIME.holds[lane[number]];
    if (hold.from > VIEW.to) break;
    const left = Math.max(xOf(hold.from), layout.left - 4);
    const right = Math.min(xOf(holdEnd(lane[number])), layout.width + 4);
    context.fillStyle = colour('c9');
    context.fillRect(left, y + 2, Math.max(right - left - 1, 2), height - 4);
    const held = `token ${hold.token}, process ${hold.process}`;
    const text = right - left > 60 ? cut(context, held, right - left - 8) : '';
    context.fillStyle = colour('bg');
    context.textAlign = 'left';
    context.fillText(text, left + 4, y + height / 2 + 0.5);
  }
}

// Violations, the operations of the case at hand, the chosen one and the one under the pointer.
function drawMarks(context, visible) {
  const busy = new Map();
  const mark = (at, shade, text, pad = 1) => {
    const row = SESSION_ROWS[OPS.row[at]];
    if (!visible.includes(row) || opEnd(at) < VIEW.from || OPS.call[at] > VIEW.to) return;
    const y = yOf(row) + OPS.lane[at] * layout.lane, x = xOf(OPS.call[at]);
    const wide = Math.max(xOf(opEnd(at)) - x, 3);
    context.strokeStyle = context.fillStyle = colour(shade);
    context.lineWidth = 2;
    context.strokeRect(x - pad, y + 1.5 - pad, wide + 2 * pad, layout.lane - 3 + 2 * pad);
    context.lineWidth = 1;
    if (text) drawFlag(context, { text, x: Math.max(x, layout.left), y, shade, busy, row });
  };
  for (const [at, numbers] of BROKEN) mark(at, 'bad', DATA.violations[numbers[0]].anomaly);
  for (const at of VIEW.marked) if (!BROKEN.has(at)) mark(at, 'loose-ink', aged(at));
  if (VIEW.chosen !== null) {
    mark(VIEW.chosen, 'ink', null, 3);
    if (OPS.outcome[VIEW.chosen] === 2) drawForever(context, VIEW.chosen);
  }
  if (VIEW.hover && VIEW.hover.kind === 'session') mark(VIEW.hover.at, 'ink', null, 3);
}

function drawFlag(context, { text, x, y, shade, busy, row }) {
  context.beginPath();
  context.moveTo(x - 4, y - 4);
  context.lineTo(x + 4, y - 4);
  context.lineTo(x, y + 2);
  context.fill();
  const wide = context.measureText(text).width + 8;
  if (x < (busy.get(row.at) ?? -1)) return;
  busy.set(row.at, x + wide + 10);
  context.fillRect(x + 5, y - 8, wide, 13);
  context.textAlign = 'left';
  context.fillStyle = shade === 'bad' ? '#fff' : colour('bg');
  context.fillText(text, x + 9, y - 1);
}

function aged(at) {
  const stale = STALE_AT.get(at);
  return stale === undefined ? 'see above' : `${millis(STALE.stale[stale] / 1000)} old`;
}

// An unknown operation that is chosen: it may take effect at any time after its call.
function drawForever(context, at) {
  const y = yOf(SESSION_ROWS[OPS.row[at]]) + OPS.lane[at] * layout.lane + layout.lane / 2;
  context.strokeStyle = colour('ink');
  context.setLineDash([4, 4]);
  line(context, Math.max(xOf(OPS.call[at]), layout.left), y, layout.width, y);
  context.setLineDash([]);
}

function drawHead(context) {
  const { left, width, head, height } = layout;
  const bands = (action) => {
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    action();
    context.restore();
  };
  bands(() => faultBands(context, xOf, head, height - head, 0.05));
  bands(() => drawEdges(context));
  bands(() => DATA.faults.forEach((fault, number) => drawFault(context, fault, FAULT_LANES.lane[number])));
  bands(() => drawLeaders(context, head - SIZE.gap - SIZE.leader));
  context.fillStyle = context.strokeStyle = colour('quiet');
  context.textAlign = 'left';
  if (FAULT_LANES.count) context.fillText('faults', 13, SIZE.axis + SIZE.fault / 2);
  if (LEADERS.length) context.fillText(left < 100 ? 'leads' : 'leader, term', 13, head - SIZE.gap - SIZE.leader / 2);
  context.textAlign = 'center';
  const { step, marks } = ticks(VIEW.from, VIEW.to, layout.scale / 100);
  const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
  for (const at of marks) {
    const x = Math.round(xOf(at)) + 0.5;
    context.fillText(`${(at / 1e6).toFixed(digits)} s`, Math.min(x, width - 20), 9);
    line(context, x, SIZE.axis - 4, x, SIZE.axis);
  }
  context.strokeStyle = colour('line');
  line(context, 0, head - SIZE.gap / 2, width, head - SIZE.gap / 2);
}

// Where faults begin and end, through all rows.
function drawEdges(context) {
  context.strokeStyle = colour('fault');
  context.setLineDash([2, 3]);
  DATA.faults.forEach((fault, number) => {
    const top = SIZE.axis + (FAULT_LANES.lane[number] + 1) * SIZE.fault;
    for (const at of [fault.from, fault.to ?? END]) {
      const x = Math.round(xOf(at)) + 0.5;
      line(context, x, top, x, layout.height);
    }
  });
  context.setLineDash([]);
}

function drawFault(context, fault, lane) {
  const from = xOf(fault.from), to = Math.max(xOf(fault.to ?? END), from + 2);
  if (to < layout.left || from > layout.width) return;
  const y = SIZE.axis + lane * SIZE.fault;
  context.fillStyle = context.strokeStyle = colour('fault');
  context.strokeRect(from + 0.5, y + 1.5, to - from - 1, SIZE.fault - 3);
  context.globalAlpha = 0.25;
  context.fillRect(from, y + 1, to - from, SIZE.fault - 2);
  context.globalAlpha = 1;
  context.fillStyle = colour('ink');
  context.textAlign = 'left';
  const begin = Math.max(from, layout.left), text = `${fault.kind} ${fault.what}`;
  // A short fault's label stands to its right: its lane is free there.
  const inside = to - begin - 8, beside = Math.min(xOf(fault.from + END / 12), layout.width) - to - 6;
  const fits = context.measureText(text).width <= inside || inside >= beside;
  context.fillText(cut(context, text, fits ? inside : beside), fits ? begin + 4 : to + 4, y + SIZE.fault / 2);
}

function drawLeaders(context, y) {
  for (const span of LEADERS) {
    const from = Math.max(xOf(span.from), layout.left), to = Math.min(xOf(span.to), layout.width);
    if (to < layout.left || from > layout.width) continue;
    context.fillStyle = context.strokeStyle = colour(span.leader === 0 ? 'bad' : 'ink');
    context.globalAlpha = span.leader === 0 ? 0.35 : 0.06 + 0.1 * (span.leader % 4);
    context.fillRect(from, y + 2, Math.max(to - from - 1, 1), SIZE.leader - 4);
    context.globalAlpha = 1;
    context.fillRect(from, y + 2, 1, SIZE.leader - 4);
    context.fillStyle = colour('ink');
    context.textAlign = 'left';
    const text = span.leader === 0 ? 'nobody' : `n${span.leader}, term ${span.term}`;
    const short = span.leader === 0 ? '' : `n${span.leader}`;
    const room = to - from - 6;
    const fits = context.measureText(text).width <= room ? text : cut(context, short, room);
    context.fillText(fits, from + 4, y + SIZE.leader / 2);
  }
}

function drawScrollbar(context) {
  const part = layout.body / layout.content;
  context.globalAlpha = 0.5;
  context.fillStyle = colour('quiet');
  context.fillRect(layout.width - 6, layout.head + VIEW.scroll * part, 4, layout.body * part);
  context.globalAlpha = 1;
}

// The whole run: how much was asked when, faults, violations, and the part that the timeline shows.
function drawMinimap() {
  const canvas = $('minimap');
  const context = fit(canvas);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const x = (time) => (time / END) * width;
  const density = new Float64Array(Math.ceil(width) + 1), bad = new Float64Array(density.length);
  for (let at = 0; at < OPS.count; at++) {
    const px = Math.floor(x(OPS.call[at]));
    density[px] += 1;
    if (OPS.outcome[at] !== 0) bad[px] += 1;
  }
  const most = density.reduce((most, one) => Math.max(most, one), 1);
  faultBands(context, x, 0, height);
  for (let px = 0; px < density.length; px++) {
    const tall = ((height - 8) * density[px]) / most, pale = ((height - 8) * bad[px]) / most;
    context.fillStyle = colour('c8');
    context.fillRect(px, height - tall, 1, tall);
    context.fillStyle = colour('line');
    context.fillRect(px, height - tall, 1, pale);
  }
  context.fillStyle = colour('bad');
  for (const at of BROKEN.keys()) {
    context.fillRect(x(OPS.call[at]) - 1, 0, 3, height);
  }
  const from = x(VIEW.from), to = Math.max(x(VIEW.to), from + 3);
  context.strokeStyle = colour('link');
  context.lineWidth = 2;
  context.strokeRect(from + 1, 1, Math.max(to - from - 2, 1), height - 2);
  context.lineWidth = 1;
  context.globalAlpha = 0.45;
  context.fillStyle = colour('bg');
  context.fillRect(0, 0, from, height);
  context.fillRect(to, 0, width - to, height);
  context.globalAlpha = 1;
}
