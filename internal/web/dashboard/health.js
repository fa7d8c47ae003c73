// How the gate is, in plain words, with the next step.

import {el} from './dom.js';
import {number, since} from './format.js';
import {table} from './table.js';
import {mark} from './words.js';

const levels = {ok: 'ok', degraded: 'warn', failed: 'bad'};

// What to do about a part that needs a look. The gate's own words say what is wrong; some of them
// ("to do: ...") say what to do as well.
const steps = {
  relay: ['Look whether the relay runs and takes connections from this host (relay.upstreams). ',
    'Clients are told 451 and come again: no mail is lost.'],
  configuration: ['Run rcptgate check-config, correct what it says, and reload the gate.'],
  probing: ['Recipients that are not known pass meanwhile. See ', ['Providers', '#/providers'],
    ' for who does not want to be asked, and rcptgate doctor for port 25.'],
  'own address': ['Do what it says; until then some mail servers refuse to answer. ',
    'rcptgate doctor looks at all of it.'],
  'relay log': ['Look at verify.feedback.relay_log: does the file exist, and may the gate read it?'],
  cache: ['Look at the disk and at verify.cache.path. Mail passes; what is learned now is lost at the next start.'],
  policy: ['Look at the file it names, and at the disk of policy.state_directory.'],
  certificate: ['Renew the certificate; the gate takes a new one with the next reload.'],
  service: ['The gate is stopping: a new one should start by itself. If not: systemctl start rcptgate.'],
};

// headline says all of it in a sentence.
export function headline(status) {
  const look = status.checks.filter((check) => check.state !== 'ok').length;
  if (!status.ready) return mark('Mail does not pass. See below what to do.', 'bad');
  if (look === 0) return mark('Mail passes, and nothing needs a look.', 'ok');
  return mark(look === 1 ? 'Mail passes. One thing needs a look.' : `Mail passes. ${look} things need a look.`, 'warn');
}

// health is the list of parts, the worst first.
export function health(status) {
  const order = {failed: 0, degraded: 1, ok: 2};
  const checks = [...status.checks].sort((a, b) => order[a.state] - order[b.state]);
  return el('ul', {class: 'health'}, checks.map((check) => el('li', null,
    el('p', null, mark(check.part, levels[check.state] ?? 'none'),
      el('span', {class: 'sr'}, ` is ${check.state}`), el('span', {class: 'detail'}, check.detail)),
    check.state !== 'ok' && next(check.part))));
}

function next(part) {
  const step = Object.hasOwn(steps, part) ? steps[part] : ['See the gate’s log.'];
  return el('p', {class: 'next'}, el('strong', null, 'Next: '),
    step.map((piece) => Array.isArray(piece) ? el('a', {href: piece[1]}, piece[0]) : piece));
}

// relay is the servers that mail is passed to, and what is wrong with our own addresses.
export function relay(status) {
  const servers = table({
    caption: 'The relay', empty: 'The gate knows of no relay.', columns: [
      {head: 'Server', cell: (r) => r.address},
      {head: 'State', cell: (r) => r.state === 'up' ? mark('takes mail', 'ok') : mark('takes no mail', 'bad')},
      {head: 'Since', cell: (r) => since(r.since)},
      {head: 'Sessions', num: true, cell: (r) => `${number(r.sessions)} (${number(r.idle)} idle)`},
      {head: 'Last fault', cell: (r) => r.error || '–', wide: true},
    ],
  });
  servers.set(status.relay ?? []);
  const findings = status.own_addresses?.findings ?? [];
  if (findings.length === 0) return servers.element;
  const own = table({
    caption: `Own addresses: ${status.own_addresses.addresses?.join(', ') || 'not known yet'}`, columns: [
      {head: 'Finding', cell: (f) => mark(f.what, f.severity === 'notice' ? 'none' : 'warn'), wide: true},
      {head: 'About', cell: (f) => f.subject},
      {head: 'What to do', cell: (f) => f.fix, wide: true},
    ],
  });
  own.set(findings);
  return [servers.element, own.element];
}
