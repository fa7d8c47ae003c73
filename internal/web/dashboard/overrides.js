// Overrides: allow what the gate would refuse, for a time; and forget what it knows.

import {el, fill, field, input, select, values} from './dom.js';
import {get, post} from './api.js';
import {minute, until} from './format.js';
import {submitter, writer} from './dialog.js';
import {table} from './table.js';

const kinds = [['address', 'address'], ['domain', 'domain'], ['provider', 'provider']];

export async function show(root, {signal, every}) {
  const list = table({
    caption: 'Overrides in force',
    empty: 'There is none. Allow an address below when the gate refuses somebody who exists.',
    columns: [
      {head: 'Kind', cell: (o) => o.kind},
      {head: 'Name', cell: (o) => o.name, wide: true},
      {head: 'Note', cell: (o) => o.note || '–', wide: true},
      {head: 'Since', cell: (o) => minute(o.created)},
      {head: 'Until', cell: (o) => until(o.expires)},
      {head: 'Change', cell: (o) => revoke(o, load)},
    ],
  });
  async function load() {
    list.set((await get('/v1/overrides', signal)).overrides);
  }
  await every(30, load);
  fill(root, el('h1', null, 'Overrides'),
    el('p', {class: 'about'}, 'An override lets recipients pass whom the verifier or a rule would refuse. Each has an end.'),
    list.element,
    el('details', {open: true}, el('summary', null, 'Allow recipients'), allow(load)),
    el('details', null, el('summary', null, 'Have the gate ask again'), forget()));
}

function revoke(o, reload) {
  return writer('Revoke', {
    name: `Revoke the override of ${o.name}`,
    ask: {
      title: `Revoke the override of ${o.name}?`, yes: 'Revoke',
      text: `Recipients of this ${o.kind} are judged by the verifier and the rules again.`,
    },
    run: async () => {
      const done = await post('/v1/overrides/revoke', {kind: o.kind, name: o.name});
      await reload();
      return done.revoked ? `The override of ${o.name} is revoked.` : `The override of ${o.name} was over already.`;
    },
  });
}

function allow(reload) {
  const form = el('form', {class: 'filter'},
    field('Kind', select('kind', kinds, 'address')),
    field('Name', input('name', {required: true}), 'bob@example.com; example.com, or .example.com for its subdomains; google'),
    field('For', input('for', {placeholder: '7d'}), 'such as 12h or 30d; without it, 7 days'),
    field('Note', input('note', {maxlength: '256'}), 'why, and who wants it'));
  return submitter(form, 'Allow', {
    ask: () => {
      const {kind, name} = values(form);
      return {
        title: `Allow the ${kind} ${name}?`, yes: 'Allow',
        text: kind === 'address' ? 'Mail to it passes, though it may bounce.'
          : `Mail to everybody of this ${kind} passes, also to those who do not exist.`,
      };
    },
    run: async () => {
      const added = await post('/v1/overrides', values(form));
      form.reset();
      await reload();
      return `${added.name} is allowed until ${minute(added.expires)}.`;
    },
  });
}

function forget() {
  const form = el('form', {class: 'filter'},
    field('Kind', select('kind', kinds, 'address')),
    field('Name', input('name', {required: true}), 'bob@example.com, example.com or google'));
  const note = el('p', {class: 'hint'}, 'The gate forgets what it remembers, and asks the mail server when the next mail comes. Do this when a mailbox was made after it had been refused.');
  return el('div', null, note, submitter(form, 'Forget', {
    ask: () => ({
      title: `Forget what is known of ${values(form).name}?`, yes: 'Forget it',
      text: 'It is asked for again with the next mail. Suppressions and overrides stay.',
    }),
    run: async () => {
      const done = await post('/v1/forget', values(form));
      form.reset();
      return `What was known of ${done.forgotten} is forgotten.`;
    },
  }));
}
