// Now: does mail pass, how much of it, what was refused, how long it took.

import {el, fill, select, field} from './dom.js';
import {get, post, Problem} from './api.js';
import {number, share, milliseconds, minute, clock} from './format.js';
import {fault} from './dialog.js';
import {headline, health, relay} from './health.js';
import {because, decision} from './words.js';
import {chart} from './chart.js';
import {table} from './table.js';

const hour = 60; // points of the history

// show fills root with the view, and keeps it as it is now.
export async function show(root, {signal, every}) {
  const head = el('p', {class: 'headline', 'aria-live': 'polite'});
  const parts = el('div');
  const upstreams = el('div');
  const tiles = el('dl', {class: 'tiles'});
  const past = pastOf(signal);
  const last = table({
    caption: 'Refused last', empty: 'Nobody was refused yet. Refusals appear here with the reason for each.',
    columns: [
      {head: 'Time', cell: (e) => clock(e.time)},
      {head: 'Recipient', cell: (e) => e.recipient ?? '–', wide: true},
      {head: 'Decision', cell: decision},
      {head: 'Why', cell: because, wide: true},
      {head: 'Evidence', cell: (e) => e.ref ? el('a', {href: `#/decisions/${e.ref}`}, e.ref) : '–'},
    ],
  });
  let status;
  let said = '';
  let sum = null; // of the last hour; null: the gate keeps no history

  const tell = () => {
    const line = headline(status);
    if (line.textContent !== said) fill(head, line);
    said = line.textContent;
    fill(parts, health(status));
    fill(upstreams, relay(status));
    fill(tiles, tilesOf(status, sum));
  };
  const look = async () => {
    try {
      // Only as much as is shown: a whole day is a quarter of a megabyte.
      const {points} = await post('/v1/history', {points: past.wanted() + 1}, signal);
      past.set(points);
      sum = sumOf(points.slice(-hour));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
    }
    if (status) tell();
  };
  past.onrange(() => look().catch((error) => { if (!signal.aborted) fault(error); }));
  await every(15, look);
  await every(5, async () => {
    const [answer, refusals] = await Promise.all([get('/v1/status', signal),
      post('/v1/decisions/search', {kind: 'recipient', refused: true, limit: 8}, signal)]);
    status = answer;
    last.set(refusals.entries);
    tell();
  });
  fill(root, el('h1', null, 'Now'), head, tiles, past.element, last.element,
    el('section', null, el('h2', null, 'Health'), parts), upstreams, about(status));
}

function about(status) {
  const policy = status.policy === 'shadow'
    ? 'In shadow mode: nobody is refused, it is only written down who would be.' : 'Refusals are enforced.';
  return el('p', {class: 'about'}, `rcptgate ${status.version}, running since ${minute(status.started)}. `,
    policy, status.mode === 'passive' ? ' Passive: no mail server is asked.' : '');
}

// sumOf adds points up. Times to answer are those of the last minute with recipients.
function sumOf(points) {
  const sum = {minutes: points.length};
  for (const point of points) {
    for (const [key, value] of Object.entries(point)) {
      if (Number.isFinite(value) && !key.endsWith('_ms')) sum[key] = (sum[key] ?? 0) + value;
    }
    if (point.accepted + point.rejected + point.deferred > 0) sum.busy = point;
  }
  return sum;
}

function tile(name, value, more) {
  return el('div', {class: 'tile'}, el('dt', null, name), el('dd', null, value, more && el('small', null, more)));
}

function tilesOf(status, sum) {
  const tiles = [];
  if (sum) {
    const all = (sum.accepted ?? 0) + (sum.rejected ?? 0) + (sum.deferred ?? 0);
    const memory = (sum.cache_hits ?? 0) + (sum.cache_misses ?? 0);
    tiles.push(
      tile('Recipients, last hour', number(all), `${number(sum.messages ?? 0)} messages passed`),
      tile('Refused', number(sum.rejected ?? 0), share(sum.rejected ?? 0, all)),
      tile('Deferred', number(sum.deferred ?? 0), share(sum.deferred ?? 0, all)),
      tile('Time to answer', milliseconds(sum.busy?.rcpt_p50_ms), `95 of 100 within ${milliseconds(sum.busy?.rcpt_p95_ms)}`),
      tile('Known from memory', share(sum.cache_hits ?? 0, memory), `${number(sum.probes ?? 0)} mail servers asked`),
      tile('Probes refused', number(sum.blocked ?? 0), 'for our address or sender'),
    );
  }
  const states = status.senders ?? {};
  const total = (counts) => Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
  tiles.push(
    tile('Senders held', number(states.hold ?? 0), el('a', {href: '#/senders'}, `${number(states.throttle ?? 0)} throttled`)),
    tile('Suppressed addresses', number(total(status.suppressions)), `${number(total(status.suppressed))} recipients refused by it`),
    tile('Overrides in force', number(status.overrides), el('a', {href: '#/overrides'}, 'see them')),
  );
  if (sum?.relay_failures) tiles.push(tile('Messages no relay took', number(sum.relay_failures), 'in the last hour'));
  if (status.journal?.lost || status.journal?.unsaved) {
    tiles.push(tile('Journal entries lost', number(status.journal.lost + status.journal.unsaved), 'is the disk full?'));
  }
  return tiles;
}

// pastOf is the pictures of the last hours.
function pastOf(signal) {
  const rates = chart({
    title: 'Recipients a minute', format: number, series: [
      {label: 'accepted', key: 'accepted', colour: 'ok'}, {label: 'deferred', key: 'deferred', colour: 'warn'},
      {label: 'refused', key: 'rejected', colour: 'bad'},
    ],
  });
  const times = chart({
    title: 'Time to answer a recipient', format: milliseconds, series: [
      {label: 'half of them within', key: 'rcpt_p50_ms', colour: 'accent'},
      {label: '95 of 100 within', key: 'rcpt_p95_ms', colour: 'other'},
    ],
  });
  const range = select('range', [['60', 'Last hour'], ['360', 'Last 6 hours'], ['1440', 'Last 24 hours']], '60');
  rates.follow(signal);
  times.follow(signal);
  const few = el('p', {class: 'empty'});
  const element = el('section', {class: 'past', 'aria-label': 'The last hours', hidden: true},
    field('Show', range), few, el('div', {class: 'charts'}, rates.element, times.element));
  return {
    element,
    wanted: () => Number(range.value),
    onrange(fn) { range.addEventListener('change', fn); },
    set(list) {
      // The last minute is not over: its counts would look like a fall.
      const points = list.filter((point) => !point.open);
      element.hidden = false;
      fill(few, points.length < 2 ? 'The gate has just started: lines appear when two minutes are over.' : '');
      few.hidden = points.length >= 2;
      rates.set(points);
      times.set(points);
    },
  };
}
