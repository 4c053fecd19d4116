// slow -- a picture that changes by itself. "The same for everybody" shows the gateway's picture of
// the time slot; otherwise the next one is fetched while this one is looked at.
import * as site from './site.js';

const frame = document.getElementById('frame');
const meter = document.getElementById('meter');
const pauseButton = document.getElementById('pause');
const every = document.getElementById('every');
const shared = document.getElementById('shared');
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let model, look, url = null, stop = new AbortController();

function seconds() {
    return Number(every.value);
}

// The new one fades in over the old one, or just stands there for those who want no motion.
async function put(facts) {
    const img = site.imageOf(facts);
    const old = [...frame.children];

    await img.decode();
    if (old.length > 0)
        img.className = calm.matches ? 'over' : 'over fade';
    frame.append(img);
    if (old.length > 0 && !calm.matches)
        await new Promise((resolve) => {
            img.addEventListener('animationend', resolve, { once: true });
            img.addEventListener('animationcancel', resolve, { once: true });
        });
    for (const one of old)
        one.remove();
    img.className = '';
    url = facts.url;
    document.getElementById('file').href = facts.url;
    document.getElementById('permalink').href = site.address('one.html', site.nameOf(facts));
}

function runMeter(ms) {
    meter.className = '';
    meter.getBoundingClientRect();  // so that the animation begins anew
    meter.style.animationDuration = `${ms}ms`;
    meter.className = 'runs';
}

function untilNextSlot() {
    const slot = seconds() * 1000;

    return slot - Date.now() % slot;
}

// Clocks differ: while the gateway still gives the slot before, it is asked again.
async function ofSlot(signal) {
    const at = site.api(model.ref, 'latest.jpg', { every: every.value, ...look });

    for (let i = 0; ; i++) {
        const facts = await site.picture(at, { signal, wait: site.sayWait });

        if (facts.url !== url || i === 5)
            return facts;
        await site.pause(1000, signal);
    }
}

function ofMine(signal) {
    return site.picture(site.api(model.ref, 'random.jpg', look), { signal, wait: site.sayWait });
}

async function change(signal) {
    let ahead = null;

    for (;;) {
        const facts = await (ahead ?? (shared.checked ? ofSlot(signal) : ofMine(signal)));

        await put(facts);
        signal.throwIfAborted();
        const ms = shared.checked ? untilNextSlot() : seconds() * 1000;

        site.say('');
        runMeter(ms);
        ahead = shared.checked ? null : ofMine(signal);
        ahead?.catch(() => {});     // awaited above, at its time
        await site.pause(ms, signal);
    }
}

function halt() {
    stop.abort(new DOMException('stopped', 'AbortError'));
    meter.className = '';
}

function isPaused() {
    return pauseButton.ariaPressed === 'true';
}

function go() {
    halt();
    if (!model || isPaused() || document.hidden)
        return;
    stop = new AbortController();
    site.run(() => change(stop.signal));
}

function togglePause() {
    pauseButton.ariaPressed = String(!isPaused());
    pauseButton.textContent = isPaused() ? 'Go on' : 'Pause';
    go();
    site.say(isPaused() ? 'Paused.' : '');
}

pauseButton.addEventListener('click', togglePause);
site.onKeys({ ' ': togglePause });
every.addEventListener('change', go);
shared.addEventListener('change', go);
document.addEventListener('visibilitychange', go);

site.start(async (chosen) => {
    if ([...every.options].some((o) => o.value === site.query.get('every')))
        every.value = site.query.get('every');
    model = chosen;
    look = site.lookOf(model);
    go();
});
