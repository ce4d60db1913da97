'use strict';
// What stands in words and tables.

function showVerdict() {
  const { about, verdict, counts } = DATA;
  document.title = about.title ? `${about.title} · Quorate` : 'Quorate report';
  const facts = [
    [counts.operations, 'operations'], [counts.ok, 'answered'], [counts.failed, 'not done, for sure'],
    [counts.unknown, 'outcome unknown'], [counts.sessions, 'client sessions'],
    [`${counts.landed} / ${counts.faults}`, 'faults that had an effect'],
    [counts.elections, 'changes of leader'], [counts.deliveries, 'watch deliveries'],
  ];
  const promised = keptPromises();
  $('verdict').append(
    el('h1', {}, about.title || 'A recorded history'),
    el('div', { class: `verdict ${verdict}` },
      el('strong', { style: 'font-size:1.2rem' }, DATA.headline),
      promised ? el('p', {}, promised) : null,
      DATA.remarks.length ? el('ul', {}, DATA.remarks.map((remark) => el('li', {}, remark))) : null,
      DATA.witness === null ? null : witness(DATA.violations[DATA.witness])),
    el('div', { class: 'facts' },
      facts.map(([value, name]) => el('div', {},
        el('b', {}, typeof value === 'number' ? grouped(value) : value), el('span', {}, name)))),
    conditions(about));
}

function keptPromises() {
  let checked = 0, kinds = 0;
  const tallies = [...DATA.levels.flatMap((level) => level.cells), ...DATA.promises.map((promise) => promise.tally)];
  for (const tally of tallies) {
    if (tally && tally.promised && tally.violations === 0 && tally.checked > 0) {
      checked += tally.checked;
      kinds += 1;
    }
  }
  return kinds === 0 ? '' : `${plural(kinds, 'promise was', 'promises were')} kept without exception, in ` +
    `${plural(checked, 'test', 'tests')}. The table below has each.`;
}

function witness(violation) {
  return el('div', { class: 'witness' },
    el('strong', { class: 'reason' }, violation.anomaly),
    violation.level ? ` at level ${violation.level}. ` : '. ',
    violation.says, el('p', {}, violation.why),
    el('p', {}, link('Show it in the timeline', () => showViolation(DATA.witness))));
}

function conditions(about) {
  const bound = about.clock_bound;
  const rows = [
    ['Command', about.command && el('code', {}, about.command)],
    ['Started', about.started],
    ['Seed', about.seed !== undefined && String(about.seed)],
    ['Members', about.nodes !== undefined && String(about.nodes)],
    ['Clock bound', typeof bound === 'number' &&
      `leases allow for clock rates that differ by ${Number((bound * 100).toFixed(3))} %`],
    ['Length', seconds(TIME.end)],
    ['Complete', about.complete ? 'every change of the store is in this history'
      : 'not every change of the store is in this history'],
  ];
  return el('dl', { class: 'about' },
    rows.filter(([, value]) => value).map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

const CELLS = {
  good: 'promised, and kept', bad: 'promised, and broken', excused: 'not given, and excused: an assumption was broken',
  loose: 'not promised, and not always given', free: 'not promised, and given all the same',
};
function kind(tally) {
  if (!tally || tally.checked === 0) return 'none';
  if (!tally.promised) return tally.violations > 0 ? 'loose' : 'free';
  if (tally.violations > tally.excused) return 'bad';
  return tally.excused > 0 ? 'excused' : 'good';
}

function cell(level, guarantee, tally, element = 'td') {
  const what = kind(tally);
  const attributes = { class: `cell ${what}`, 'data-name': guarantee.name };
  if (what === 'none') {
    return el(element, attributes, tally && tally.promised ? 'promised, never put to the test' : '–');
  }
  const counted = tally.violations > 0
    ? `${grouped(tally.violations)} of ${grouped(tally.checked)}, ${share(tally.violations, tally.checked)}`
    : `${grouped(tally.checked)} checked`;
  const broken = tally.violations - tally.excused;
  const words = {
    good: '✓ kept', free: '○ held here', loose: `△ not given ${grouped(tally.violations)} times`,
    bad: `✗ broken ${plural(broken, 'time', 'times')}`,
    excused: `◇ excused ${plural(tally.excused, 'time', 'times')}`,
  };
  const notes = [];
  if (what === 'loose' || what === 'free') notes.push('Not promised.');
  if (tally.excused > 0) {
    notes.push(`${what === 'bad' ? `${grouped(tally.excused)} more excused: ` : ''}${tally.assumption || ''}`);
  }
  return el(element, attributes, el('b', {}, words[what]), el('span', { class: 'of' }, counted),
    notes.map((note) => el('div', {}, note)),
    tally.worst ? el('div', {}, link(worstText(tally.worst), () => showCase({
      title: `${level.name}: the worst case of ${guarantee.name}`,
      why: tally.worst.why, operations: tally.worst.operations, bad: what === 'bad',
    }))) : null);
}

function worstText(worst) {
  if (worst.stale_ms > 0) return `worst: ${millis(worst.stale_ms)} old`;
  return 'see the worst';
}

const levelHead = (level) => el('th', { scope: 'row' },
  level.class === null ? null : swatch(level.class), level.name, el('span', { class: 'says' }, level.says));

function showMatrix() {
  const levels = DATA.levels.filter((level) => level.cells.some((cell) => cell));
  if (DATA.guarantees.length === 0) {
    $('matrix').append(el('p', { class: 'note' }, 'No guarantee was counted in this history.'));
    return;
  }
  $('matrix-key').append(...Object.entries(CELLS).map(([what, text]) =>
    el('span', {}, el('i', { class: `swatch cell ${what}` }), text)));
  $('matrix').append(el('div', { class: 'scroll' }, el('table', { class: 'matrix cards' },
    el('thead', {}, el('tr', {}, el('th', { class: 'corner' }, 'Level'),
      DATA.guarantees.map((guarantee) => el('th', { scope: 'col' }, guarantee.name,
        el('span', { class: 'says' }, guarantee.says))))),
    el('tbody', {}, levels.map((level) => el('tr', {}, levelHead(level),
      level.cells.map((tally, at) => cell(level, DATA.guarantees[at], tally))))))));
}

function showPromises() {
  if (DATA.promises.length === 0) return;
  const card = ({ subject, name, says, tally }) => el('div', { class: 'promise' },
    el('b', {}, `${subject}: ${name}`), el('span', { class: 'quiet small' }, says),
    cell({ name: subject }, { name }, tally, 'div'));
  $('promises').append(el('h3', {}, 'Watches, leases and locks'),
    el('div', { class: 'promises' }, DATA.promises.map(card)));
}

// A table whose rows become cards where there is little room. Columns: [name, what it says, right?].
function table(columns, rows, kind) {
  return el('div', { class: 'scroll' }, el('table', { class: `cards plain ${kind || ''}` },
    el('thead', {}, el('tr', {}, columns.map(([name, says, right]) =>
      el('th', { scope: 'col', class: right ? 'right' : '' }, name,
        says ? el('span', { class: 'says' }, says) : null)))),
    el('tbody', {}, rows.map((cells) => el('tr', {}, cells.map((cell, at) => cell instanceof HTMLElement &&
      (cell.tagName === 'TH' || cell.tagName === 'TD') ? cell
      : el('td', { class: columns[at][2] ? 'right' : '', 'data-name': columns[at][0] }, cell)))))));
}

const measured = () => DATA.levels.filter((level) => level.class !== null && total(costOf(level)) > 0);
const costOf = (level) => DATA.contrast.costs[level.class];
const total = (cost) => cost.ok + cost.failed + cost.unknown;

function showCosts() {
  const columns = [
    ['Level'], ['operations', '', true], ['latency p50', '', true], ['latency p99', '', true],
    ['stale answers', '', true], ['age p50', 'of the stale', true], ['age p99', 'of the stale', true],
    ['oldest', '', true], ['changes missed', 'p50 · p99 · most', true],
  ];
  const rows = measured().map((level) => {
    const cost = costOf(level), stale = cost.stale;
    const age = stale ? [
      `${share(stale.reads, cost.ok)} (${grouped(stale.reads)})`, millis(stale.p50_ms), millis(stale.p99_ms),
      link(millis(stale.max_ms), () => showCase({
        title: `${level.name}: the oldest answer`, operations: [stale.worst], bad: false,
        why: `The first change that it missed had been acknowledged ${millis(stale.max_ms)} before it was called.`,
      })),
      `${stale.p50_revisions} · ${stale.p99_revisions} · ${stale.max_revisions}`,
    ] : [level.class < 8 && cost.ok > 0 ? 'none' : '–', '–', '–', '–', '–'];
    return [levelHead(level), grouped(total(cost)), millis(cost.p50_ms), millis(cost.p99_ms), ...age];
  });
  $('costs').append(rows.length ? table(columns, rows) : el('p', { class: 'note' }, 'No operation was recorded.'));
}

function showAvailability() {
  const phases = DATA.contrast.phases;
  const columns = [['Level'], ...phases.map((phase) =>
    [phase.faults > 0 ? `${phase.name} ×${phase.faults}` : phase.name, phase.says])];
  const rows = measured().map((level) => [
    el('th', { scope: 'row' }, swatch(level.class), level.name),
    ...costOf(level).phases.map(([asked, ok], at) => answered(asked, ok, columns[at + 1][0])),
  ]);
  $('availability').append(rows.length ? table(columns, rows, 'even') : '');
}

function answered(asked, ok, name) {
  const rate = asked === 0 ? 0 : ok / asked;
  const low = rate < 0.5 ? 'bad' : rate < 0.99 ? 'low' : '';
  return el('td', { 'data-name': name, title: `${grouped(ok)} of ${grouped(asked)} answered`, class: 'num' },
    share(ok, asked), asked === 0 ? null : el('span', { class: 'quiet small of' }, ` of ${grouped(asked)}`),
    asked === 0 ? null : el('span', { class: `meter ${low}` },
      el('i', { style: `width:${(100 * rate).toFixed(1)}%` })));
}

function showFindings() {
  $('violations').append(DATA.violations.length === 0
    ? el('p', { class: 'note' }, 'No broken promise was found.')
    : el('ol', { class: 'violations' }, DATA.violations.map(violationItem)), more());
  $('tiers').append(table(
    [['tier'], ['looked at', '', true], ['broken', '', true], ['verdict'], ['took', '', true]],
    DATA.tiers.map((tier) => [el('th', { scope: 'row' }, tier.name, el('span', { class: 'says' }, tier.says)),
      grouped(tier.checked), grouped(tier.violations), tierVerdict(tier),
      tier.took_ms > 0 ? millis(tier.took_ms) : '–']), 'tiers'));
  $('faults').append(DATA.faults.length === 0 ? el('p', { class: 'note' }, 'Nothing.') : table(
    [['fault'], ['what'], ['from', '', true], ['to', '', true], ['had an effect'], ['breaks']],
    DATA.faults.map((fault) => [
      el('th', { scope: 'row' }, link(fault.kind, () => showWindow(fault.from, fault.to ?? END)),
        el('span', { class: 'says' }, fault.says)),
      fault.what || fault.nodes.map((node) => `n${node}`).join(' '), seconds(fault.from),
      fault.to === null ? 'the end' : seconds(fault.to), fault.landed ? 'yes' : 'not seen', fault.breaks || '–'])));
  $('finals').append(DATA.finals.length === 0 ? el('p', { class: 'note' }, 'Not recorded.') : table(
    [['member'], ['revision', '', true], ['hash of the state'], ['']],
    DATA.finals.map((state) => [`n${state.node}`, grouped(state.revision), el('code', {}, state.hash), same(state)])));
}

function tierVerdict({ verdict, note, checked }) {
  const word = verdict === 'ok' && checked === 0 ? 'nothing to check' : verdict;
  return note ? `${word}: ${note}` : word;
}
const same = (state) => DATA.finals.every((other) => other.hash === state.hash && other.revision === state.revision)
  ? 'the same everywhere' : 'differs';

// Of one name only some are kept.
function more() {
  const counted = DATA.tiers.reduce((sum, tier) => sum + tier.violations, 0) - DATA.violations.length;
  if (counted <= 0) return '';
  return el('p', { class: 'note' }, `${grouped(counted)} more of these names were counted and are not listed.`);
}

function violationItem(violation, number) {
  return el('li', {},
    el('p', {}, el('strong', { class: 'reason' }, violation.anomaly), ' ',
      el('span', { class: 'tag' }, violation.tier), ' ',
      violation.level ? el('span', { class: 'tag' }, violation.level) : null),
    el('p', { class: 'quiet' }, violation.says), el('p', {}, violation.why),
    violation.operations.length === 0 ? null : el('p', {}, link('Show in the timeline', () => showViolation(number)),
      ' · ', violation.operations.map((index) => [operationLink(index), ' '])));
}

const operationLink = (index) => PLACE.has(index)
  ? link(`#${index}`, () => showOperation(PLACE.get(index))) : `#${index}`;
