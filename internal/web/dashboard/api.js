// The API of the gate, with the token of this tab.

const tokenKey = 'rcptgate-token';

// Problem is an answer that says what is wrong, and what to do instead.
export class Problem extends Error {
  constructor(status, detail, hint, more = {}) {
    super(detail);
    Object.assign(this, {status, detail, hint, ...more});
  }
}

// session is whose token this tab has, and what it is good for.
export const session = {
  scopes: null, // a Set, once an answer has told
  get token() { return sessionStorage.getItem(tokenKey) ?? ''; },
  begin(token) { sessionStorage.setItem(tokenKey, token); },
  end() {
    sessionStorage.removeItem(tokenKey);
    this.scopes = null;
  },
  can(scope) { return this.scopes === null || this.scopes.has(scope); },
};

// noWrite says why a change cannot be made, or "" if it can.
export function noWrite() {
  return session.can('write') ? ''
    : 'Your token has no scope "write". Sign in with one that has it, or add the scope in http.tokens_file.';
}

// open sends a request and returns the answer of success. Otherwise it throws: a Problem, or what
// the signal was aborted with.
export async function open(method, path, {body, accept = 'application/json', signal} = {}) {
  const headers = {Authorization: `Bearer ${session.token}`, Accept: accept};
  if (body !== undefined && !(body instanceof FormData)) {
    headers['Content-Type'] = 'application/json';
    body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, body, signal, cache: 'no-store', credentials: 'omit', redirect: 'error',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, 'The gate does not answer.', 'Does it run? This page tries again by itself.');
  }
  const scopes = answer.headers.get('Rcptgate-Scopes');
  if (scopes !== null) session.scopes = new Set(scopes.split(' '));
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  try {
    const p = await answer.json();
    return new Problem(answer.status, sentence(p.detail), sentence(p.hint), {field: p.field, report: p.import});
  } catch {
    return new Problem(answer.status, `The gate answered ${answer.status}.`, 'See its log.');
  }
}

// sentence gives words of the API a capital and a full stop.
function sentence(text) {
  if (!text) return '';
  return text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? '' : '.');
}

// get and post return the object of the answer.
export async function get(path, signal) {
  return (await open('GET', path, {signal})).json();
}

export async function post(path, body, signal) {
  return (await open('POST', path, {body, signal})).json();
}

// lines calls each for every object of a stream of lines, until it ends.
export async function lines(path, body, signal, each) {
  const answer = await open('POST', path, {body, signal, accept: 'application/x-ndjson'});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    for (const part of parts) {
      if (part !== '') each(JSON.parse(part));
    }
  }
}
