// The evidence of a decision: everything that the journal has of it.

import {el, fill, pairs} from './dom.js';
import {get, open} from './api.js';
import {clock, took, minute, number, octets, span} from './format.js';
import {because, decision} from './words.js';
import {table} from './table.js';

// story fills root with one decision, by its reference, as `rcptgate why` tells it.
export async function story(root, ref, {signal}) {
  const path = `/v1/decisions/${encodeURIComponent(ref)}`;
  const back = el('p', null, el('a', {href: '#/decisions'}, '← All decisions'));
  let found;
  let words;
  try {
    [found, words] = await Promise.all([get(path, signal),
      open('GET', path, {signal, accept: 'text/plain'}).then((answer) => answer.text())]);
  } catch (error) {
    if (error.status !== 404) throw error;
    fill(root, el('h1', null, 'Decision'), back,
      el('div', {class: 'notice bad', role: 'alert'}, el('p', null, error.message), el('p', null, error.hint)));
    return;
  }
  const rest = table({
    caption: 'The whole transaction', empty: 'Nothing else is known of this transaction.', columns: [
      {head: 'Time', cell: (e) => clock(e.time)},
      {head: 'Decision', cell: decision},
      {head: 'Recipient', cell: (e) => e.recipient ?? '–', wide: true},
      {head: 'Why', cell: because, wide: true},
      {head: 'Evidence', cell: (e) => e.ref && e.ref !== found.entry.ref
        ? el('a', {href: `#/decisions/${e.ref}`}, e.ref) : 'this one'},
    ],
  });
  rest.set(found.transaction.filter((e) => e.kind === 'message' || e.ref !== found.entry.ref));
  fill(root, el('h1', null, `Decision ${found.entry.ref}`), back,
    el('section', null, el('h2', null, 'In words'), el('pre', {class: 'words', tabindex: '0'}, words.trim()),
      el('p', {class: 'hint'}, `The same as: rcptgate why ${found.entry.ref}`)),
    evidence(found.entry), rest.element);
}

// evidence is an entry in full.
export function evidence(e) {
  const groups = [
    ['Decision', [
      ['When', clock(e.time)], ['Recipient', e.recipient], ['Decision', decision(e)], ['Why', because(e)],
      ['Rule', e.rule], ['Reply', e.reply], ['Reply if enforced', e.shadow_reply], ['Reference', e.ref],
      ['Took', took(e.wait_ms)], ['Marks', e.marks?.join(', ')], ['Header fields added', e.headers?.join('\n')],
    ]],
    ['Who sent it', [
      ['Sender', e.sender], ['Login', e.login], ['Client', [e.client, e.client_name].filter(Boolean).join(' ')],
      ['Said HELO', e.helo], ['Came by', e.door], ['Session', e.session], ['Transaction', e.transaction],
    ]],
    ['What the verifier knew', e.verdict && [
      ['Verdict', e.verdict], ['Reason', e.reason], ['Confidence', percent(e.confidence)],
      ['Deliverability', percent(e.deliverability)], ['Proof', e.proof ? 'yes' : 'no'], ['Provider', e.provider],
      ['Mail server', e.mx], ['It answered to', e.stage], ['Its words', e.mx_reply], ['Read as', e.label],
      ['From memory', e.cached ? 'yes' : 'no'], ['Checked', e.checked && minute(e.checked)],
      ['Mail last arrived', e.delivered && minute(e.delivered)],
      ['Ask again in', e.retry_after_s && span(e.retry_after_s)],
    ]],
    ['Its domain', e.domain && [
      ['Accepts every address', percent(e.domain.accepts_all)], ['Addresses accepted', number(e.domain.accepted ?? 0)],
      ['Asked', number(e.domain.tries ?? 0)], ['Invented addresses accepted', number(e.domain.invented ?? 0)],
      ['Bounced later', number(e.domain.late ?? 0)], ['Arrived', number(e.domain.arrived ?? 0)],
      ['Refused one last', e.domain.refused && minute(e.domain.refused)],
    ]],
    ['Suppression', e.suppression && [
      ['Address', e.suppression.address], ['Scope', e.suppression.scope], ['Reason', e.suppression.reason],
      ['Evidence', e.suppression.evidence], ['Source', e.suppression.source],
      ['Since', minute(e.suppression.created)], ['Until', e.suppression.expires && minute(e.suppression.expires)],
    ]],
    ['Override', e.override && [
      ['Kind', e.override.kind], ['Name', e.override.name], ['Note', e.override.note],
      ['Until', e.override.expires && minute(e.override.expires)],
    ]],
    ['Limit or hold', e.hold && [
      ['Kind', e.hold.kind], ['Name', e.hold.name], ['Of', e.hold.key], ['Detail', e.hold.detail],
      ['Wait', e.hold.wait_s && span(e.hold.wait_s)],
    ]],
    ['Message', e.message && [
      ['Size', octets(e.message.octets ?? 0)], ['Recipients accepted', number(e.message.accepted ?? 0)],
      ['Deferred', number(e.message.deferred ?? 0)], ['Refused', number(e.message.refused ?? 0)],
      ['Relay', e.message.relay], ['Queue id', e.message.queue_id], ['Error', e.message.error],
      ['From', e.message.from_domain], ['Checks', e.message.checks?.map((c) =>
        [c.check, c.level, c.detail].filter(Boolean).join(' ')).join('\n')],
      ['Took', took(e.message.total_ms)], ['Of that the relay', took(e.message.relay_ms)],
    ]],
  ];
  return el('section', {class: 'evidence', tabindex: '-1', 'aria-label': 'Evidence'},
    groups.filter(([, list]) => list).map(([name, list]) =>
      el('div', null, el('h3', null, name), pairs(list))));
}

function percent(part) {
  return Number.isFinite(part) ? `${Math.round(100 * part)} %` : undefined;
}
