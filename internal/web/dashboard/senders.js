// Senders: the hygiene of their lists, who is slowed down or held and why, and letting them go.

import {el, fill, select, field} from './dom.js';
import {post} from './api.js';
import {clock, number, share, since, until, minute} from './format.js';
import {fault, writer} from './dialog.js';
import {mark} from './words.js';
import {table} from './table.js';

const states = {
  ok: ['ok', 'ok'], warn: ['many invalid recipients', 'warn'], throttle: ['throttled', 'warn'], hold: ['held', 'bad'],
};

export async function show(root, {signal, every, go}) {
  const choice = select('state', [['', 'All'], ['hold', 'Held'], ['throttle', 'Throttled'],
    ['warn', 'Many invalid recipients'], ['ok', 'Ok']]);
  const total = el('p', {'aria-live': 'polite'});
  const list = table({
    caption: 'Senders, the worst first', empty: nobody(''),
    columns: [
      {head: 'Sender', cell: (s) => named(s, go), wide: true},
      {head: 'State', cell: state, wide: true},
      {head: 'Invalid, hour', num: true, cell: (s) => invalid(s.checked_hour)},
      {head: 'Invalid, day', num: true, cell: (s) => invalid(s.checked_day)},
      {head: 'Messages, hour', num: true, cell: (s) => number(s.messages.hour)},
      {head: 'Recipients, hour', num: true, cell: (s) => number(s.recipients.hour)},
      {head: 'Recipients, day', num: true, cell: (s) => number(s.recipients.day)},
      {head: 'Last sent', cell: (s) => clock(s.last)},
      {head: 'Change', cell: (s) => release(s, load)},
    ],
  });
  async function load() {
    const found = await post('/v1/senders/search', {state: choice.value, limit: 200}, signal);
    list.say(nobody(choice.value));
    list.set(found.senders);
    const text = found.total > found.senders.length
      ? `${number(found.total)} senders; the worst ${number(found.senders.length)} are shown.`
      : `${number(found.total)} ${found.total === 1 ? 'sender' : 'senders'}.`;
    if (total.textContent !== text) fill(total, text);
  }
  choice.addEventListener('change', () => load().catch((error) => { if (!signal.aborted) fault(error); }));
  await every(10, load);
  fill(root, el('h1', null, 'Senders'),
    el('p', {class: 'about'}, 'Whoever sends to many recipients that do not exist has a bad list, or guesses addresses. ',
      'Such senders are slowed down, then held (policy.hygiene), until a trial goes well or somebody releases them.'),
    field('State', choice), total, list.element);
}

function nobody(state) {
  if (state === '') return 'Nobody has sent anything yet, or senders are not counted: see policy.limits and policy.hygiene.';
  return 'No sender is in this state. Choose All to see the others.';
}

function named(s, go) {
  const name = s.login || [s.sender_domain, s.client].filter(Boolean).join(' from ') || s.key;
  const filter = s.login ? {login: s.login} : {client: s.client, sender: s.sender_domain && `@${s.sender_domain}`};
  return [el('strong', null, name), ' ', el('button', {
    type: 'button', class: 'link', 'aria-label': `Decisions about mail of ${name}`,
    on: {click: () => go('#/decisions', filter)},
  }, 'decisions')];
}

function state(s) {
  const [word, level] = Object.hasOwn(states, s.state) ? states[s.state] : [s.state, 'none'];
  return [mark(word, level), s.why && el('div', {class: 'detail'}, s.why),
    s.since && s.state !== 'ok' && el('div', {class: 'detail'}, `since ${since(s.since)}`),
    s.until && el('div', {class: 'detail'}, `trial begins ${until(s.until)}`),
    s.trial && el('div', {class: 'detail'}, `on trial: ${number(s.trial.failed)} of ${number(s.trial.checked)} invalid so far`),
    s.grace && el('div', {class: 'detail'}, `released, left alone until ${minute(s.grace)}`)];
}

function invalid(checks) {
  return el('span', null, share(checks.invalid, checks.recipients),
    el('small', null, ` ${number(checks.invalid)} of ${number(checks.recipients)}`));
}

function release(s, reload) {
  if (s.state === 'ok') return '–';
  const name = s.login || s.key;
  return writer('Release', {
    name: `Release ${name}`,
    ask: {
      title: `Release ${name}?`, yes: 'Release',
      text: 'Its mail passes again at once, and what it sent so far is not held against it. If its list is still bad, it is held again.',
    },
    run: async () => {
      const done = await post('/v1/senders/release', {key: s.key});
      await reload();
      return done.released ? `${name} is released.` : `${name} was not held any more.`;
    },
  });
}
