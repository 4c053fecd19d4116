// provenance -- where a picture came from, in words that a person understands; its neighbours to
// walk to.
import * as site from './site.js';

const FILE_MAX = 20e6;              // bytes: what the gateway takes
const AROUND = [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3], BESIDE = [-3, -2, -1, 0, 1, 2, 3];
const { make } = site;
const at = (id) => document.getElementById(id);

// What is sure, and how to say it.
const GRADES = {
    signed: ['yes', 'Made here, and signed.',
             'The file carries Content Credentials. They hold, and their signer is trusted.'],
    exact: ['yes', 'Made here. This very file.', 'Its bytes are on record.'],
    'exact (metadata differs)': ['yes', 'Made here. This very picture.',
                                 'Only what stands around the picture in the file was changed.'],
    confirmed: ['yes', 'Made here, and changed since.',
                'The original was compared with your picture, and it is the same one.'],
    possible: ['perhaps', 'Perhaps made here.',
               'Something on record looks like it. Comparing them did not settle it.'],
    claimed: ['perhaps', 'The file says that it was made here.',
              'That could not be checked. Anybody can write such a note into a file.'],
    'no record': ['no', 'Nothing is known of it.',
                  'It was not made here, or it was changed too much. ' +
                  'That does not mean that a camera made it.'],
};
const VERDICTS = {
    identical: ['yes', 'Made again just now: the very same file.', 'Every byte is equal.'],
    'same pixels': ['yes', 'Made again just now: the same picture.',
                    'Every pixel is equal. Only what stands around them differs.'],
    'within tolerance': ['yes', 'Made again just now: the same picture to the eye.',
                         'Another kind of device or another compression makes the difference.'],
    different: ['no', 'Made again just now: another picture.',
                'The recipe does not make these pixels. The picture was changed, or the note ' +
                'in it is not its own.'],
    'no record': ['no', 'It cannot be made again.', 'No recipe of this file is known.'],
};

let list = [], file = null, fileUrl = null, subject = null, stop = new AbortController();

// ---- words ----

function grade(box, [sure, head, words], ...more) {
    box.dataset.sure = sure;
    box.replaceChildren(make('strong', {}, head), make('p', {}, words),
                        ...more.filter(Boolean).map((text) => make('p', { class: 'lead' }, text)));
    box.hidden = false;
}

function likeness(match) {
    if (match.correlation === undefined)
        return null;
    const alike = Math.max(0, match.correlation * 100).toFixed(1);

    return `Your picture shows ${match.place?.words ?? 'it'}. It is ${alike} % alike to ` +
        `${match.rendered ? 'a new render of the original' : 'the original'}.`;
}

function tell(match) {
    const signer = match.credentials;

    grade(at('grade'), GRADES[match.grade] ?? ['perhaps', match.grade, ''], likeness(match),
          match.withdrawn ? 'It was withdrawn since: it is not given out any more.' : null,
          match.claim?.refuted ? 'The file names a recipe that makes another picture. ' +
              'Somebody put a foreign note into it.' : null,
          match.not_compared ? `It could not be compared: ${match.not_compared.message}.` : null,
          signer && !signer.valid ? `Its Content Credentials do not hold: ${signer.words}.` : null,
          signer?.valid && !signer.trusted
              ? `It is signed by ${signer.signer}, whom nobody here vouches for.` : null);
}

function addFact(name, value) {
    if (value !== undefined && value !== null && value !== '')
        at('facts').append(make('dt', {}, name), make('dd', {}, value));
}

// row: as the ledger has it; fields may be missing.
function tellFacts(row) {
    at('facts').replaceChildren();
    addFact('Model', row.model && `${row.model_name ?? ''}@${row.model.slice(0, 8)}`);
    addFact('Seed', row.seed?.toString());
    addFact('psi', row.psi?.toString());
    addFact('Made', row.created && new Date(row.created).toLocaleString());
    addFact('On', row.device && `${row.device} (${row.backend}, ${row.numerics_class})`);
    addFact('Together with', row.batch && (row.batch === 1 ? 'nothing else'
                                                            : `${row.batch - 1} other pictures`));
    addFact('By', row.worker && `worker ${row.worker}, seedpress ${row.version}`);
    addFact('File', row.sha256 && make('code', {}, row.sha256));
    addFact('Recipe', row.recipe_key && make('code', {}, row.recipe_key));
    if (row.recipe)
        addFact('In full', make('details', {}, make('summary', {}, 'what was asked for'),
                                make('pre', {}, row.recipe)));
}

// ---- what is looked at ----

// A match or a row of the gateway as {ref, seed, psi, class}; null when it names no picture.
function subjectOf(row) {
    const line = (name) => row.recipe?.match(new RegExp(`^${name}=(.*)$`, 'm'))?.[1];
    const digest = row.model ?? line('model');
    const seed = row.seed ?? line('latent')?.match(/^seed:(\d+)$/)?.[1];
    const name = row.model_name || list.find((m) => m.digest === digest)?.name;
    const psi = row.psi ?? Number(line('psi')) / 1e6;

    if (!digest || !name || seed === undefined)
        return null;
    return { ref: `${name}@${digest.slice(0, 8)}`, seed: Number(seed), psi,
             class: line('class') === 'none' ? null : line('class') };
}

function urlOf(s) {
    return site.api(s.ref, `${s.seed}.jpg`, { psi: s.psi, class: s.class });
}

function addressOf(s) {
    return site.address('provenance.html', site.nameOf(s));
}

function figure(img, words) {
    return make('figure', {}, img, make('figcaption', {}, words));
}

function neighbour(s, words, signal) {
    const button = make('button', { 'aria-label': `walk to ${words}` });

    if (s.seed === subject.seed && s.psi === subject.psi)
        button.setAttribute('aria-current', 'true');
    button.addEventListener('click', () => {
        history.pushState(null, '', addressOf(s));
        site.run(() => walkTo(s));
    });
    site.picture(urlOf(s), { signal })
        .then((facts) => button.replaceChildren(site.imageOf(facts)),
              (error) => button.title = error.message);
    return make('li', {}, button, words);
}

// Strangers' psi goes in steps of 0.05, so the neighbours stand on such.
function around(signal) {
    const psis = AROUND.map((d) => d === 0 ? subject.psi : Math.round((subject.psi + d) * 20) / 20);
    const seeds = BESIDE.map((d) => subject.seed + d);

    at('psis').replaceChildren(...psis.filter((psi) => Math.abs(psi) <= 2)
        .map((psi) => neighbour({ ...subject, psi }, `psi ${psi}`, signal)));
    at('seeds').replaceChildren(...seeds.filter((seed) => seed >= 0 && seed <= 4294967295)
        .map((seed) => neighbour({ ...subject, seed }, `seed ${seed}`, signal)));
}

function renew() {
    stop.abort(new DOMException('something else is looked at', 'AbortError'));
    stop = new AbortController();
    at('verdict').hidden = true;
    return stop.signal;
}

function setSubject(s, signal) {
    subject = s;
    for (const id of ['psis', 'seeds']) {
        at(id).hidden = !s;
        at(id).previousElementSibling.hidden = !s;
    }
    at('permalink').hidden = !s;
    if (s) {
        at('permalink').href = addressOf(s);
        around(signal);
    }
}

// ---- a file ----

function matchesOf(said) {
    return said.matches?.length > 0 ? said.matches : [said];
}

async function ask(given) {
    const signal = renew();

    if (given.size > FILE_MAX)
        throw new site.GatewayError(`the file has ${Math.ceil(given.size / 1e6)} MB; ` +
                                    `${FILE_MAX / 1e6} MB is the most`, 'too_large', null);
    site.say('Looking for where it came from. This can take some seconds.', 'busy');
    const said = await site.patiently(() => site.askJson(
        '/v1/provenance', { method: 'POST', body: given, signal }), { signal, wait: site.sayWait });
    const [match] = matchesOf(said);

    URL.revokeObjectURL(fileUrl);
    file = given;
    fileUrl = URL.createObjectURL(given);
    const yours = make('img', { alt: 'your picture', src: fileUrl });

    at('pair').replaceChildren(figure(yours, 'Your picture'));
    tell(match);
    tellFacts(match);
    at('answer').hidden = false;
    setSubject(subjectOf(match), signal);
    site.say('');
    if (subject && !match.withdrawn)
        await showOriginal(match, signal);
}

async function showOriginal(match, signal) {
    const facts = await site.picture(urlOf(subject), { signal, wait: site.sayWait });
    const same = !facts.recipe || !match.recipe_key || facts.recipe === match.recipe_key;

    at('pair').append(figure(site.imageOf(facts), `${site.altOf(facts)}` +
        (same ? ', as it was made here' : ', made here with other options than yours')));
    site.say('');
}

// ---- a picture by its name ----

async function walkTo(s) {
    const signal = renew();

    site.say('Asking for the picture.', 'busy');
    file = null;
    at('answer').hidden = false;
    setSubject(s, signal);
    const facts = await site.picture(urlOf(s), { signal, wait: site.sayWait });

    at('pair').replaceChildren(figure(site.imageOf(facts), site.altOf(facts)));
    const said = await site.askJson(`/v1/provenance?recipe=${facts.recipe}`, { signal });
    const [row] = said.rows ?? matchesOf(said);

    if (row) {
        grade(at('grade'), ['yes', 'Made here.', 'It was asked for by name, so this is certain.']);
        tellFacts(row);
    } else
        grade(at('grade'), GRADES['no record']);
    site.say(site.capital(site.wordsOf(facts)));
}

async function verify() {
    site.say('Making it again, and comparing. This can take some seconds.', 'busy');
    const body = file ?? await (await site.ask(urlOf(subject))).blob();
    const said = await site.patiently(() => site.askJson('/v1/verify', { method: 'POST', body }),
                                      { wait: site.sayWait });

    grade(at('verdict'), VERDICTS[said.answer] ?? ['perhaps', said.answer, ''],
          said.psnr_db === undefined ? null
              : `The pixels differ by ${said.max_levels} of 255 levels at most ` +
                `(${said.psnr_db.toFixed(1)} dB).`,
          said.recipe_found ? `The recipe was found ${said.recipe_found}.` : null, said.note);
    site.say('');
}

// ---- ways in ----

function take(files) {
    if (files?.length > 0)
        site.run(() => ask(files[0]));
}

function offerDrop() {
    const over = (yes) => (event) => {
        event.preventDefault();
        at('drop').classList.toggle('over', yes);
    };

    addEventListener('dragover', over(true));
    addEventListener('dragleave', over(false));
    addEventListener('drop', (event) => {
        over(false)(event);
        take(event.dataTransfer.files);
    });
    addEventListener('paste', (event) => take(event.clipboardData.files));
    at('choose').addEventListener('change', () => {
        take(at('choose').files);
        at('choose').value = '';        // the same file may be chosen again
    });
}

function walkToAddress() {
    const said = new URLSearchParams(location.search);

    if (/^\d{1,10}$/.test(said.get('seed') ?? ''))
        site.run(() => walkTo({
            ref: said.get('model') ?? list[0].ref, seed: Number(said.get('seed')),
            psi: Number(said.get('psi') ?? site.PSI), class: said.get('class') }));
}

offerDrop();
at('verify').addEventListener('click', () => site.run(verify));
addEventListener('popstate', walkToAddress);
site.start(async (_, all) => {
    list = all;
    walkToAddress();
});
