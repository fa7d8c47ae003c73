// Numbers, times and spans as text for people. Times are those of the browser's clock and zone.

const whole = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
const one = new Intl.NumberFormat('en', {maximumFractionDigits: 1});

// number is a count; what is not known is a dash.
export function number(n) {
  return Number.isFinite(n) ? whole.format(n) : '–';
}

// share is a part of a whole in percent.
export function share(part, all) {
  if (!(all > 0)) return '–';
  const percent = 100 * part / all;
  return `${percent > 0 && percent < 10 ? one.format(percent) : whole.format(percent)}\u00a0%`;
}

// milliseconds is a time that something took.
export function milliseconds(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms > 0 && ms < 0.1) return '<\u00a00.1\u00a0ms';
  if (ms >= 10_000) return `${one.format(ms / 1000)}\u00a0s`;
  return ms < 10 ? `${one.format(ms)}\u00a0ms` : `${whole.format(ms)}\u00a0ms`;
}

// took is how long a decision took, which the journal has in whole milliseconds.
export function took(ms) {
  return ms > 0 ? milliseconds(ms) : '<\u00a01\u00a0ms';
}

// octets is a size.
export function octets(n) {
  if (!Number.isFinite(n)) return '–';
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
    if (n >= size) return `${one.format(n / size)} ${unit}`;
  }
  return `${n} octets`;
}

const two = (n) => String(n).padStart(2, '0');

// clock is the time of day, with seconds; of another day, its date stands before.
export function clock(text, now = new Date()) {
  const t = new Date(text);
  if (!text || Number.isNaN(t.getTime())) return '–';
  const time = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return t.toDateString() === now.toDateString() ? time : `${day(t)} ${time}`;
}

// minute is a date with hours and minutes.
export function minute(text) {
  const t = new Date(text);
  if (!text || Number.isNaN(t.getTime())) return '–';
  return `${day(t)} ${two(t.getHours())}:${two(t.getMinutes())}`;
}

function day(t) {
  return `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
}

// span is a time in its largest unit: "3 min".
export function span(seconds) {
  for (const [unit, size] of [['d', 86_400], ['h', 3600], ['min', 60]]) {
    if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))}\u00a0s`;
}

// until is a time to come, with how long that is; "for good" without one.
export function until(text, now = Date.now()) {
  if (!text) return 'for good';
  const left = (new Date(text).getTime() - now) / 1000;
  return left > 0 ? `${minute(text)} (in ${span(left)})` : `${minute(text)} (past)`;
}

// since is a time that has passed, with how long ago.
export function since(text, now = Date.now()) {
  if (!text) return '–';
  return `${minute(text)} (${span((now - new Date(text).getTime()) / 1000)} ago)`;
}
