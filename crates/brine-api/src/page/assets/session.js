// Who is logged in, and requests in that name. The token is kept for this tab alone
// (sessionStorage), and sent in a header, so that no address or log ever holds it.

const TOKEN = 'brine.token';
const USER = 'brine.user';

/** A request that was refused, with what the server said. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let onLoggedOut = () => {};

/** Called whenever the server no longer knows the token. */
export function whenLoggedOut(act) { onLoggedOut = act; }

export const user = () => sessionStorage.getItem(USER) ?? '';
export const isLoggedIn = () => sessionStorage.getItem(TOKEN) !== null;

export async function logIn(username, password, eauth) {
  const response = await fetch('login', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
    body: JSON.stringify({ username, password, eauth }),
  });
  if (response.status === 401) throw new Refused(401, 'User, password or kind of authentication is wrong.');
  if (!response.ok) throw await refused(response);
  const [session] = (await response.json()).return;
  sessionStorage.setItem(TOKEN, session.token);
  sessionStorage.setItem(USER, session.user);
  localStorage.setItem('brine.eauth', eauth);
}

export async function logOut() {
  const token = sessionStorage.getItem(TOKEN);
  forget();
  // The server forgets it, too; if it cannot be reached the token expires by itself.
  await fetch('logout', { method: 'POST', headers: { 'X-Auth-Token': token ?? '' } }).catch(() => {});
}

function forget() {
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(USER);
}

/** A GET request in the user's name. Throws [Refused]. */
export async function get(path, { accept = 'application/json', headers = {}, signal } = {}) {
  const token = sessionStorage.getItem(TOKEN);
  if (token === null) throw new Refused(401, 'not logged in');
  const response = await fetch(path, {
    headers: { Accept: accept, 'X-Auth-Token': token, ...headers }, signal, cache: 'no-store',
  });
  if (response.status === 401) {
    if (sessionStorage.getItem(TOKEN) === token) forget();
    onLoggedOut();
  }
  if (!response.ok) throw await refused(response);
  return response;
}

/** What the server said, as JSON or as the text of an HTML page. */
async function refused(response) {
  const text = (await response.text()).slice(0, 4096);
  let message = `${response.status} ${response.statusText}`;
  try {
    const said = JSON.parse(text);
    message = said.error?.message ?? said.return ?? message;
  } catch {
    const paragraph = /<p>([^<]*)<\/p>/.exec(text);
    if (paragraph) message = paragraph[1];
  }
  return new Refused(response.status, String(message));
}
