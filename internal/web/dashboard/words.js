// What the gate's names mean, in words.

import {el} from './dom.js';

const reasons = {
  mailbox_exists: 'its mail server accepts mail for it',
  delivered: 'earlier mail for it was delivered',
  accept_all: 'its mail server accepts every address, which says nothing of this one',
  mailbox_unknown: 'its mail server knows no such mailbox',
  mailbox_disabled: 'the mailbox is switched off',
  moved: 'the mailbox has moved away',
  null_mx: 'the domain receives no mail (null MX)',
  domain_unknown: 'the domain does not exist',
  mailbox_full: 'the mailbox is full',
  no_smtputf8: 'its mail server takes no internationalised addresses',
  internal_domain: 'not asked: the domain is internal',
  not_probed: 'not asked: no public domain',
  own_address: 'not asked: our own probes come from this address',
  null_sender: 'not asked for a bounce (null sender)',
  self: 'not asked: its mail server is this gate',
  passive: 'not asked: the gate is passive',
  provider_passive: 'not asked: the answers of its provider say nothing',
  budget: 'the waiting time of the message was used up',
  local_limit: 'not asked: too many questions at one time',
  breaker: 'not asked: no mail server can be reached from here',
  closing: 'not asked: the gate was stopping',
  no_mail_host: 'the domain has no host for mail',
  timeout: 'no answer in time',
  unreachable: 'none of its mail servers could be reached',
  dns_failure: 'DNS failed',
  tls_failure: 'STARTTLS with its mail server failed',
  protocol_error: 'its mail server does not speak proper SMTP',
  temporary: 'its mail server had a temporary problem',
  greylisted: 'greylisted: its mail server wants to be asked again later',
  rate_limited: 'its mail server wants fewer questions',
  blocked_ip: 'its mail server refuses our address, which says nothing of the mailbox',
  blocked_sender: 'its mail server refuses the sender, which says nothing of the mailbox',
  policy: 'refused for another reason, which says nothing of the mailbox',
  unconfirmed: 'its mail server will not say',
  busy: 'the mailbox gets too much mail for the moment',
  incident: 'refused in a wave of refusals that cannot be true',
  disputed: 'refused by a mail server that is often wrong, or deliveries contradict',
  bounced: 'its last mail bounced',
};

// reason is a reason of a verdict in words; one that is not known, by its name.
export function reason(name) {
  return Object.hasOwn(reasons, name) ? reasons[name] : (name ?? '').replaceAll('_', ' ');
}

// because is why an entry of the journal was decided as it was: what decided, in words.
export function because(entry) {
  if (entry.kind === 'message') return message(entry.message ?? {});
  if (entry.suppression) return `suppressed: ${(entry.suppression.reason ?? '').replaceAll('_', ' ')}`;
  if (entry.override) return `allowed by an override of the ${entry.override.kind}`;
  if (entry.hold) return `${entry.hold.kind} by ${entry.hold.name}`;
  if (entry.relayed && !entry.reply?.startsWith('2')) return `the relay's answer: ${entry.reply}`;
  // A rule of the preset goes by the verdict: its reason says it all.
  const own = entry.rule && !entry.rule.startsWith('built-in') ? `rule ${entry.rule}` : '';
  return [entry.reason && reason(entry.reason), own].filter(Boolean).join('; ') || entry.rule || entry.reply || '–';
}

const outcomes = {
  passed: 'the relay took it', refused: 'the relay refused it for good',
  deferred: 'the relay refused it for now', relay_failed: 'no relay could be reached',
  unknown: 'the relay broke at the end', client_lost: 'the client went away',
  check_refused: 'its checks refused it', check_deferred: 'its checks refused it for now',
  end_of_message: 'Postfix had all of it', bad_content: 'it had bare CR, LF or NUL',
  too_big: 'it was over the size limit',
};

function message(m) {
  const name = m.outcome ?? '';
  const words = Object.hasOwn(outcomes, name) ? outcomes[name] : name.replaceAll('_', ' ');
  return m.queue_id ? `${words}, as ${m.queue_id}` : words;
}

const decisions = {
  accept: ['accepted', 'ok'], defer: ['deferred', 'warn'], reject: ['refused', 'bad'],
};

// decision is what happened to a recipient, as a mark.
export function decision(entry) {
  if (entry.kind === 'message') return mark('message', 'none');
  const [word, level] = Object.hasOwn(decisions, entry.action) ? decisions[entry.action] : [entry.action ?? '–', 'none'];
  if (!entry.shadow) return mark(word, level);
  return mark(`${word}; enforced: ${entry.shadow === 'defer' ? 'deferred' : 'refused'}`, 'warn');
}

const signs = {ok: '●', warn: '▲', bad: '■', none: '○'};

// mark is a word with a sign for its level: ok, warn, bad or none. The sign has a form of its own
// for those who see no colours.
export function mark(word, level) {
  return el('span', {class: `mark ${level}`}, el('span', {'aria-hidden': 'true'}, signs[level]), '\u00a0', word);
}
