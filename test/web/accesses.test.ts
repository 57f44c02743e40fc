/** A session that tracks accesses, and one that is told to change: on the kernel where it can be (Linux 7.3), and where it cannot. */
import { afterEach, describe, expect, test } from 'vitest';
import type { StreamMessage } from '../../src/model/index.js';
import { Session } from '../../src/web/session.js';
import { available, testWhere } from '../support/needs.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'ptrace', 'compiler');
const canTell = available('category-accessed');
const byPage = canTell ? live : (test.skip as unknown as typeof test);
const without = canTell ? (test.skip as unknown as typeof test) : live;

const PAGE = 4096;
const sessions: Session[] = [];
const begin = (pid: number, subject?: 'accesses') => {
  const heat = { columns: 600, numbers: 100_000, full: 'drop' } as const;
  const session = new Session(pid, { intervalMs: 50, heat, subject });
  sessions.push(session);
  const messages: StreamMessage[] = [];
  session.subscribe((message) => messages.push(message));
  return { session, messages };
};

afterEach(async () => {
  for (const session of sessions.splice(0)) await session.close();
});

describe('a session', () => {
  byPage('tells accesses, and how long each page was left alone', async () => {
    await using target = await startWrites();
    const { start } = await target.order('map 1 anon 64');
    await target.order('write 1 0 64 1');
    const { session } = begin(target.pid, 'accesses');
    await until('tracking', () => session.model().tracking.state === 'on');
    expect(session.about).toMatchObject({ subject: 'accesses', canChoose: true });
    const pagesOf = () => {
      const band = session.model().heat!.bands.find((one) => one.start === start);
      return (band?.cells ?? []).filter((_, index) => index % 3 === 1);
    };
    await target.order('read 1 10 4 1');
    await until('the reads', () => pagesOf().length >= 4);
    expect([...new Set(pagesOf())]).toEqual([10, 11, 12, 13]);
    const classes = (isByAge: boolean) => {
      const cells = session.tile(start, PAGE, 0, 0x3f, isByAge);
      return cells && [...cells].slice(0, 64).map((cell) => (cell >> 4) & 15);
    };
    // What is read all the time is hot. The rest has been left alone since the beginning: in what class that is depends on how slow
    // this machine is.
    let found: number[] = [];
    await until('ages', async () => {
      await target.order('read 1 10 4 1');
      found = classes(true) ?? [];
      return found[10] === 0 && found[0]! > 0;
    });
    const cold = found[0]!;
    expect(found).toEqual(Array.from({ length: 64 }, (_, page) => (page >= 10 && page < 14 ? 0 : cold)));
    // Anonymous memory, as before.
    expect(new Set(classes(false))).toEqual(new Set([1]));
    await until('the look', () => {
      const ages = session.model().layout!.mappings.find((one) => one.start === start)?.ages;
      return ages !== undefined && ages.reduce((sum, pages) => sum + pages, 0) === 64;
    });
  });

  byPage('changes what it tracks, for all who look, and leaves nothing of the other', async () => {
    await using target = await startWrites();
    const { start } = await target.order('map 1 anon 64');
    await target.order('write 1 0 64 1');
    const { session, messages } = begin(target.pid);
    await until('tracking', () => session.model().tracking.state === 'on');
    expect(session.about.subject).toBeUndefined();
    expect(session.tile(start, PAGE, 0, 0x3f, true)).toBeUndefined();
    for (const subject of ['accesses', 'writes', 'accesses'] as const) {
      messages.length = 0;
      session.follow(subject);
      await until('the new model', () =>
        messages.some(
          (message) => message.type === 'model' && (message.model.about.subject ?? 'writes') === subject,
        ),
      );
      await until('tracking', () => session.model().tracking.state === 'on');
      await target.order('read 1 0 8 1');
      await target.order('write 1 20 2 1');
      const seen = () => {
        const band = session.model().heat!.bands.find((one) => one.start === start);
        return [...new Set((band?.cells ?? []).filter((_, index) => index % 3 === 1))].sort((a, b) => a - b);
      };
      const expected = subject === 'writes' ? [20, 21] : [0, 1, 2, 3, 4, 5, 6, 7, 20, 21];
      await until('what was done', () => seen().length >= expected.length);
      expect(seen()).toEqual(expected);
    }
  });

  without('on another kernel, has no choice, and says what it would need', async () => {
    await using target = await startWrites();
    const { session } = begin(target.pid);
    await until('tracking', () => session.model().tracking.state === 'on');
    expect(session.about.canChoose).toBeUndefined();
    session.follow('accesses');
    await target.order('map 1 anon 1');
    expect(session.about.subject).toBeUndefined();
    await session.close();

    const other = begin(target.pid, 'accesses').session;
    await until('an answer', () => other.model().tracking.state !== 'starting');
    const { state, why } = other.model().tracking;
    expect(state).toBe('off');
    expect(why).toContain('Linux 7.3');
  });
});
