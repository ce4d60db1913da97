'use strict';
// What people do: move, zoom, choose, follow links; and the address that keeps it.

const WINDOW_MIN = 50;
let planned = false;
function redraw() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    drawTimeline();
    drawMinimap();
    remember();
  });
}

function setWindow(from, to) {
  const width = Math.min(Math.max(to - from, WINDOW_MIN), END);
  VIEW.from = Math.min(Math.max(from, 0), END - width);
  VIEW.to = VIEW.from + width;
  redraw();
}
function zoom(factor, x) {
  const width = VIEW.to - VIEW.from;
  const at = x === undefined ? VIEW.from + width / 2 : timeAt(x);
  const next = Math.min(Math.max(width * factor, WINDOW_MIN), END);
  setWindow(at - ((at - VIEW.from) / width) * next, at + ((VIEW.to - at) / width) * next);
}
const move = (part) => {
  const by = (VIEW.to - VIEW.from) * part;
  setWindow(VIEW.from + by, VIEW.to + by);
};
const scrollBy = (pixels) => {
  VIEW.scroll += pixels;
  redraw();
};

function reveal() {
  const bar = document.querySelector('#time .bar').getBoundingClientRect();
  if (bar.top < 0 || bar.top > window.innerHeight * 0.4) {
    document.querySelector('#time .bar').scrollIntoView({ block: 'start' });
  }
  $('timeline').focus({ preventScroll: true });
}
function showWindow(from, to) {
  const pad = Math.max((to - from) * 0.25, 15000);
  setWindow(from - pad, to + pad);
  reveal();
}

// Brings the rows of these operations into sight.
function scrollTo(places) {
  measure();
  const tops = places.map((at) => SESSION_ROWS[OPS.row[at]].y);
  const top = Math.min(...tops), bottom = Math.max(...tops) + layout.lane;
  if (top < VIEW.scroll + 10 || bottom > VIEW.scroll + layout.body) VIEW.scroll = Math.max(0, top - 30);
}

// A case: some operations and what they show.
function showCase({ title, why, operations, bad, says }) {
  const places = operations.map((index) => PLACE.get(index)).filter((at) => at !== undefined);
  VIEW.marked = new Set(places);
  $('case').replaceChildren(el('div', { class: `panel ${bad ? 'bad' : 'loose'}` },
    el('p', {}, el('strong', { class: bad ? 'reason' : '' }, title)), says ? el('p', { class: 'quiet' }, says) : null,
    el('p', {}, why),
    el('ol', { class: 'ops' }, places.map((at) => el('li', {}, link(`#${OPS.index[at]}`, () => showOperation(at)),
      ` ${summary(at)}`)))));
  if (places.length === 0) return void reveal();
  choose(places[0]);
  scrollTo(places);
  showWindow(Math.min(...places.map((at) => OPS.call[at])), Math.max(...places.map(opEnd)));
}
let violationShown = -1;
function showViolation(number) {
  const violation = DATA.violations[number];
  violationShown = number;
  const level = violation.level ? ` at level ${violation.level}` : '';
  showCase({ ...violation, title: `${violation.anomaly}${level} (${violation.tier})`, bad: true });
}
function showOperation(at) {
  if (at === undefined) return;
  choose(at);
  scrollTo([at]);
  showWindow(OPS.call[at] - 30000, opEnd(at) + 30000);
}

// Violations in order of time.
const BY_TIME = DATA.violations.map((_, number) => number).sort((a, b) => began(a) - began(b));
function began(number) {
  const calls = DATA.violations[number].operations.map((index) => OPS.call[PLACE.get(index)]);
  return Math.min(...calls.filter((call) => call !== undefined), END);
}
function stepViolation(by) {
  if (BY_TIME.length === 0) return;
  const here = BY_TIME.indexOf(violationShown);
  const next = here < 0 ? (by > 0 ? 0 : BY_TIME.length - 1) : (here + by + BY_TIME.length) % BY_TIME.length;
  showViolation(BY_TIME[next]);
}

const OUTCOMES = ['answered', 'not done, for sure', 'unknown: may have been done, may yet be, or never'];
function summary(at) {
  const outcome = OPS.outcome[at] === 0 ? '' : ` (${OUTCOMES[OPS.outcome[at]]})`;
  return `${OPS.verbs[OPS.verb[at]]} ${OPS.subjects[OPS.subject[at]]} ${OPS.detail[at]}${outcome}, ` +
    `session ${OPS.session[at]}, ${seconds(OPS.call[at])} to ${seconds(opEnd(at))}`;
}
// All that is known of an operation: [name, value].
function known(at) {
  const level = DATA.classes[OPS.class[at]].name, asked = OPS.asked[at];
  const more = { bounded: `, at most ${millis(asked / 1000)} old`, session: `, at least revision ${grouped(asked)}` };
  const served = OPS.served[at] ? DATA.classes[OPS.served[at] - 1].name : '';
  const stale = STALE_AT.get(at);
  const reason = OPS.reasons[OPS.reason[at]];
  const node = OPS.node[at] ? `n${OPS.node[at]}` : '', term = OPS.term[at] ? `term ${OPS.term[at]}` : '';
  return [
    ['operation', `#${OPS.index[at]} ${OPS.verbs[OPS.verb[at]]} ${OPS.subjects[OPS.subject[at]]} ${OPS.detail[at]}`],
    ['outcome', OUTCOMES[OPS.outcome[at]] + (reason ? `: ${reason}` : '')],
    ['broken', (BROKEN.get(at) || []).map((number) => DATA.violations[number])
      .map((violation) => `${violation.anomaly}: ${violation.why}`).join(' ')],
    ['called', `${seconds(OPS.call[at], 1)}, took ${millis(OPS.took[at] / 1000)}`],
    ['level', OPS.class[at] < 8 ? level + (more[level] || '') : ''],
    ['served', served && served !== level ? served : ''],
    ['proved by', OPS.mechanisms[OPS.mechanism[at]]],
    ['answered by', [node, OPS.roles[OPS.role[at]], term].filter(Boolean).join(', ')],
    ['revision', OPS.revision[at] ? grouped(OPS.revision[at]) : ''],
    ['applied', OPS.applied[at] ? `index ${grouped(OPS.applied[at])}` : ''],
    ['proved age', OPS.bound[at] ? `at most ${millis((OPS.bound[at] - 1) / 1000)}` : ''],
    ['was stale', stale === undefined ? '' : `by ${millis(STALE.stale[stale] / 1000)}, ` +
      plural(STALE.revisions[stale], 'change', 'changes')],
    ['stored', OPS.stored[at] ? 'the answer of an earlier attempt' : ''],
    ['client', `session ${OPS.session[at]}, process ${OPS.process[at]}`],
    ['part', OPS.parts[OPS.part[at]]],
  ].filter(([, value]) => value);
}
const fields = (pairs) => el('dl', { class: 'fields' },
  pairs.map(([name, value]) => [el('dt', {}, name), el('dd', { class: name === 'broken' ? 'reason' : '' }, value)]));

function choose(at) {
  VIEW.chosen = at;
  $('details').replaceChildren(...(at === null ? [] : [el('div', { class: 'panel' }, fields(known(at)))]));
  redraw();
}
// The neighbour of the chosen operation in its lane.
function stepOperation(by) {
  if (VIEW.chosen === null) return;
  const lane = SESSION_ROWS[OPS.row[VIEW.chosen]].lanes[OPS.lane[VIEW.chosen]];
  const next = lane[lane.indexOf(VIEW.chosen) + by];
  if (next === undefined) return;
  choose(next);
  if (OPS.call[next] < VIEW.from || opEnd(next) > VIEW.to) {
    const half = (VIEW.to - VIEW.from) / 2;
    setWindow(OPS.call[next] - half, OPS.call[next] + half);
  }
}

// What is under the pointer: {kind, at} of an operation, delivery, hold, fault or leader.
function under(x, y) {
  if (x < layout.left) return null;
  if (y < layout.head) return underHead(x, y);
  const row = ROWS.find((row) => y >= yOf(row) && y < yOf(row) + row.height);
  if (!row) return null;
  const lane = row.lanes[Math.min(Math.floor((y - yOf(row)) / layout.lane), row.lanes.length - 1)];
  const spans = {
    session: (at) => [OPS.call[at], opEnd(at)], watch: (at) => [DELIVERIES.at[at], DELIVERIES.at[at]],
    lock: (at) => [TIME.holds[at].from, holdEnd(at)],
  };
  const span = spans[row.kind], slack = ((VIEW.to - VIEW.from) / layout.scale) * 5, time = timeAt(x);
  let best = null, least = Infinity;
  for (let n = firstAfter(lane, time - slack, (at) => span(at)[1]); n < lane.length; n++) {
    const [from, to] = span(lane[n]);
    if (from > time + slack) break;
    // Among those that are near, a marked one is meant.
    const special = row.kind === 'session' && (BROKEN.has(lane[n]) || VIEW.marked.has(lane[n]));
    const distance = Math.max(from - time, time - to, 0) - (special ? slack : 0);
    if (distance < least && !(row.kind === 'session' && VIEW.hidden.has(OPS.class[lane[n]]))) {
      least = distance;
      best = { kind: row.kind, at: lane[n] };
    }
  }
  return best;
}
function underHead(x, y) {
  const time = timeAt(x);
  const lane = Math.floor((y - SIZE.axis) / SIZE.fault);
  const fault = DATA.faults.findIndex((fault, at) => FAULT_LANES.lane[at] === lane &&
    time >= fault.from && x <= Math.max(xOf(fault.to ?? END), xOf(fault.from) + 8));
  if (fault >= 0) return { kind: 'fault', at: fault };
  const leader = LEADERS.findIndex((span) => time >= span.from && time < span.to);
  return leader >= 0 && y > layout.head - SIZE.leader - SIZE.gap ? { kind: 'leader', at: leader } : null;
}

function told({ kind, at }) {
  if (kind === 'session') return known(at);
  if (kind === 'watch') {
    const node = DELIVERIES.node[at];
    return [['at', seconds(DELIVERIES.at[at], 1)], ['arrived', DELIVERIES.detail[at]],
      ['from', node ? `n${node}` : 'not known']];
  }
  if (kind === 'lock') {
    const hold = TIME.holds[at];
    return [['lock', hold.lock], ['holder', `process ${hold.process}, token ${hold.token}`],
      ['held', `${seconds(hold.from)} to ${hold.to === null ? 'an unknown time' : seconds(hold.to)}`]];
  }
  if (kind === 'leader') {
    const span = LEADERS[at];
    return [['leader', span.leader ? `n${span.leader} in term ${span.term}` : 'nobody'],
      ['seen', `${seconds(span.from)} to ${seconds(span.to)}`]];
  }
  const fault = DATA.faults[at];
  return [['fault', `${fault.kind} ${fault.what}`], ['', fault.says],
    ['from', `${seconds(fault.from)} to ${fault.to === null ? 'the end' : seconds(fault.to)}`],
    ['had an effect', fault.landed ? 'yes' : 'not seen'], ['breaks', fault.breaks || '']].filter(([, value]) => value);
}
function showTip(x, y) {
  const tip = $('tip');
  tip.hidden = !VIEW.hover;
  if (!VIEW.hover) return;
  tip.replaceChildren(fields(told(VIEW.hover)));
  const stage = $('stage').getBoundingClientRect();
  const left = Math.min(x + 14, stage.width - tip.offsetWidth - 4);
  const top = y + 18 + tip.offsetHeight > stage.height ? Math.max(2, y - tip.offsetHeight - 10) : y + 18;
  tip.style.left = `${Math.max(2, left)}px`;
  tip.style.top = `${top}px`;
}

function pointerActions() {
  const canvas = $('timeline'), pointers = new Map();
  let moved = false;
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    moved = false;
  });
  canvas.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId), here = [event.offsetX, event.offsetY];
    if (!before) {
      VIEW.hover = under(...here);
      showTip(...here);
      redraw();
      return;
    }
    if (!moved && Math.hypot(here[0] - before[0], here[1] - before[1]) < 4) return;
    moved = true;
    canvas.classList.add('moving');
    pointers.set(event.pointerId, here);
    if (pointers.size === 2) pinch(pointers, event.pointerId, before);
    else {
      move((before[0] - here[0]) / layout.scale);
      scrollBy(before[1] - here[1]);
    }
  });
  const lift = (event) => {
    canvas.classList.remove('moving');
    if (!pointers.delete(event.pointerId) || moved || event.type !== 'pointerup') return;
    const found = under(event.offsetX, event.offsetY);
    if (found && found.kind === 'session') choose(found.at);
    else if (found && found.kind === 'lock') choose(PLACE.get(TIME.holds[found.at].operation) ?? null);
    else if (found && found.kind === 'fault') showWindow(DATA.faults[found.at].from, DATA.faults[found.at].to ?? END);
    else choose(null);
  };
  canvas.addEventListener('pointerup', lift);
  canvas.addEventListener('pointercancel', lift);
  canvas.addEventListener('pointerleave', () => {
    VIEW.hover = null;
    showTip();
    redraw();
  });
  canvas.addEventListener('dblclick', (event) => zoom(0.4, event.offsetX));
  canvas.addEventListener('wheel', (event) => wheel(event, canvas), { passive: false });
}
function pinch(pointers, moving, before) {
  const other = [...pointers].find(([id]) => id !== moving)[1], here = pointers.get(moving);
  const wide = Math.abs(before[0] - other[0]), next = Math.abs(here[0] - other[0]);
  if (next > 10) zoom(wide / next, (here[0] + other[0]) / 2);
}
function wheel(event, canvas) {
  if (!(event.ctrlKey || event.metaKey || document.activeElement === canvas)) return;
  event.preventDefault();
  if (event.shiftKey) scrollBy(event.deltaY || event.deltaX);
  else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / layout.scale);
  else zoom(1.0015 ** event.deltaY, event.offsetX);
}

const KEYS = {
  '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), 0: () => setWindow(0, END),
  ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), ArrowUp: () => scrollBy(-40), ArrowDown: () => scrollBy(40),
  Home: () => setWindow(0, VIEW.to - VIEW.from), End: () => setWindow(END - (VIEW.to - VIEW.from), END),
  n: () => stepViolation(1), p: () => stepViolation(-1), ',': () => stepOperation(-1), '.': () => stepOperation(1),
  Escape: () => {
    VIEW.marked = new Set();
    $('case').replaceChildren();
    choose(null);
  },
};
function keyActions() {
  $('timeline').addEventListener('keydown', (event) => {
    const action = KEYS[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

function minimapActions() {
  const canvas = $('minimap');
  const go = (event) => {
    const width = VIEW.to - VIEW.from, at = (event.offsetX / canvas.clientWidth) * END;
    setWindow(at - width / 2, at + width / 2);
  };
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    go(event);
  });
  canvas.addEventListener('pointermove', (event) => event.buttons && go(event));
}

// What is drawn how; a class may be hidden.
function showLegend() {
  const shown = [...new Set(OPS.class)].sort((a, b) => a - b);
  $('legend').append(...shown.map(legendButton), ...[
    ['done', 'answered'], ['undone', 'not done'], ['open', 'outcome unknown: open to the right'],
    ['broken', 'breaks a promise'], ['fault', 'fault'],
  ].map(([shape, text]) => el('span', {}, el('i', { class: `shape ${shape}` }), text)));
}
function legendButton(at) {
  const toggle = (event) => {
    const hide = !VIEW.hidden.delete(at);
    if (hide) VIEW.hidden.add(at);
    event.currentTarget.setAttribute('aria-pressed', String(!hide));
    redraw();
  };
  const title = `Show or hide. ${DATA.classes[at].says}`;
  return el('button', { type: 'button', 'aria-pressed': 'true', title, onclick: toggle },
    swatch(at), DATA.classes[at].name);
}

// The address keeps what is seen: #t=12.3,15.1&op=17&theme=dark; v=0 is the first violation.
let restoring = true;
let remembering = 0;
function remember() {
  if (restoring) return;
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const parts = [];
    if (VIEW.to - VIEW.from < END) parts.push(`t=${(VIEW.from / 1e6).toFixed(6)},${(VIEW.to / 1e6).toFixed(6)}`);
    if (VIEW.chosen !== null) parts.push(`op=${OPS.index[VIEW.chosen]}`);
    if (theme()) parts.push(`theme=${theme()}`);
    if (parts.length || location.hash.includes('=')) history.replaceState(null, '', `#${parts.join('&')}`);
  }, 200);
}
function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  setTheme(asked.get('theme') || theme());
  if (asked.has('v') && DATA.violations[asked.get('v')]) showViolation(Number(asked.get('v')));
  const at = asked.has('op') ? PLACE.get(Number(asked.get('op'))) : undefined;
  if (at !== undefined) showOperation(at);
  const [from, to] = (asked.get('t') || '').split(',').map((time) => Number(time) * 1e6);
  if (to > from) {
    setWindow(from, to);
    reveal();
  }
}

// What was chosen: `dark`, `light`, or nothing.
const theme = () => document.documentElement.dataset.theme || '';
function isDark() {
  return theme() ? theme() === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}
function setTheme(chosen) {
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
  $('theme').textContent = isDark() ? 'Light' : 'Dark';
  drawAll();
}
function drawAll() {
  colours = new Map();
  drawStaleness();
  redraw();
}

function start() {
  showVerdict();
  showMatrix();
  showPromises();
  showCosts();
  showAvailability();
  showStaleness();
  showFindings();
  showLegend();
  const drawn = TIME.total > OPS.count
    ? ` ${grouped(OPS.count)} of ${grouped(TIME.total)} operations are drawn: ` +
      'all that findings name, and an even choice of the others.' : '';
  $('timeline-lead').append(drawn);
  $('previous').disabled = $('next').disabled = DATA.violations.length === 0;
  const actions = {
    'zoom-in': () => zoom(0.5), 'zoom-out': () => zoom(2), 'zoom-all': () => setWindow(0, END),
    previous: () => stepViolation(-1), next: () => stepViolation(1), theme: () => setTheme(isDark() ? 'light' : 'dark'),
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener('click', action);
  pointerActions();
  keyActions();
  minimapActions();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => setTheme(theme()));
  window.addEventListener('resize', drawAll);
  window.addEventListener('beforeprint', drawAll);
  window.addEventListener('hashchange', restore);
  restore();
  restoring = false;
}
start();
