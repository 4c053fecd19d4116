// slider -- one seed over psi. The steps are fetched from where the slider stands outwards; until a
// step is there, the nearest one that is stands in for it.
import * as site from './site.js';

const FROM = -1, TO = 1.5, STEP = 0.05;
const STEPS = Math.round((TO - FROM) / STEP) + 1;
const FLYING_MAX = 4;

const img = document.getElementById('picture');
const frame = document.getElementById('frame');
const slider = document.getElementById('psi');
const seedField = document.getElementById('seed');
let model, seed, steps = [], stop = new AbortController();

function wordsOf(psi) {
    if (psi === 0)
        return 'The average of everything the network knows. Every seed ends here.';
    if (psi < 0)
        return 'Beyond the average: what is most unlike this seed.';
    if (psi < 0.5)
        return 'Close to the average: clean, and much alike.';
    if (psi <= 0.85)
        return 'What most people like best.';
    return psi <= 1 ? 'As the network learnt it: bolder, with a flaw here and there.'
                    : 'Bolder than it ever learnt. Expect the odd.';
}

function position() {
    return Math.round((Number(slider.value) - FROM) / STEP);
}

function nearestThere(at) {
    const there = steps.filter((s) => s.isThere);

    return there.sort((a, b) => Math.abs(a.index - at) - Math.abs(b.index - at))[0] ?? null;
}

function draw() {
    const at = position(), step = steps[at], near = nearestThere(at);

    if (!step)
        return;
    document.getElementById('value').textContent = step.facts.psi;
    slider.setAttribute('aria-valuetext', `psi ${step.facts.psi}`);
    document.getElementById('words').textContent = wordsOf(Number(step.facts.psi));
    document.getElementById('file').href = step.facts.url;
    document.getElementById('permalink').href =
        site.address('slider.html', site.nameOf(step.facts));
    frame.ariaBusy = String(near !== step);
    if (near && img.getAttribute('src') !== near.facts.url)
        site.run(() => site.show(img, near.facts));
}

// The step that is wanted most: the nearest one that nobody fetches.
function mostWanted() {
    const at = position();

    return steps.filter((s) => !s.isTaken)
        .sort((a, b) => Math.abs(a.index - at) - Math.abs(b.index - at))[0];
}

async function fetchSteps(signal) {
    for (let step; (step = mostWanted()); ) {
        step.isTaken = true;
        await site.picture(step.facts.url, { signal, wait: site.sayWait });
        step.isThere = true;
        draw();
    }
}

async function open(wanted) {
    stop.abort(new DOMException('another seed', 'AbortError'));
    stop = new AbortController();
    const { signal } = stop;

    seed = wanted;
    seedField.value = seed;
    steps = [];
    site.say('Asking for the steps.', 'busy');
    const { pictures } = await site.patiently(() => site.askJson(
        site.api(model.ref, 'ladder', {
            seed, from: FROM, to: TO, steps: STEPS, class: site.lookOf(model).class }), { signal }),
                                              { signal, wait: site.sayWait });

    steps = pictures.map((p, index) => ({ index, facts: site.factsOf(p.url), isTaken: false,
                                          isThere: false }));
    draw();
    await Promise.all(Array.from({ length: FLYING_MAX }, () => fetchSteps(signal)));
    site.say(`Seed ${seed}: all ${STEPS} steps are here.`);
}

function openAny() {
    if (model)
        site.run(() => open(site.anySeed()));
}

slider.addEventListener('input', draw);
document.getElementById('another').addEventListener('click', openAny);
seedField.addEventListener('change', () => {
    if (model && seedField.value !== '' && seedField.checkValidity())
        site.run(() => open(Number(seedField.value)));
    else
        site.say('A seed is a whole number from 0 to 4294967295.', 'error');
});

site.start(async (chosen) => {
    slider.value = site.psiOf();
    model = chosen;
    await open(site.whole('seed') ?? site.anySeed());
});
