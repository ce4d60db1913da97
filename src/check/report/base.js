'use strict';
// The data, and what all parts use: columns, elements, numbers, colours.

const DATA = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);

// A column of column.rs: digits of base 64, differences, or numbers.
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
function column(data) {
  if (typeof data === 'string') {
    const values = new Uint8Array(128);
    for (let at = 0; at < 64; at++) values[DIGITS.charCodeAt(at)] = at;
    return Uint8Array.from({ length: data.length }, (_, at) => values[data.charCodeAt(at)]);
  }
  if (Array.isArray(data)) return Float64Array.from(data);
  let sum = 0;
  return Float64Array.from(data.d, (difference) => (sum += difference));
}

// An object whose columns are unpacked; arrays of texts stay.
function columns(packed, texts) {
  const unpacked = {};
  for (const [name, data] of Object.entries(packed)) {
    unpacked[name] = texts.includes(name) ? data : column(data);
  }
  return unpacked;
}

const TIME = DATA.timeline;
const OPS = columns(TIME.operations,
  ['detail', 'verbs', 'subjects', 'reasons', 'parts', 'roles', 'mechanisms']);
OPS.count = OPS.call.length;
const DELIVERIES = columns(TIME.deliveries, ['detail']);
const STALE = columns(TIME.stale, []);
const END = Math.max(TIME.end, 1);

// Operations are named by index in findings, and drawn by place.
const PLACE = new Map();
for (let at = 0; at < OPS.count; at++) PLACE.set(OPS.index[at], at);
const STALE_AT = new Map();
for (let at = 0; at < STALE.index.length; at++) STALE_AT.set(PLACE.get(STALE.index[at]), at);

// Violations by the place of each operation that shows them.
const BROKEN = new Map();
DATA.violations.forEach((violation, number) => {
  for (const index of violation.operations) {
    const at = PLACE.get(index);
    if (at === undefined) continue;
    if (!BROKEN.has(at)) BROKEN.set(at, []);
    BROKEN.get(at).push(number);
  }
});

// An element. Text stays text: values of the history never become markup.
function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === 'class') element.className = value;
    else if (key === 'style') element.style.cssText = value;
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}
const link = (text, action) => el('button', { type: 'button', class: 'link', onclick: action }, text);
const swatch = (at) => el('i', { class: 'swatch', style: `background:var(--c${at})` });

const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ',');
const plural = (count, one, many) => `${grouped(count)} ${count === 1 ? one : many}`;
// Microseconds as seconds, with as many digits as a window of that width needs.
function seconds(micros, width) {
  const digits = width === undefined ? 3 : Math.max(0, Math.min(6, 7 - Math.floor(Math.log10(Math.max(width, 1)))));
  return `${(micros / 1e6).toFixed(digits)} s`;
}
function millis(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 1) return `${ms.toFixed(1)} ms`;
  return `${ms.toFixed(2)} ms`;
}
function share(part, whole) {
  if (whole === 0) return '–';
  const percent = (100 * part) / whole;
  if (part === whole) return '100 %';
  if (part === 0) return '0 %';
  // Never rounded to all or nothing.
  return `${Math.min(99.99, Math.max(0.01, percent)).toFixed(percent > 99 || percent < 1 ? 2 : 1)} %`;
}

// Colours of the style sheet, resolved for canvases.
let colours = new Map();
function colour(name) {
  if (!colours.has(name)) {
    const probe = el('i', { style: `color:var(--${name})` });
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

// A canvas of its CSS size in the device's pixels.
function fit(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 600;
  if (height !== undefined) canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, canvas.clientHeight);
  context.font = '11px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
  context.textBaseline = 'middle';
  return context;
}

// Round steps for an axis of that width in microseconds.
function ticks(from, to, count) {
  const rough = (to - from) / Math.max(count, 1);
  const base = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((times) => times * base).find((step) => step >= rough) || base * 10;
  const marks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) marks.push(at);
  return { step, marks };
}
