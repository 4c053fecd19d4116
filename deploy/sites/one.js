// one -- one picture; another one whenever somebody asks. The next is fetched ahead once somebody
// has asked for a second one.
import * as site from './site.js';

const SEEN_MAX = 100;               // how far back one can go

const img = document.getElementById('picture');
const frame = document.getElementById('frame');
const backButton = document.getElementById('back');
const seen = [];                    // the last one is on the screen
let model, look, next = null, busy = false;

function fetchOne() {
    return site.picture(site.api(model.ref, 'random.jpg', look), { wait: site.sayWait });
}

async function put(facts) {
    const here = site.nameOf(facts);

    await site.show(img, facts);
    document.getElementById('permalink').href = site.address('one.html', here);
    document.getElementById('file').href = facts.url;
    document.getElementById('psi').href = site.address('slider.html', here);
    document.getElementById('origin').href = site.address('provenance.html', here);
    site.say(site.capital(site.wordsOf(facts)));
    backButton.disabled = seen.length < 2;
}

// One thing at a time: who presses twice gets one picture.
function step(work) {
    if (busy || !model)
        return;
    busy = true;
    frame.ariaBusy = 'true';
    site.run(work).finally(() => {
        busy = false;
        frame.ariaBusy = 'false';
    });
}

function another() {
    step(async () => {
        const ahead = next;

        next = null;
        const facts = await ahead?.catch(() => null) ?? await fetchOne();

        seen.push(facts);
        if (seen.length > SEEN_MAX)
            seen.shift();
        site.forget();
        await put(facts);
        if (seen.length > 1) {
            next = fetchOne();
            next.catch(() => {});   // whoever takes it asks again
        }
    });
}

function back() {
    step(async () => {
        if (seen.length < 2)
            return;
        seen.pop();
        await put(seen.at(-1));
    });
}

document.getElementById('another').addEventListener('click', another);
backButton.addEventListener('click', back);
site.onKeys({ ' ': another, ArrowRight: another, ArrowLeft: back });
site.onSwipe(frame, another, back);
site.offerCopy(document.getElementById('copy'), document.getElementById('permalink'));

site.start(async (chosen) => {
    const seed = site.whole('seed');

    model = chosen;
    look = site.lookOf(model);
    if (seed === null)
        return another();
    step(async () => {
        seen.push(await site.picture(site.api(model.ref, `${seed}.jpg`, look),
                                     { wait: site.sayWait }));
        await put(seen[0]);
    });
});
