// Providers: what each tells us, what it is worth, who wants to be left alone.

import {el, fill} from './dom.js';
import {get, post} from './api.js';
import {number, share, until} from './format.js';
import {writer} from './dialog.js';
import {mark} from './words.js';
import {table} from './table.js';

const states = {ok: ['asked', 'ok'], slowed: ['asked slowly', 'warn'], paused: ['left alone', 'bad']};

export async function show(root, {signal, every}) {
  const list = table({
    caption: 'Providers with traffic since the start',
    empty: 'No mail server was asked since the start. Providers appear here with the first recipients.',
    columns: [
      {head: 'Provider', cell: (p) => el('span', {title: p.name}, p.title), wide: true},
      {head: 'State', cell: state, wide: true},
      {head: 'Recipients', num: true, cell: (p) => number(decided(p))},
      {head: 'Exists', num: true, cell: (p) => share(p.deliverable, decided(p))},
      {head: 'Does not exist', num: true, cell: (p) => share(p.undeliverable, decided(p))},
      {head: 'Not known', num: true, cell: (p) => share(p.unknown, decided(p))},
      {head: 'Asked', num: true, cell: (p) => number(p.probes)},
      {head: 'Refused us', num: true, cell: (p) => number(p.blocked)},
      {head: 'What its answers are worth', cell: worth, wide: true},
      {head: 'Change', cell: forget},
    ],
  });
  const quiet = table({
    caption: 'Known providers without traffic', empty: 'There is none: all that are known were asked.',
    columns: [
      {head: 'Provider', cell: (p) => el('span', {title: p.name}, p.title), wide: true},
      {head: 'What its answers are worth', cell: worth, wide: true},
    ],
  });
  const paused = el('div', {'aria-live': 'polite'});
  let said = '';
  await every(10, async () => {
    const {providers} = await get('/v1/providers', signal);
    const busy = (p) => p.probes > 0 || decided(p) > 0 || p.connections > 0 || p.state !== 'ok';
    // "other" is many sites, of which some are meant.
    const away = providers.filter((p) => p.state === 'paused').map((p) => p.name === 'other' ? `other mail servers (${p.why})` : p.title);
    const text = away.length === 0 ? 'Nobody wants to be left alone.'
      : `Left alone for now: ${away.join(', ')}. Recipients there that are not known pass meanwhile.`;
    if (text !== said) fill(paused, el('p', {class: 'headline'}, mark(text, away.length ? 'warn' : 'ok')));
    said = text;
    list.set(providers.filter(busy));
    quiet.set(providers.filter((p) => !busy(p)));
  });
  fill(root, el('h1', null, 'Providers'), paused, list.element,
    el('details', null, el('summary', null, 'Providers without traffic'), quiet.element));
}

// decided are the recipients there with a verdict, whether it was asked for or known.
const decided = (p) => p.deliverable + p.undeliverable + p.unknown;

function worth(p) {
  return [p.trust, el('div', {class: 'detail'}, `asked with at most ${p.limit}`,
    p.connections > 0 && `; ${number(p.connections)} open now`)];
}

function state(p) {
  const [word, level] = Object.hasOwn(states, p.state) ? states[p.state] : [p.state, 'none'];
  return [mark(word, level), p.paused_until && el('div', null, `until ${until(p.paused_until)}`),
    p.why && el('div', {class: 'detail'}, p.why), p.hint && el('div', {class: 'next'}, el('strong', null, 'Next: '), p.hint)];
}

function forget(p) {
  const {title} = p;
  return writer('Forget', {
    name: `Forget what ${title} said`,
    ask: {
      title: `Forget what ${title} said?`, yes: 'Forget it',
      text: 'All remembered verdicts about its mailboxes become void, and each is asked for again when mail for it comes. Do this after a wave of wrong answers.',
    },
    run: async () => {
      const done = await post('/v1/forget', {kind: 'provider', name: p.name});
      return `What ${done.forgotten} said is forgotten.`;
    },
  });
}
