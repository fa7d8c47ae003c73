// The first page: it asks for a token, and says where one comes from.

import {el, fill, input, field} from './dom.js';

// signIn shows the page. problem is why the last token was not taken; done gets the next one.
export function signIn(main, problem, done) {
  const token = input('token', {type: 'password', required: true, maxlength: '512'});
  const form = el('form', {class: 'signin', on: {submit: (event) => {
    event.preventDefault();
    const given = token.value.trim();
    // What is no token cannot be sent in a header either.
    if (!/^[A-Za-z0-9\-._~+/=]+$/.test(given)) {
      signIn(main, {message: 'That is no token: it has characters that no token has.', hint: 'Paste all of it, and nothing else.'}, done);
      return;
    }
    done(given);
  }}},
  problem && el('div', {class: 'notice bad', role: 'alert'},
    el('p', null, problem.message), problem.hint && el('p', null, problem.hint)),
  field('Token', token, 'It stays in this tab, until you close it or sign out, and goes nowhere but to this gate.'),
  el('p', {class: 'buttons'}, el('button', {type: 'submit', class: 'main'}, 'Show the gate')));

  fill(main, el('div', {class: 'view narrow'},
    el('h1', null, 'What the gate does with your mail'),
    el('p', null, 'This page asks for a token, because the gate’s answers have addresses of people in them. ',
      'The page itself holds no data.'),
    form,
    el('section', null, el('h2', null, 'Where a token comes from'), el('ol', {class: 'steps'},
      el('li', null, 'Make one on the gate’s machine:', el('pre', null, 'openssl rand -hex 32')),
      el('li', null, 'Write it into a file, as name, scopes and token on a line:',
        el('pre', null, 'desk read,write THE-TOKEN'),
        'The scope read shows everything; write changes suppressions and overrides and releases senders. ',
        'The file must belong to the gate’s user, with mode 0600.'),
      el('li', null, 'Name the file in the gate’s configuration, and reload it:',
        el('pre', null, '[http]\ntokens_file = "/etc/rcptgate/tokens"')),
      el('li', null, 'Paste the token above.')),
    el('p', null, 'Later changes of the file hold within a second. All of this is in docs/api.md.'))));
  document.getElementById('said').replaceChildren();
  token.focus();
}
