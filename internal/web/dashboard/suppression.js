// Suppression: who gets no more mail, and why; add, remove, import, export.

import {el, fill, field, input, select, check, values} from './dom.js';
import {open, post} from './api.js';
import {minute, number, until} from './format.js';
import {fault, say, submitter, writer} from './dialog.js';
import {table} from './table.js';

const page = 50; // rows
const reasons = [['manual', 'manual: an administrator says so'], ['unsubscribe', 'unsubscribe: asked for no more'],
  ['complaint', 'complaint: called mail spam'], ['hard_bounce', 'hard bounce: there is no such mailbox'],
  ['import', 'import: from a list without a reason']];

export async function show(root, {signal}) {
  let offset = 0;
  const filter = el('form', {class: 'filter', role: 'search'},
    field('Contains', input('contains', {placeholder: 'part of an address'})),
    field('Domain', input('domain', {placeholder: 'example.com'})),
    field('Reason', select('reason', [['', 'Any'], ...reasons])),
    field('Source', input('source', {placeholder: 'who said so'})),
    el('p', {class: 'buttons'}, el('button', {type: 'submit', class: 'main'}, 'Search'), ' ',
      el('button', {type: 'button', on: {click: () => exportAll()}}, 'Export all as CSV')));
  const list = table({
    caption: 'Suppressed addresses',
    empty: 'No address is suppressed, or none fits the search. Add one below, or import a list.',
    columns: [
      {head: 'Address', cell: (s) => s.address, wide: true},
      {head: 'For mail of', cell: (s) => s.scope === 'global' ? 'everybody' : s.scope},
      {head: 'Reason', cell: (s) => [s.reason.replaceAll('_', ' '), s.reply && ` (${s.reply})`]},
      {head: 'Evidence', cell: (s) => [s.evidence, s.source].filter(Boolean).join(' – ') || '–', wide: true},
      {head: 'Since', cell: (s) => minute(s.created)},
      {head: 'Until', cell: (s) => until(s.expires)},
      {head: 'Refused', num: true, cell: (s) => number(s.hits)},
      {head: 'Change', cell: (s) => remove(s, load)},
    ],
  });
  const total = el('span', {role: 'status'});
  const turn = (by) => async () => {
    offset = Math.max(0, offset + by);
    await loadOr();
  };
  const back = el('button', {type: 'button', on: {click: turn(-page)}}, 'Previous');
  const next = el('button', {type: 'button', on: {click: turn(page)}}, 'Next');

  async function load() {
    const found = await post('/v1/suppressions/search', {...values(filter), offset, limit: page}, signal);
    list.set(found.suppressions);
    const last = offset + found.suppressions.length;
    fill(total, found.total === 0 ? 'None.' : `${number(offset + 1)} to ${number(last)} of ${number(found.total)}.`);
    back.disabled = offset === 0;
    next.disabled = last >= found.total;
  }
  const loadOr = () => load().catch((error) => { if (!signal.aborted) fault(error); });
  filter.addEventListener('submit', (event) => {
    event.preventDefault();
    offset = 0;
    loadOr();
  });
  await load();
  fill(root, el('h1', null, 'Suppression'),
    el('p', {class: 'about'}, 'Mail to these addresses is refused before any rule, and no mail server is asked about them.'),
    filter, el('p', {class: 'buttons'}, total, ' ', back, ' ', next), list.element,
    el('details', null, el('summary', null, 'Add an address'), adder(load)),
    el('details', null, el('summary', null, 'Import a list'), importer(load)));
}

function remove(s, reload) {
  return writer('Remove', {
    name: `Remove ${s.address}`,
    ask: {
      title: `Let ${s.address} get mail again?`, yes: 'Remove',
      text: s.reason === 'complaint' || s.reason === 'unsubscribe'
        ? 'This recipient has asked for no more mail. Remove it only if they want it back.'
        : `It is suppressed for: ${s.reason.replaceAll('_', ' ')}. Mail to it is judged as any other again.`,
    },
    run: async () => {
      const done = await post('/v1/suppressions/remove', {address: s.address, scope: s.scope});
      await reload();
      return done.removed ? `${s.address} is not suppressed any more.` : `${s.address} was not suppressed any more.`;
    },
  });
}

function adder(reload) {
  const form = el('form', {class: 'filter'},
    field('Address', input('address', {required: true}), 'bob@example.com, *@example.com for a domain, *@*.example.com for its subdomains'),
    field('Reason', select('reason', reasons, 'manual')),
    field('Evidence', input('evidence', {maxlength: '256'}), 'for those who ask later'),
    field('For', input('for', {placeholder: '30d'}), 'without it, for good'),
    field('For mail of', input('scope', {placeholder: 'global'}), 'global, sender_domain:example.org or login:alice'));
  return submitter(form, 'Add', {
    ask: () => ({
      title: `Suppress ${values(form).address}?`, yes: 'Suppress it',
      text: 'Mail to it is refused from now on.',
    }),
    run: async () => {
      const added = await post('/v1/suppressions', values(form));
      form.reset();
      await reload();
      return `${added.address} is suppressed ${added.expires ? `until ${minute(added.expires)}` : 'for good'}.`;
    },
  });
}

function importer(reload) {
  const file = el('input', {type: 'file', name: 'file', accept: '.csv,text/csv,text/plain', required: true});
  const problems = el('div');
  const form = el('form', {class: 'filter'},
    field('File', file, 'CSV with a column address or email, or an address a line'),
    field('Reason', select('reason', [['', 'as the file says, or import'], ...reasons])),
    field('Source', input('source', {maxlength: '64'}), 'without it, the name of your token'),
    check('Keep what is there already', 'keep'), check('All rows or none', 'strict'));
  submitter(form, 'Import', {
    ask: () => ({title: `Import ${file.files[0]?.name}?`, yes: 'Import', text: 'Mail to all addresses in it is refused from now on.'}),
    run: async () => {
      const data = new FormData();
      for (const [name, value] of Object.entries(values(form))) data.append(name, String(value));
      data.append('file', file.files[0]);
      let report;
      try {
        report = await (await open('POST', '/v1/suppressions/import', {body: data})).json();
      } catch (problem) {
        if (problem.report) fill(problems, wrong(problem.report));
        throw problem;
      } finally {
        await reload();
      }
      fill(problems, wrong(report));
      form.reset();
      return `${number(report.rows)} rows: ${number(report.added)} added, ${number(report.replaced)} replaced, `
        + `${number(report.kept)} kept, ${number(report.skipped)} skipped, ${number(report.failed)} not taken.`;
    },
  });
  return el('div', null, form, problems);
}

function wrong(report) {
  if (!report.problems?.length) return null;
  const list = table({
    caption: 'Rows that were not taken', columns: [
      {head: 'Line', num: true, cell: (p) => number(p.line)}, {head: 'Why', cell: (p) => p.detail, wide: true},
    ],
  });
  list.set(report.problems);
  return list.element;
}

async function exportAll() {
  try {
    const answer = await open('GET', '/v1/suppressions/export', {accept: 'text/csv'});
    const url = URL.createObjectURL(await answer.blob());
    const link = el('a', {href: url, download: 'suppressions.csv'});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    say('The list is in your downloads, as suppressions.csv.');
  } catch (error) {
    fault(error);
  }
}
