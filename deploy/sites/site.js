// site -- what all pages share: asking the gateway, pictures, the choice of a model, words.
//
// A page names what it shows in its own address (model, seed, psi): nothing is kept elsewhere.

export const PSI = '0.7';           // what most people like best: see the psi slider

// ---- asking ----

// What the gateway said no with. retryMs: when to ask again; null: never.
export class GatewayError extends Error {
    constructor(message, code, retryMs) {
        super(message);
        this.code = code;
        this.retryMs = retryMs;
    }
}

async function refusal(answer) {
    const said = await answer.json().catch(() => ({}));
    const seconds = Number(answer.headers.get('Retry-After'));
    const again = said.retry ?? [429, 502, 503, 504].includes(answer.status);
    const retryMs = Math.max(said.retry_after_ms || 0, (seconds || 0) * 1000, 500);

    return new GatewayError(said.message || `the gateway answered ${answer.status}`,
                            said.code || String(answer.status), again ? retryMs : null);
}

// fetch, whose refusals are GatewayErrors. An abort stays what it is.
export async function ask(url, options = {}) {
    let answer;

    try {
        answer = await fetch(url, options);
    } catch (error) {
        if (error.name === 'AbortError')
            throw error;
        throw new GatewayError('the gateway cannot be reached', 'unreachable', 3000);
    }
    if (!answer.ok)
        throw await refusal(answer);
    return answer;
}

export async function askJson(url, options) {
    return (await ask(url, options)).json();
}

// Resolves after ms; rejects at once when signal aborts.
export function pause(ms, signal) {
    return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const timer = setTimeout(resolve, ms);

        signal?.addEventListener('abort', () => {
            clearTimeout(timer);
            reject(signal.reason);
        }, { once: true });
    });
}

// Tries again what may be tried again, when the gateway says so. wait(error) is told of each wait.
export async function patiently(work, { signal, wait, tries = 6 } = {}) {
    for (let i = 1; ; i++) {
        try {
            return await work();
        } catch (error) {
            if (!(error instanceof GatewayError) || error.retryMs === null || i === tries)
                throw error;
            wait?.(error);
            await pause(error.retryMs, signal);
        }
    }
}

// ---- pictures ----

// What a permanent URL says: "/v1/avatars64@4a9f879d/42.jpg?psi=0.7".
export function factsOf(url) {
    const at = new URL(url, location.href);
    const [, ref, seed] = at.pathname.match(/^\/v1\/([^/]+)\/(\d+)\.jpg$/) || [];

    return { url: at.pathname + at.search, ref, name: ref?.split('@')[0], seed: Number(seed),
             psi: at.searchParams.get('psi') ?? '1', class: at.searchParams.get('class') };
}

// "seed 42, psi 0.7, class 3".
export function wordsOf(facts) {
    return `seed ${facts.seed}, psi ${facts.psi}` + (facts.class ? `, class ${facts.class}` : '');
}

export function altOf(facts) {
    return `${facts.name}, ${wordsOf(facts)}`;
}

// Fetches a picture whole, so that an <img> of facts.url finds it in the browser's cache; says
// where redirections led. Refusals have words, which those of an <img> have not.
export async function picture(url, { signal, wait } = {}) {
    return patiently(async () => {
        const answer = await ask(url, { signal });

        await answer.blob();
        return { ...factsOf(answer.url), recipe: answer.headers.get('X-Recipe') };
    }, { signal, wait });
}

// Resolves when the picture is on the screen, or another one has taken its place meanwhile.
export async function show(img, facts) {
    img.alt = altOf(facts);
    img.src = facts.url;
    try {
        await img.decode();
    } catch {
        if (img.getAttribute('src') === facts.url)
            throw new GatewayError(`${altOf(facts)} cannot be shown`, 'file', null);
    }
}

export function imageOf(facts) {
    const img = document.createElement('img');

    img.alt = altOf(facts);
    img.decoding = 'async';
    img.src = facts.url;
    return img;
}

// ---- addresses ----

export const query = new URLSearchParams(location.search);

// A page's address with what is said; empty values are left out.
export function address(page, values) {
    const said = Object.entries(values).filter(isSaid);

    // An @ is fine in a query, and easier to read.
    return `${page}?${new URLSearchParams(said)}`.replace(/%40/g, '@').replace(/\?$/, '');
}

function isSaid([, value]) {
    return value !== undefined && value !== null && value !== '';
}

// What a page's address says of one picture.
export function nameOf(facts) {
    return { model: facts.ref, seed: facts.seed, psi: facts.psi, class: facts.class };
}

// The page's own address without what it shows now: a reload shows something else.
export function forget() {
    query.delete('seed');
    history.replaceState(null, '', address(location.pathname, Object.fromEntries(query)));
}

// A picture's or a list's address: what is the default is not said.
export function api(ref, what, values = {}) {
    const said = Object.entries(values).filter(([k, v]) => !(k === 'psi' && Number(v) === 1));

    return address(`/v1/${ref}/${what}`, Object.fromEntries(said));
}

// A whole number from 0 to max out of the page's address; otherwise null.
export function whole(name, max = 4294967295) {
    const text = query.get(name);

    return text !== null && /^\d{1,10}$/.test(text) && Number(text) <= max ? Number(text) : null;
}

export function psiOf() {
    const text = query.get('psi');

    return text !== null && /^-?\d(\.\d{1,6})?$/.test(text) && Math.abs(Number(text)) <= 2
        ? String(Number(text)) : PSI;
}

export function anySeed() {
    return crypto.getRandomValues(new Uint32Array(1))[0];
}

// ---- models ----

const NOUNS = { ffhq: 'person', metfaces: 'portrait', afhq: 'animal', afhqv: 'animal' };

// "avatars64": "avatar".
export function nounOf(name) {
    const word = name.toLowerCase().match(/[a-z]+/)?.[0] ?? 'picture';

    return NOUNS[word] ?? (word.length > 3 ? word.replace(/s$/, '') : word);
}

function withRef(model) {
    return { ...model, ref: `${model.name}@${model.digest8}`, noun: nounOf(model.name) };
}

// Those that a worker has come first; of the others there are stored pictures at most.
export async function models(options) {
    const list = (await patiently(() => askJson('/v1/models'), options)).models.map(withRef)
        .sort((a, b) => isServed(b) - isServed(a));

    if (list.length === 0)
        throw new GatewayError('no model is being served; start a worker that has one',
                               'no_worker', null);
    return list;
}

export function isServed(model) {
    return model.workers > 0;
}

// The model that the page's address names under key: one of list, an older one by its digest, or
// the first of list.
export function modelOf(list, key = 'model') {
    const said = query.get(key);
    const [name, digest] = (said ?? '').split('@');
    const known = list.find((m) => m.name === name && (!digest || m.digest.startsWith(digest)));

    if (known || !said)
        return known ?? list[0];
    return { ...list[0], classes: 0, licence: '', name, ref: said, noun: nounOf(name) };
}

// Shows the choice of a model; choosing opens the page with that one. With one model there is no
// choice, and so none is shown.
export function offerModels(list, chosen, key = 'model') {
    const label = document.querySelector(`[data-models="${key}"]`);
    const select = label?.querySelector('select');
    const offered = list.filter((m) => isServed(m) || m.ref === chosen.ref);

    if (!label || offered.length < 2)
        return;
    for (const model of offered)
        select.append(new Option(model.name, model.name, false, model.name === chosen.name));
    label.hidden = false;
    select.addEventListener('change', () => {
        query.set(key, select.value);
        query.delete('seed');
        query.delete(classKey(key));
        location.search = query;
    });
}

function classKey(key) {
    return key === 'model' ? 'class' : `${key}-class`;
}

// The class that the page's address names; the first of a model that has classes, else null.
export function classOf(model, key = 'model') {
    return query.get(classKey(key)) ?? (model.classes > 0 ? '0' : null);
}

// A field for the class beside the choice of the model; only for a model that has classes.
export function offerClasses(model, key = 'model') {
    const field = make('input', { type: 'number', min: 0, max: model.classes - 1, required: '',
                                  value: classOf(model, key) ?? '' });

    if (!(model.classes > 0))
        return;
    field.addEventListener('change', () => {
        if (!field.reportValidity())
            return;
        query.set(classKey(key), field.value);
        location.search = query;
    });
    document.querySelector(`[data-models="${key}"]`)?.after(make('label', {}, 'Class ', field));
}

// A model's word into the page's title and heading, its name and licence into the foot.
export function introduce(model) {
    for (const place of document.querySelectorAll('[data-noun]'))
        place.textContent = model.noun;
    document.title = document.title.replace(/avatar/, model.noun);
    for (const place of document.querySelectorAll('[data-about]'))
        place.textContent = model.licence ? `${model.ref}, ${model.licence}` : model.ref;
}

// ---- words ----

// One line that screen readers speak as well. kind: "", "busy" or "error".
export function say(text, kind = '') {
    const line = document.getElementById('status');

    line.textContent = text;
    line.dataset.kind = kind;
}

// What patiently is told while it waits.
export function sayWait(error) {
    say(`${capital(error.message)}. Trying again in ${Math.ceil(error.retryMs / 1000)} s.`, 'busy');
}

export function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
}

// Asks for the models and calls work(model, list) with the one that the page's address names.
export function start(work) {
    return run(async () => {
        say('Asking which models there are.', 'busy');
        const list = await models({ wait: sayWait });
        const model = modelOf(list);

        introduce(model);
        offerModels(list, model);
        offerClasses(model);
        say('');
        await work(model, list);
    });
}

// How the pictures of a page are to be: its psi, and a class where the model has classes.
export function lookOf(model) {
    return { psi: psiOf(), class: classOf(model) };
}

// Runs a page's or a button's work; what goes wrong stands on the page.
export async function run(work) {
    try {
        await work();
    } catch (error) {
        if (error.name !== 'AbortError')
            say(`${capital(error.message)}.`, 'error');
        if (error.name !== 'AbortError' && !(error instanceof GatewayError))
            throw error;            // a mistake of the page's own: into the console as well
    }
}

// A new element: text content, attributes, children.
export function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);

    for (const [name, value] of Object.entries(attributes))
        element.setAttribute(name, value);
    element.append(...children);
    return element;
}

// Copies a link's address and says so.
export function offerCopy(button, link) {
    button.addEventListener('click', () => run(async () => {
        await navigator.clipboard.writeText(link.href);
        say('The link is copied.');
    }));
    button.hidden = !navigator.clipboard;
}

// Keys that act wherever nothing else wants them: { ' ': next, ArrowRight: next }.
export function onKeys(keys) {
    addEventListener('keydown', (event) => {
        const busy = event.target.closest?.('input, select, textarea, button, a, summary');
        const action = keys[event.key];

        if (!action || event.ctrlKey || event.metaKey || event.altKey)
            return;
        if (busy && (event.key === ' ' || !busy.matches('button, a')))
            return;
        event.preventDefault();
        action();
    });
}

// Calls left or right after a swipe over element.
export function onSwipe(element, left, right) {
    let from = null;

    element.addEventListener('touchstart', (event) => {
        from = event.touches.length === 1 ? event.touches[0] : null;
    }, { passive: true });
    element.addEventListener('touchend', (event) => {
        const to = event.changedTouches[0];
        const x = from ? to.clientX - from.clientX : 0, y = from ? to.clientY - from.clientY : 0;

        if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y))
            (x < 0 ? left : right)();
    });
}
