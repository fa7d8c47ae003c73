// Decisions: the last ones and those that are being made, by filter, with the evidence of each.

import {el, fill, field, input, select, check, values} from './dom.js';
import {post, lines, Problem} from './api.js';
import {clock, took, number} from './format.js';
import {say, fault} from './dialog.js';
import {because, decision} from './words.js';
import {table} from './table.js';
import {evidence, story} from './evidence.js';

const most = 200; // rows

export async function show(root, args) {
  if (args.rest[0]) return story(root, args.rest[0], args);
  const {signal} = args;
  const form = filterForm(args.handed);
  const state = el('p', {class: 'state', role: 'status'});
  const detail = el('div');
  const list = table({
    caption: 'Decisions, the newest first', most, columns: columns((entry) => {
      fill(detail, evidence(entry));
      detail.firstElementChild.focus();
    }),
    empty: 'No decision of this kind is in memory. Take something out of the filter, or search the journal’s files.',
  });
  const live = liveOf(list, state, signal);

  async function search() {
    live.stop();
    const asked = values(form);
    delete asked.live;
    const found = await post('/v1/decisions/search', {...asked, limit: most}, signal);
    list.set(found.entries);
    fill(detail);
    const notes = (found.notes ?? []).join(' ');
    fill(state, `${number(found.entries.length)} ${found.entries.length === 1 ? 'decision' : 'decisions'}. ${notes}`);
    if (form.elements.live.checked && !asked.files) live.start({...asked, since: undefined, limit: undefined});
  }
  const searchOr = async () => {
    try {
      await search();
      say('');
    } catch (error) {
      if (signal.aborted) return;
      fault(error);
      if (error.field) form.elements.namedItem(error.field)?.focus();
    }
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    searchOr();
  });
  form.elements.live.addEventListener('change', searchOr);
  form.elements.refused.addEventListener('change', searchOr);
  form.elements.kind.addEventListener('change', searchOr);
  await search();
  fill(root, el('h1', null, 'Decisions'), refForm(args), form, state, detail, list.element);
}

function columns(open) {
  return [
    {head: 'Time', cell: (e) => clock(e.time)},
    {head: 'Decision', cell: decision},
    {head: 'Recipient', cell: (e) => e.recipient ?? '–', address: true},
    {head: 'Sender', cell: (e) => e.sender ?? '–', address: true},
    {head: 'Why', cell: because, wide: true},
    {head: 'Provider', cell: (e) => e.provider ?? '–'},
    {head: 'Took', num: true, cell: (e) => took(e.wait_ms ?? e.message?.total_ms)},
    {head: 'Evidence', cell: (e) => e.ref ? el('a', {href: `#/decisions/${e.ref}`}, e.ref)
      : el('button', {type: 'button', class: 'link', on: {click: () => open(e)}}, 'show')},
  ];
}

// refForm leads to one decision by the reference that stands in a refusal.
function refForm({go}) {
  const ref = input('ref', {size: '12', maxlength: '40', placeholder: 'KX2M7QRT'});
  return el('form', {class: 'bar', on: {submit: (event) => {
    event.preventDefault();
    // People paste "(ref KX2M7QRT)".
    const found = /([A-Z2-7]{8})\W*$/i.exec(ref.value.trim());
    if (!found) {
      fault(new Problem(0, 'That is no reference.', 'It has 8 letters and digits, behind "ref" in the reply.'));
      ref.focus();
      return;
    }
    go(`#/decisions/${found[1].toUpperCase()}`);
  }}}, field('Reference in a reply', ref), el('button', {type: 'submit'}, 'Tell why'));
}

function filterForm(given) {
  const text = (name, label, hint) => field(label, input(name, {value: given?.[name], placeholder: hint}));
  return el('form', {class: 'filter'},
    text('recipient', 'Recipient', 'address or @example.com'),
    text('sender', 'Sender', 'address or @example.org'),
    field('Kind', select('kind', [['recipient', 'Recipients'], ['message', 'Messages'], ['', 'Both']], 'recipient')),
    field('Time', select('since', [['', 'All in memory'], ['10m', 'Last 10 minutes'], ['1h', 'Last hour'],
      ['1d', 'Last day'], ['7d', 'Last week']])),
    el('details', {class: 'more', open: Boolean(given)}, el('summary', null, 'More'),
      el('div', {class: 'filter'}, text('client', 'Client', 'address or 192.0.2.0/24'), text('login', 'Login', 'alice'),
        text('rule', 'Rule'), text('reason', 'Reason', 'mailbox_unknown'), text('provider', 'Provider', 'google'),
        field('Decision', select('action', [['', 'Any'], ['accept', 'Accepted'], ['defer', 'Deferred'], ['reject', 'Refused']])),
        check('Search the journal’s files, too (takes longer)', 'files'))),
    el('p', {class: 'buttons'}, check('Only refused', 'refused'), check('Live', 'live', true),
      el('button', {type: 'submit', class: 'main'}, 'Search')));
}

// liveOf puts decisions on top of the list as they are made.
function liveOf(list, state, signal) {
  let stop = new AbortController();
  let waiting = [];
  let timer = 0;
  const flush = () => {
    timer = 0;
    list.prepend(waiting.reverse());
    waiting = [];
  };
  return {
    stop() { stop.abort(); },
    async start(filter) {
      stop = new AbortController();
      const mine = stop;
      signal.addEventListener('abort', () => mine.abort(), {once: true});
      const ended = (text) => { if (!mine.signal.aborted) fill(state, text); };
      state.append(' New ones appear on top.');
      try {
        await lines('/v1/decisions/stream', filter, mine.signal, (entry) => {
          if (mine.signal.aborted) return;
          if (entry.missed !== undefined) {
            ended(`${number(entry.missed)} decisions came faster than this page took them; search to see them.`);
            return;
          }
          waiting.push(entry);
          if (waiting.length > most) waiting.shift();
          // Many at a time are one change of the page.
          timer ||= setTimeout(flush, 250);
        });
        ended('The gate has ended the live view. Search again to go on.');
      } catch (error) {
        ended(`The live view broke off: ${error instanceof Problem ? error.message : 'the connection was lost'}. Search again to go on.`);
      }
    },
  };
}
