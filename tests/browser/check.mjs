// Every page of deploy/sites, in Chromium, as a person would use it.
//     node --test-reporter=tap check.mjs FOLDER
// Modules come from FOLDER/node_modules; screenshots go into FOLDER.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { end, Stack } from './stack.mjs';

const folder = path.resolve(process.argv[2]);
const load = createRequire(`${folder}/`);
const { chromium } = load('playwright-core');
const axe = fs.readFileSync(load.resolve('axe-core/axe.min.js'), 'utf8');
const SITES = 'deploy/sites';
const SIZE_MAX = 48 * 1024;         // bytes of one page with all it loads, pictures aside
const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const stack = new Stack();
let browser;

before(async () => {
    await stack.start(SITES);
    // Its sandbox does not work for root.
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium',
                                      args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
});
after(async () => {
    await browser?.close();
    await stack.stop();
});
for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => stack.stop().finally(() => process.exit(1)));

// ---- a visit ----

// A page whose console must stay clean, and which asks nobody but the gateway. expected: what the
// console may say.
async function visit(address, work, { expected = /^$/, options = {}, host = stack.url } = {}) {
    const context = await browser.newContext({ viewport: SIZES.desk, ...options });
    const page = await context.newPage();
    const bad = [];

    page.setDefaultTimeout(30000);
    page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type()) && !expected.test(message.text()))
            bad.push(message.text());
    });
    page.on('pageerror', (error) => bad.push(error.stack));
    page.on('request', (request) => {
        if (!request.url().startsWith(host) && !/^(blob|data):/.test(request.url()))
            bad.push(`asked ${request.url()}`);
    });
    try {
        await page.goto(`${host}/${address}`);
        await work(page);
        assert.deepEqual(bad, []);
    } catch (error) {
        if (bad.length > 0)
            error.message += `\nthe page said: ${bad.join('\n')}`;
        throw error;
    } finally {
        await context.close();
    }
}

// Nothing is under way, and at least count pictures in where are decoded.
async function settled(page, where, count) {
    await page.waitForFunction(([selector, least]) => {
        const imgs = [...document.querySelectorAll(selector)];

        return document.getElementById('status').dataset.kind !== 'busy' && imgs.length >= least &&
            imgs.every((img) => img.complete && img.naturalWidth > 0);
    }, [where, count]);
}

function sourceOf(page, selector = '#picture') {
    return page.locator(selector).first().getAttribute('src');
}

async function changed(page, from, selector = '#picture') {
    await page.waitForFunction(([where, old]) => {
        const img = document.querySelector(where);

        return img?.getAttribute('src') && img.getAttribute('src') !== old &&
            img.naturalWidth > 0 && document.getElementById('frame')?.ariaBusy !== 'true';
    }, [selector, from]);
    return sourceOf(page, selector);
}

// A finger that moves by x pixels over where.
async function swipe(page, where, x) {
    const box = await page.locator(where).boundingBox();
    const from = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    const cdp = await page.context().newCDPSession(page);
    const say = (type, ...touchPoints) =>
        cdp.send('Input.dispatchTouchEvent', { type, touchPoints });

    await say('touchStart', from);
    await say('touchMove', { x: from.x + x, y: from.y });
    await say('touchEnd');
    await cdp.detach();
}

// For a person to look at: on a desk and on a phone, light and dark.
async function shoot(page, name) {
    const animated = page.locator('.fade');

    await animated.waitFor({ state: 'detached' });
    for (const [size, viewport] of Object.entries(SIZES))
        for (const colorScheme of ['light', 'dark']) {
            await page.setViewportSize(viewport);
            await page.emulateMedia({ colorScheme });
            await page.screenshot({ path: `${folder}/${name}-${size}-${colorScheme}.png`,
                                    animations: 'disabled' });
        }
}

// Shots, whether it fits a phone, and what axe says of it.
async function look(page, name) {
    await shoot(page, name);
    for (const width of [390, 360]) {
        await page.setViewportSize({ width, height: 740 });
        const over = await page.evaluate(() =>
            document.documentElement.scrollWidth - document.documentElement.clientWidth);

        assert.equal(over, 0, `${name} is ${over} pixels too wide for a phone of ${width}`);
    }
    for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await judge(page, name);
    }
    await page.setViewportSize(SIZES.desk);
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'no-preference' });
}

async function judge(page, name) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }));
    const words = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`);

    assert.deepEqual(words, [], name);
}

// ---- the pages ----

test('the directory leads to every page, and each picture in it decodes', () =>
    visit('', async (page) => {
        await settled(page, '.thumbs img', 10);
        const links = await page.locator('.card').evaluateAll((all) => all.map((a) => a.href));
        const pages = fs.readdirSync(SITES).filter((f) => /html$/.test(f) && f !== 'index.html');

        assert.deepEqual(links.map((l) => path.basename(l)).sort(), pages.sort());
        assert.match(await page.textContent('#models'), /avatars64@4a9f879d/);
        await look(page, 'index');
    }));

test('one: each refresh, the button, the keys and a swipe show another; back goes back', () =>
    visit('one.html', async (page) => {
        await settled(page, '#picture', 1);
        const first = await sourceOf(page);

        await page.reload();
        await settled(page, '#picture', 1);
        const second = await sourceOf(page);

        assert.notEqual(second, first);
        assert.match(await page.getAttribute('#picture', 'alt'), /^avatars64, seed \d+, psi 0\.7$/);
        await page.click('#another');
        const third = await changed(page, second);

        await page.locator('body').press('Space');
        const fourth = await changed(page, third);

        await page.locator('body').press('ArrowLeft');
        assert.equal(await changed(page, fourth), third);
        await swipe(page, '#frame', -100);
        const fifth = await changed(page, third);

        await swipe(page, '#frame', 100);
        assert.equal(await changed(page, fifth), third);
    }, { options: { hasTouch: true } }));

test('one: its link is copied', () =>
    visit('one.html?seed=9', async (page) => {
        await settled(page, '#picture', 1);
        await page.click('#copy');
        await page.getByText('The link is copied.').waitFor();
        assert.match(await page.evaluate(() => navigator.clipboard.readText()),
                     /\/one\.html\?model=avatars64@[0-9a-f]{8}&seed=9&psi=0\.7$/);
    }, { options: { permissions: ['clipboard-read', 'clipboard-write'] } }));

test('one: its link shows the same picture again', () =>
    visit('one.html', async (page) => {
        await settled(page, '#picture', 1);
        const source = await sourceOf(page);

        await page.click('#permalink');
        await page.waitForURL(/seed=\d+/);
        await settled(page, '#picture', 1);
        assert.equal(await sourceOf(page), source);
        await look(page, 'one');
    }));

test('page: 56 pictures come, and 56 others when asked', () =>
    visit('page.html?seed=560', async (page) => {
        await settled(page, '#grid img', 56);
        const seeds = await page.locator('#grid img').evaluateAll((all) =>
            all.map((img) => Number(img.src.match(/(\d+)\.jpg/)[1])));

        assert.deepEqual(seeds, Array.from({ length: 56 }, (_, i) => 560 + i));
        await look(page, 'page');
        const first = await sourceOf(page, '#grid img');

        await page.locator('#next').focus();
        await page.keyboard.press('Enter');
        await changed(page, first, '#grid img');
        await settled(page, '#grid img', 56);
    }));

test('page: what was withdrawn says so in its place, and the others come', { timeout: 60000 },
     async () => {
    const ask = () => fetch(`${stack.url}/v1/avatars64/5603.jpg?psi=0.7`);

    stack.withdraw((await ask()).headers.get('X-Recipe'));
    // The gateway trusts what it has for some seconds.
    while ((await ask()).status !== 410)
        await new Promise((resolve) => setTimeout(resolve, 100));
    await visit('page.html?seed=5600', async (page) => {
        await settled(page, '#grid img', 55);
        await page.waitForFunction(() => document.getElementById('status').textContent ===
            '1 of 56 could not be made.');
        const button = page.locator('#grid li:nth-child(4) button');

        assert.match(await button.getAttribute('aria-label'), /seed 5603.*withdrawn/);
        await button.click();
        await page.waitForFunction(() =>
            document.getElementById('status').textContent.includes('withdrawn'));
        await judge(page, 'page with a hole');
    }, { expected: /status of 410/ });
});

test('page: without events every picture is asked for by itself', () =>
    visit('icon.svg', async (page) => {
        await page.route('**/events*', (route) => route.abort());
        await page.goto(`${stack.url}/page.html?seed=560`);
        await settled(page, '#grid img', 56);
        assert.equal(await page.textContent('#status'), '56 pictures.');
    }, { expected: /ERR_FAILED|favicon|404/ }));

test('slow: the picture changes by itself', () =>
    visit('slow.html', async (page) => {
        await settled(page, '#frame img', 1);
        await look(page, 'slow');
        await page.selectOption('#every', '5');
        const first = await sourceOf(page, '#frame img');
        const second = await changed(page, first, '#frame img:last-child');

        await page.uncheck('#shared');
        await changed(page, second, '#frame img:last-child');
    }));

test('slow: nothing is asked for while it is paused', () =>
    visit('slow.html', async (page) => {
        const asked = [];

        await page.clock.install();
        await page.reload();
        await settled(page, '#frame img', 1);
        const shown = await sourceOf(page, '#frame img');

        await page.keyboard.press('Space');
        assert.equal(await page.textContent('#status'), 'Paused.');
        page.on('request', (request) => asked.push(request.url()));
        await page.clock.fastForward('05:00');
        // Whatever was to be asked for went out before this.
        await page.evaluate(() => fetch('/livez'));
        assert.deepEqual(asked.map((url) => new URL(url).pathname), ['/livez']);
        assert.equal(await sourceOf(page, '#frame img'), shown);
        await page.click('#pause');
        await page.clock.fastForward('01:00');
        await changed(page, shown, '#frame img:last-child');
    }));

test('slow: everybody sees the same', async () => {
    const seen = [];

    for (let i = 0; i < 2; i++)
        await visit('slow.html?every=60', async (page) => {
            await settled(page, '#frame img', 1);
            seen.push([Math.floor(Date.now() / 60000), await sourceOf(page, '#frame img')]);
        });
    // Unless a minute began between the two.
    assert.ok(seen[0][0] !== seen[1][0] || seen[0][1] === seen[1][1], seen.join(' '));
});

test('wall: it stays bounded however far it is scrolled, and comes back to its place', () =>
    visit('wall.html?seed=1000', async (page) => {
        await settled(page, '#wall img', 20);
        await look(page, 'wall');
        let most = 0;

        for (let i = 0; i < 40; i++) {
            await page.mouse.wheel(0, 1500);
            const now = await page.evaluate(() => new Promise((resolve) =>
                requestAnimationFrame(() => resolve(document.querySelectorAll('#wall a').length))));

            most = Math.max(most, now);
        }
        assert.ok(most <= 200, `${most} pictures in the page`);
        await settled(page, '#wall img', 20);
        await page.waitForURL(/at=\d{3}/);
        const place = await page.locator('#wall a').first().getAttribute('href');
        const at = page.url();

        assert.ok(await page.evaluate(() => scrollY) > 20000);
        await page.reload();
        await settled(page, '#wall img', 20);
        assert.equal(page.url(), at);
        assert.equal(await page.locator('#wall a').first().getAttribute('href'), place);
    }));

test('wall: what scrolled away is cancelled', () => {
    stack.worker.kill('SIGSTOP');
    return visit('wall.html?seed=700000000', async (page) => {
        const failed = [], ended = new Set();

        page.on('requestfailed', (r) => failed.push(r.failure().errorText));
        page.on('requestfinished', (r) => ended.add(r.url()));
        // Gone while something is under way: what the wall asks for here was never rendered.
        const cancelled = page.waitForEvent('requestfailed');

        await page.waitForRequest(/70000\d+\.jpg/);
        await page.evaluate(() => scrollTo(0, 50000));
        await cancelled;
        stack.worker.kill('SIGCONT');
        await settled(page, '#wall img', 20);
        assert.deepEqual([...new Set(failed)], ['net::ERR_ABORTED']);
        assert.ok(ended.size < 400);
    }).finally(() => stack.worker.kill('SIGCONT'));
});

test('wall: by keyboard from one picture to the next', () =>
    visit('wall.html?seed=1000', async (page) => {
        await settled(page, '#wall img', 20);
        await page.locator('#wall a').nth(3).focus();
        await page.keyboard.press('Tab');
        assert.match(await page.evaluate(() => document.activeElement.href), /seed=1004/);
        await page.keyboard.press('Enter');
        await page.waitForURL(/one\.html\?.*seed=1004/);
        await settled(page, '#picture', 1);
    }));

test('listing: its link shows the same words and pictures; another one differs', () =>
    visit('listing.html', async (page) => {
        const read = () => page.locator('#listing').evaluate((article) =>
            article.innerText + [...article.querySelectorAll('img')].map((i) => i.alt));

        await settled(page, '#listing img', 6);
        const first = await read();

        await page.click('#permalink');
        await page.waitForURL(/seed=\d+/);
        await settled(page, '#listing img', 6);
        assert.equal(await read(), first);
        await page.click('#another');
        await page.waitForFunction((old) => !old.startsWith(
            document.querySelector('#listing').innerText), first);
        await settled(page, '#listing img', 6);
        assert.ok(!page.url().includes('seed='));
        await page.goto(`${stack.url}/listing.html?seed=7`);
        await settled(page, '#listing img', 6);
        await look(page, 'listing');
    }));

test('slider: the keys move psi, and the picture with it', () =>
    visit('slider.html?seed=9', async (page) => {
        await settled(page, '#picture', 1);
        assert.match(await page.textContent('#status'), /all 51 steps/);
        const first = await sourceOf(page);

        assert.match(first, /\/9\.jpg\?psi=0\.7$/);
        await page.locator('#psi').press('ArrowRight');
        assert.match(await changed(page, first), /\/9\.jpg\?psi=0\.75$/);
        assert.equal(await page.getAttribute('#psi', 'aria-valuetext'), 'psi 0.75');
        await page.locator('#psi').press('Home');
        await page.waitForFunction(() => /psi=-1$/.test(document.getElementById('picture').src) &&
                                         document.getElementById('frame').ariaBusy === 'false');
        assert.match(await page.getAttribute('#permalink', 'href'), /seed=9&psi=-1$/);
        // Faster than pictures can be shown: each is overtaken by the next.
        await page.locator('#psi').evaluate((slider) => {
            for (let i = 0; i <= 34; i++) {
                slider.value = -1 + i * 0.05;
                slider.dispatchEvent(new Event('input'));
            }
        });
        await page.waitForFunction(() => /psi=0\.7$/.test(document.getElementById('picture').src));
        await settled(page, '#picture', 1);
        assert.match(await page.textContent('#status'), /all 51 steps/);
        await look(page, 'slider');
        await page.fill('#seed', '10');
        await page.locator('#seed').press('Enter');
        await page.waitForFunction(() => /\/10\.jpg/.test(document.getElementById('picture').src));
    }));

// ---- provenance ----

async function pictureBytes(seed) {
    const answer = await fetch(`${stack.url}/v1/avatars64/${seed}.jpg?psi=0.7`);

    assert.equal(answer.status, 200);
    return Buffer.from(await answer.arrayBuffer());
}

// As a person drags a file onto the page.
async function drop(page, name, bytes, type) {
    const data = await page.evaluateHandle(([base64, fileName, fileType]) => {
        const transfer = new DataTransfer();
        const raw = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

        transfer.items.add(new File([raw], fileName, { type: fileType }));
        return transfer;
    }, [bytes.toString('base64'), name, type]);

    await page.dispatchEvent('#drop', 'drop', { dataTransfer: data });
}

async function graded(page, words) {
    await page.waitForFunction((text) =>
        document.getElementById('grade').innerText.includes(text) &&
        document.getElementById('status').dataset.kind !== 'busy', words);
}

test('provenance: a picture as it was made; verified again; its neighbours', () =>
    visit('provenance.html', async (page) => {
        await drop(page, 'a.jpg', await pictureBytes(42), 'image/jpeg');
        await graded(page, 'This very file');
        await settled(page, '#pair img', 2);
        await settled(page, '#psis img', 7);
        await settled(page, '#seeds img', 7);
        assert.match(await page.textContent('#facts'), /avatars64@4a9f879d.*Seed42psi0\.7/);
        await page.click('#verify');
        await page.waitForFunction(() =>
            document.getElementById('verdict').innerText.includes('the very same file'));
        await look(page, 'provenance');
        await page.click('#seeds li:nth-child(5) button');
        await page.waitForURL(/seed=43/);
        await graded(page, 'asked for by name');
        assert.match(await page.textContent('#facts'), /Seed43psi0\.7/);
        await page.click('#psis li:nth-child(6) button');
        await page.waitForURL(/psi=0\.9/);
        await page.waitForFunction(() => /Seed43psi0\.9/.test(
            document.getElementById('facts').textContent));
        await page.goBack();
        await page.waitForFunction(() => /Seed43psi0\.7/.test(
            document.getElementById('facts').textContent));
    }));

test('provenance: a picture that was stripped and compressed again is recognised', () =>
    visit('provenance.html', async (page) => {
        const original = await pictureBytes(42);
        // A canvas keeps the pixels only, and writes another JPEG of twice the size.
        const base64 = await page.evaluate(async (from) => {
            const img = new Image();

            img.src = `data:image/jpeg;base64,${from}`;
            await img.decode();
            const canvas = document.createElement('canvas');

            canvas.width = canvas.height = 128;
            canvas.getContext('2d').drawImage(img, 0, 0, 128, 128);
            return canvas.toDataURL('image/jpeg', 0.7).split(',')[1];
        }, original.toString('base64'));
        const copy = Buffer.from(base64, 'base64');

        assert.ok(!copy.includes('seedpress'));
        await drop(page, 'copy.jpg', copy, 'image/jpeg');
        await graded(page, 'changed since');
        assert.match(await page.textContent('#grade'), /scaled to 20\d %/);
        assert.match(await page.textContent('#facts'), /Seed42psi0\.7/);
        await settled(page, '#pair img', 2);
        await shoot(page, 'provenance-copy');
    }));

test('provenance: a picture that is pasted is recognised', () =>
    visit('provenance.html', async (page) => {
        const original = await pictureBytes(42);

        await page.evaluate(async (from) => {       // browsers copy pictures as PNG
            const img = new Image();

            img.src = `data:image/jpeg;base64,${from}`;
            await img.decode();
            const canvas = document.createElement('canvas');

            canvas.width = canvas.height = 64;
            canvas.getContext('2d').drawImage(img, 0, 0);
            const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));

            await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
        }, original.toString('base64'));
        await page.locator('body').press('Control+v');
        await graded(page, 'changed since');
        assert.match(await page.textContent('#facts'), /Seed42psi0\.7/);
    }, { options: { permissions: ['clipboard-read', 'clipboard-write'] } }));

test('provenance: a picture of somebody else, and what is none, by the button for files', () =>
    visit('provenance.html', async (page) => {
        await page.setInputFiles('#choose', 'deploy/models/avatars64-grid.png');
        await page.waitForFunction(() => document.getElementById('grade').innerText !== '' &&
            document.getElementById('status').dataset.kind !== 'busy');
        await page.setInputFiles('#choose', { name: 'x.jpg', mimeType: 'image/jpeg',
                                              buffer: Buffer.from('no picture at all') });
        await page.waitForFunction(() =>
            document.getElementById('status').dataset.kind === 'error');
    }, { expected: /status of 422/ }));

// ---- when things go wrong ----

test('a gateway that is busy is asked again when it says so; its words are shown', async () => {
    const host = await stack.startGateway(stack.broker, SITES, '--visitor-rate', '1',
                                          '--visitor-burst', '1');
    const answers = [];

    await visit('one.html', async (page) => {
        await settled(page, '#picture', 1);
        const first = await sourceOf(page);

        await page.evaluate(() => {
            window.said = [];
            new MutationObserver(() => said.push(document.getElementById('status').textContent))
                .observe(document.getElementById('status'), { childList: true });
        });
        page.on('response', (r) => answers.push(r.status()));
        await page.click('#another');
        await changed(page, first);
        assert.ok(answers.includes(429), String(answers));
        const said = await page.evaluate(() => window.said);

        assert.ok(said.some((words) => /Trying again in 1 s\.$/.test(words)), said.join('\n'));
    }, { host, expected: /status of 429/ });
});

test('a model that nobody has is said in the gateway\'s words', () =>
    visit('one.html?model=nobody@00000000&seed=1', async (page) => {
        await page.waitForFunction(() =>
            document.getElementById('status').dataset.kind === 'error');
        assert.match(await page.textContent('#status'), /nobody/);
    }, { expected: /status of 404/ }));

test('where no model is served the page says what to do', async () => {
    const host = await stack.startGateway(await stack.startBroker('none'), SITES);

    await visit('wall.html', async (page) => {
        await page.waitForFunction(() =>
            document.getElementById('status').textContent.includes('start a worker'));
        assert.equal(await page.locator('#wall img').count(), 0);
    }, { host });
});

test('who wants no motion gets none', () =>
    visit('slow.html', async (page) => {
        await page.clock.install();
        await page.reload();
        await settled(page, '#frame img', 1);
        await page.uncheck('#shared');
        const first = await sourceOf(page, '#frame img');

        // Each of these is told at once where one picture takes the other's place.
        await page.evaluate(() => {
            window.moved = [];
            new MutationObserver(() => moved.push(document.getAnimations().length)).observe(
                document.getElementById('frame'), { childList: true });
        });
        await page.clock.fastForward('00:11');
        await page.waitForFunction((old) => {
            const imgs = document.querySelectorAll('#frame img');

            return imgs.length === 1 && imgs[0].getAttribute('src') !== old;
        }, first);
        const moved = await page.evaluate(() => window.moved);

        assert.ok(moved.length > 0 && moved.every((count) => count === 0), String(moved));
    }, { options: { reducedMotion: 'reduce' } }));

test('with two models there is a choice; a listing takes rooms from one, people from the other',
     async () => {
    await stack.addModel('rooms64');
    const host = await stack.startGateway(stack.broker, SITES);

    await visit('one.html?seed=9', async (page) => {
        await settled(page, '#picture', 1);
        await page.getByLabel('Model').selectOption('rooms64');
        await page.waitForURL(/model=rooms64/);
        await settled(page, '#picture', 1);
        assert.match(await sourceOf(page), /^\/v1\/rooms64@/);
        assert.equal(await page.textContent('h1'), 'This room does not exist');
        await page.goto(`${host}/listing.html?seed=7`);
        await settled(page, '.gallery img', 5);
        await settled(page, '.faces img', 4);
        assert.match(await sourceOf(page, '.gallery img'), /^\/v1\/rooms64@/);
        assert.match(await sourceOf(page, '.faces img'), /^\/v1\/avatars64@/);
        await look(page, 'listing-rooms');
    }, { host });
});

test('a model that has classes gets a field for them; without a worker it is not offered',
     async () => {
    const worker = await stack.addModelWithClasses('faces10');
    const host = await stack.startGateway(stack.broker, SITES);
    const allOf = (page, selector) =>
        page.locator(selector).evaluateAll((imgs) => imgs.map((img) => img.getAttribute('src')));

    await visit('one.html?model=faces10&seed=4', async (page) => {
        const field = page.getByLabel('Class');

        await settled(page, '#picture', 1);
        assert.match(await sourceOf(page), /\/4\.jpg\?psi=0\.7&class=0$/);
        await field.fill('12');
        await field.press('Enter');  // there are ten: the browser says so, and nothing moves
        assert.equal(await field.evaluate((f) => f.validity.rangeOverflow), true);
        assert.doesNotMatch(page.url(), /class=/);
        await field.fill('3');
        await field.press('Enter');
        await page.waitForURL(/[?&]class=3/);
        await settled(page, '#picture', 1);
        assert.match(await sourceOf(page), /^\/v1\/faces10@.*class=3$/);
        await look(page, 'one-classes');
        await page.goto(`${host}/page.html?model=faces10&class=9`);
        await settled(page, '#grid img', 56);
        assert.ok((await allOf(page, '#grid img')).every((src) => src.endsWith('&class=9')));
        await page.goto(`${host}/slider.html?model=faces10&class=2`);
        await settled(page, '#picture', 1);
        assert.match(await sourceOf(page), /class=2$/);
        await page.goto(`${host}/wall.html?model=faces10&class=5`);
        await page.waitForFunction(() => document.querySelector('.tile img')?.naturalWidth > 0);
        assert.match(await sourceOf(page, '.tile img'), /class=5$/);
        await page.goto(`${host}/listing.html?seed=7&people=faces10&people-class=6`);
        await settled(page, '.faces img', 4);
        assert.ok((await allOf(page, '.faces img')).every((src) => src.endsWith('&class=6')));
        await end(worker);
        await page.evaluate(async () => {
            const ask = async () =>
                (await (await fetch('/v1/models', { cache: 'reload' })).json()).models;

            while ((await ask()).find((m) => m.name === 'faces10').workers > 0)
                ;
        });
        await page.goto(`${host}/one.html?seed=9`);
        await settled(page, '#picture', 1);
        assert.doesNotMatch((await page.getByLabel('Model').innerText()), /faces10/);
        await page.goto(`${host}/one.html?model=faces10&seed=4&class=3`);     // it is stored
        await settled(page, '#picture', 1);
        assert.match(await sourceOf(page), /^\/v1\/faces10@.*class=3$/);
    }, { host });
});

test('the files are small, and written for no other host', () => {
    const size = (file) => fs.statSync(path.join(SITES, file)).size;
    const shared = ['sites.css', 'site.js', 'icon.svg'].reduce((sum, f) => sum + size(f), 0);

    for (const page of fs.readdirSync(SITES).filter((f) => f.endsWith('.html'))) {
        const bytes = shared + size(page) + size(page.replace('.html', '.js'));

        assert.ok(bytes <= SIZE_MAX, `${page} has ${bytes} bytes with all that it loads`);
        assert.doesNotMatch(fs.readFileSync(path.join(SITES, page), 'utf8'),
                            /https?:|style=| on\w+=/);
    }
});
